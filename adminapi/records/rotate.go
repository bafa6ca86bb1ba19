package records

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/keyshelf"
	"github.com/conclave-llm/conclave/resource"
)

// Rotate gives a key a new secret; the old one stays valid for the grace. The patch, which
// may be nil, changes more of the key in the same entry. A rotation that the client names is
// done once: asking again, on whatever node, answers the same secret.
func (rs *Records) Rotate(ctx context.Context, by Caller, ref string, r client.Rotate, patch Document) (*resource.Key, Written, error) {
	grace, err := parseGrace(r.Grace)
	if err != nil {
		return nil, Written{}, err
	}
	if r.Secret != "" {
		if err := resource.CheckSecret(r.Secret); err != nil {
			return nil, Written{}, err
		}
	}
	if len(r.IdempotencyKey) > 256 {
		return nil, Written{}, invalid("idempotency_key", "is longer than 256 bytes")
	}
	for again := r.IdempotencyKey != ""; ; again = false {
		k, w, err := rs.rotate(ctx, by, ref, r, grace, patch)
		if again && errors.Is(err, resource.ErrConflict) {
			continue // perhaps another node has just done the same
		}
		return k, w, err
	}
}

func (rs *Records) rotate(ctx context.Context, by Caller, ref string, r client.Rotate, grace time.Duration, patch Document) (*resource.Key, Written, error) {
	now, err := rs.Keys.Writable(by, ref)
	if err != nil {
		return nil, Written{}, err
	}
	if err := rs.cfg.MayLearn(by, now); err != nil {
		return nil, Written{}, err
	}
	if secret, err := rs.turned(now, r); err != nil {
		return nil, Written{}, err
	} else if secret != "" {
		return now, Written{Version: now.Version, Secret: secret}, nil
	}
	next, err := edited(now, patch)
	if err != nil {
		return nil, Written{}, err
	}
	secret, err := rs.newSecret(now, r)
	if err != nil {
		return nil, Written{}, err
	}
	at := resource.At(rs.cfg.Now())
	if err := next.Replace(resource.HashSecret(secret), resource.HintOf(secret), at, grace); err != nil {
		return nil, Written{}, err
	}
	if r.IdempotencyKey != "" {
		next.Remember(resource.Turn{Op: resource.HashSecret(r.IdempotencyKey), Before: now.Hash})
	}
	next.UpdatedAt, next.UpdatedBy = at, by.Who.Actor()
	if err := rs.cfg.MayLearn(by, next); err != nil {
		return nil, Written{}, err
	}
	rs.cfg.Shelf.Assign(next)
	put, err := rs.Keys.change(by, now, next, now.Version) // before the store has the secret: what is refused changes nothing there
	if err != nil {
		return nil, Written{}, err
	}
	var w Written
	err = rs.cfg.Shelf.Commit(ctx, []keyshelf.Item{{Key: next, Secret: secret}}, func() (err error) {
		w, err = rs.confirmed(ctx, by, put)
		return err
	})
	if err != nil {
		return nil, Written{}, err
	}
	w.Secret = secret
	return rs.Keys.stored(next), w, nil
}

// newSecret is the one that the client gives, or a random one, or, if the client names the
// rotation, one that can be made again: from the name, the key and its secret before.
func (rs *Records) newSecret(now *resource.Key, r client.Rotate) (string, error) {
	switch {
	case r.Secret != "":
		return r.Secret, nil
	case r.IdempotencyKey == "":
		return resource.NewSecret(), nil
	}
	return rs.derived(now.ID, r.IdempotencyKey, now.Hash)
}

func (rs *Records) derived(id, op string, before resource.Hash) (string, error) {
	if rs.cfg.Derive == nil {
		return "", invalid("idempotency_key", "is not possible on this node")
	}
	b, err := rs.cfg.Derive("rotate", id, op, before.String())
	if err != nil {
		return "", fmt.Errorf("derive secret of key %s: %w", id, err)
	}
	return resource.SecretOf(b), nil
}

// turned is the secret of the rotation that the client names, if that is done already; "" if
// it is not.
func (rs *Records) turned(now *resource.Key, r client.Rotate) (string, error) {
	if r.IdempotencyKey == "" {
		return "", nil
	}
	op := resource.HashSecret(r.IdempotencyKey)
	i := slices.IndexFunc(now.Turns, func(t resource.Turn) bool { return t.Op == op })
	if i < 0 {
		return "", nil
	}
	secret, err := r.Secret, error(nil)
	if secret == "" {
		secret, err = rs.derived(now.ID, r.IdempotencyKey, now.Turns[i].Before)
	}
	if err != nil {
		return "", err
	}
	if resource.HashSecret(secret) != now.Hash {
		return "", fmt.Errorf("the rotation of that name was followed by another, or gave another secret: %w", resource.ErrConflict)
	}
	return secret, nil
}

func parseGrace(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := ParseDuration(text)
	if err != nil || d < 0 || d > resource.MaxGrace {
		return 0, invalid("grace", "is not a duration up to 90d such as 24h")
	}
	return d, nil
}

// Reschedule brings a key's times to its rotation. What waits for delivery ends with the
// rotation.
func Reschedule(now, next *resource.Key, at resource.Time) {
	if next.Rotation == nil {
		next.Unstage()
		next.RotateAt = 0
		return
	}
	if now == nil || now.Rotation == nil || now.Rotation.Every != next.Rotation.Every {
		next.Schedule(at)
	}
}

// checkAccess refuses permissions that nobody knows, and more than the grantor has.
func (rs *Records) checkAccess(by Caller, now, next *resource.Key) error {
	if now != nil && reflect.DeepEqual(now.Access, next.Access) && reflect.DeepEqual(now.Objects, next.Objects) &&
		slices.Equal(now.PassThrough, next.PassThrough) && slices.Equal(now.DeniedPassThrough, next.DeniedPassThrough) {
		return nil
	}
	for name := range next.Permissions {
		if slices.Contains(resource.PermissionNames, name) {
			continue
		}
		if slices.Contains(resource.UnservedPermissions, name) {
			return invalid("permissions."+name, "is not served: no guardrail lets requests control how it masks personal data")
		}
		if _, ok := rs.Guardrails.find(name); !ok {
			return invalid("permissions."+name, "is neither a permission nor a guardrail")
		}
	}
	if by.Who.Key == nil || by.Delegate != nil { // package delegate asks that of people
		return nil
	}
	return next.GrantedBy(by.Who.Key, World(rs.cfg.State).Called())
}
