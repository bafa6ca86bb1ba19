// Package webhook is the callback that posts finished requests as JSON to a URL, signed.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// The headers of a delivery.
const (
	SignatureHeader = "X-Conclave-Signature" // "t=SECONDS,v1=HEX": HMAC-SHA256 of "SECONDS." and the body
	DeliveryHeader  = "X-Conclave-Delivery"  // the same for each try: NODE-FIRST-LAST, positions in the journal
)

// The formats of a body.
const (
	formatArray  = "json_array" // an array of payloads
	formatLines  = "ndjson"     // a payload a line
	formatSingle = "single"     // one payload a request
)

// Config is the configuration of the webhook.
type Config struct {
	URL     string            `json:"url"`
	Secret  string            `json:"secret,omitempty"`  // signs; empty: deliveries are not signed
	Headers map[string]string `json:"headers,omitempty"` // of every request
	Format  string            `json:"format,omitempty"`  // json_array (default), ndjson, single
	Batch   int               `json:"batch,omitempty"`   // payloads in one request, default 100
	sink.HTTP
}

// Webhook posts payloads to a URL.
type Webhook struct {
	cfg    Config
	client *sink.Client
	now    func() time.Time // nil: time.Now
}

// Configure implements sdk.Callback.
func (w *Webhook) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{Format: formatArray, Batch: 100}
	if err := sink.ReadConfig(s.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if _, err := sink.URL("url", cfg.URL); err != nil {
		return sdk.CallbackDescription{}, err
	}
	switch cfg.Format {
	case formatArray, formatLines:
	case formatSingle:
		cfg.Batch = 1
	default:
		return sdk.CallbackDescription{}, fmt.Errorf("format: %q is not json_array, ndjson or single", cfg.Format)
	}
	if cfg.Batch < 1 || cfg.Batch > 10_000 {
		return sdk.CallbackDescription{}, errors.New("batch: is not between 1 and 10000")
	}
	client, err := sink.NewClient(cfg.HTTP, false)
	w.cfg, w.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (w *Webhook) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, w.cfg.Batch, sink.Post(w.client, w.request))
}

func (w *Webhook) request(records []sdk.Record) (*sink.Request, error) {
	items := make([][]byte, len(records))
	for i := range records {
		b, err := payload.Marshal(&records[i])
		if err != nil {
			return nil, err
		}
		items[i] = b
	}
	first, last := &records[0], &records[len(records)-1]
	return w.post(items, fmt.Sprintf("%s-%d-%d", first.NodeID, first.Position, last.Position)), nil
}

// DeliverAudit implements sdk.CallbackAuditor: an item is {"audit": …}.
func (w *Webhook) DeliverAudit(ctx context.Context, entries []sdk.AuditEntry) (int, error) {
	done := 0
	for done < len(entries) {
		part := entries[done:min(len(entries), done+w.cfg.Batch)]
		items := make([][]byte, len(part))
		for i := range part {
			b, err := json.Marshal(map[string]*sdk.AuditEntry{"audit": &part[i]})
			if err != nil {
				return done, fmt.Errorf("encode audit entry: %w", err)
			}
			items[i] = b
		}
		if _, err := w.client.Do(ctx, w.post(items, fmt.Sprintf("audit-%d-%d", part[0].Number, part[len(part)-1].Number))); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// post is the request with the items.
func (w *Webhook) post(items [][]byte, delivery string) *sink.Request {
	h := http.Header{"Content-Type": {"application/json"}, DeliveryHeader: {delivery}, "User-Agent": {"conclave"}}
	var body []byte
	switch w.cfg.Format {
	case formatLines:
		h.Set("Content-Type", "application/x-ndjson")
		body = append(bytes.Join(items, []byte{'\n'}), '\n')
	case formatSingle:
		body = items[0]
	default:
		body = append(append([]byte{'['}, bytes.Join(items, []byte{','})...), ']')
	}
	for name, value := range w.cfg.Headers {
		h.Set(name, value)
	}
	return &sink.Request{URL: w.cfg.URL, Header: h, Body: body, Sign: w.sign}
}

// sign signs the bytes that are sent, compressed or not.
func (w *Webhook) sign(r *http.Request, body []byte) error {
	if w.cfg.Secret == "" {
		return nil
	}
	now := time.Now
	if w.now != nil {
		now = w.now
	}
	r.Header.Set(SignatureHeader, Signature(w.cfg.Secret, now().Unix(), body))
	return nil
}

// Signature is the signature of a body at a time in seconds.
func Signature(secret string, at int64, body []byte) string {
	seconds := strconv.FormatInt(at, 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(seconds + "."))
	m.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// Verify says whether the signature is one of the body, made at most so long ago; receivers may use it.
func Verify(secret, signature string, body []byte, now time.Time, within time.Duration) bool {
	text, _, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",")
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil || now.Sub(time.Unix(at, 0)).Abs() > within {
		return false
	}
	return hmac.Equal([]byte(signature), []byte(Signature(secret, at, body)))
}
