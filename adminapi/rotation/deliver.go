package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/internal/hook"
	"github.com/conclave-llm/conclave/resource"
)

// The headers of a delivery.
const (
	HeaderSignature = hook.HeaderSignature // under the rotation_key
	HeaderDelivery  = hook.HeaderDelivery  // the same for each try to deliver one secret
)

// Delivery is the body of a webhook.
type Delivery struct {
	Event    string        `json:"event"` // "key_rotated"
	ID       string        `json:"id"`    // the same for each try to deliver one secret
	KeyID    string        `json:"key_id"`
	KeyName  string        `json:"key_name,omitempty"`
	Key      string        `json:"key"`             // the new secret, which is valid
	Grace    string        `json:"grace,omitempty"` // how long the old one stays valid from now on
	StagedAt resource.Time `json:"staged_at"`
}

// Sign makes the signature of a body at a time in seconds.
func Sign(key string, seconds int64, body []byte) string { return hook.Sign(key, seconds, body) }

// send brings the staged secret to the key's webhook.
func (r *Rotation) send(ctx context.Context, k *resource.Key) error {
	secret, err := r.cfg.Open(k.Next.Sealed, "key", k.ID, "next")
	if err != nil {
		return fmt.Errorf("open new secret: %w", err)
	}
	signing, err := r.cfg.Open(k.RotationKey, "key", k.ID, "rotation_key")
	if err != nil {
		return fmt.Errorf("open signing key: %w", err)
	}
	d := Delivery{
		Event: "key_rotated", ID: "rot_" + k.Next.Hash.String()[:20], KeyID: k.ID, KeyName: k.Name,
		Key: secret, Grace: k.Rotation.Grace, StagedAt: k.Next.At,
	}
	body, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("write delivery: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.Rotation.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make delivery: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(HeaderDelivery, d.ID)
	req.Header.Set(HeaderSignature, Sign(signing, r.cfg.Now().Unix(), body))
	resp, err := r.cfg.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // only to use the connection again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("deliver: the webhook answered %s", resp.Status)
	}
	return nil
}

// PickUp hands the staged secret of a key to its owner, once: it takes the old one's place
// before it is shown, and is nowhere to be read after that.
func (r *Rotation) PickUp(ctx context.Context, by records.Caller, k *resource.Key) (string, records.Written, error) {
	if k.Next == nil || k.Rotation == nil || k.Rotation.Deliver != resource.DeliverPickUp {
		return "", records.Written{}, fmt.Errorf("new secret of key %q: %w", k.ID, resource.ErrNotFound)
	}
	secret, err := r.cfg.Open(k.Next.Sealed, "key", k.ID, "next")
	if err != nil {
		return "", records.Written{}, fmt.Errorf("open new secret: %w", err)
	}
	owner := r.actor(by.Who.Actor())
	owner.Address = by.Address
	res, err := r.finish(ctx, k.ID, k.Next.Hash, owner)
	if err != nil {
		return "", records.Written{}, err
	}
	r.metrics.turns.WithLabelValues("delivered").Inc()
	r.cfg.Logger.Info("new secret of a key was fetched", "key_id", k.ID, "key_name", k.Name, "by", by.Who.Actor())
	return secret, records.WrittenAt(res), nil
}
