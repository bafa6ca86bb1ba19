package amazon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// S3Config is the configuration of the store.
type S3Config struct {
	Bucket   string `json:"bucket"`
	Endpoint string `json:"endpoint,omitempty"`       // default: Amazon's of the region
	Virtual  bool   `json:"virtual_hosted,omitempty"` // the bucket is a part of the host's name
	sink.Objects
	Account
	sink.HTTP
}

// S3 writes objects of JSON lines, or one of JSON a request.
type S3 struct {
	cfg    S3Config
	client *sink.Client
	now    func() time.Time // nil: time.Now
}

// Configure implements sdk.Callback.
func (s *S3) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := S3Config{}
	if err := sink.ReadConfig(set.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if cfg.Bucket == "" || strings.ContainsAny(cfg.Bucket, "/?# ") {
		return sdk.CallbackDescription{}, errors.New("bucket: give the name of a bucket")
	}
	if err := cfg.check(); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint, cfg.Virtual = "https://s3."+cfg.Region+".amazonaws.com", true
	}
	if _, err := sink.URL("endpoint", cfg.Endpoint); err != nil {
		return sdk.CallbackDescription{}, err
	}
	client, err := sink.NewClient(cfg.HTTP, false)
	s.cfg, s.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (s *S3) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, s.cfg.Batch(), sink.Post(s.client, s.object))
}

func (s *S3) object(records []sdk.Record) (*sink.Request, error) {
	name, body, err := s.cfg.Object(records)
	if err != nil {
		return nil, err
	}
	return s.put(name, body)
}

// DeliverAudit implements sdk.CallbackAuditor.
func (s *S3) DeliverAudit(ctx context.Context, entries []sdk.AuditEntry) (int, error) {
	if len(entries) == 0 {
		return 0, nil
	}
	name, body, err := s.cfg.Audit(entries)
	if err != nil {
		return 0, err
	}
	r, err := s.put(name, body)
	if err != nil {
		return 0, err
	}
	if _, err := s.client.Do(ctx, r); err != nil {
		return 0, err
	}
	return len(entries), nil
}

func (s *S3) put(name string, body []byte) (*sink.Request, error) {
	u, err := url.Parse(s.cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	parts := []string{u.Path, s.cfg.Bucket, name}
	if s.cfg.Virtual {
		u.Host = s.cfg.Bucket + "." + u.Host
		parts[1] = ""
	}
	u.Path = "/" + strings.TrimPrefix(path.Join(parts...), "/")
	return &sink.Request{
		Method: http.MethodPut, URL: u.String(), Body: body, Header: http.Header{"Content-Type": {sink.ObjectType}},
		Sign: s.cfg.signer("s3", s.now), Passes: objectPasses,
	}, nil
}
