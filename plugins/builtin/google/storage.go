package google

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// StorageConfig is the configuration of Storage.
type StorageConfig struct {
	Bucket string `json:"bucket"`
	sink.Objects
	Sender
	sink.HTTP
}

// Storage writes objects of JSON lines, or one of JSON a request.
type Storage struct {
	cfg    StorageConfig
	client *sink.Client
	proof  proof
}

// Configure implements sdk.Callback.
func (s *Storage) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := StorageConfig{}
	if err := sink.ReadConfig(set.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if cfg.Bucket == "" || strings.ContainsAny(cfg.Bucket, "/?# ") {
		return sdk.CallbackDescription{}, errors.New("bucket: give the name of a bucket")
	}
	client, who, err := cfg.connect(cfg.HTTP, "https://storage.googleapis.com", "https://www.googleapis.com/auth/devstorage.read_write")
	s.cfg, s.client, s.proof = cfg, client, who
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (s *Storage) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, s.cfg.Batch(), sink.Post(s.client, func(records []sdk.Record) (*sink.Request, error) {
		name, body, err := s.cfg.Object(records)
		return s.put(name, body), err
	}))
}

// DeliverAudit implements sdk.CallbackAuditor.
func (s *Storage) DeliverAudit(ctx context.Context, entries []sdk.AuditEntry) (int, error) {
	if len(entries) == 0 {
		return 0, nil
	}
	name, body, err := s.cfg.Audit(entries)
	if err != nil {
		return 0, err
	}
	if _, err := s.client.Do(ctx, s.put(name, body)); err != nil {
		return 0, err
	}
	return len(entries), nil
}

func (s *Storage) put(name string, body []byte) *sink.Request {
	return &sink.Request{
		URL: strings.TrimSuffix(s.cfg.Endpoint, "/") + "/upload/storage/v1/b/" + url.PathEscape(s.cfg.Bucket) + "/o?" +
			url.Values{"uploadType": {"media"}, "name": {name}}.Encode(),
		Header: http.Header{"Content-Type": {sink.ObjectType}}, Body: body, Sign: s.proof.sign, Passes: passes,
	}
}
