package amazon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxObject is how many requests go into one object of many.
const maxObject = 500

// S3Config is the configuration of the store.
type S3Config struct {
	Bucket   string `json:"bucket"`
	Prefix   string `json:"prefix,omitempty"`   // of every object's name
	Endpoint string `json:"endpoint,omitempty"` // default: Amazon's of the region
	Single   bool   `json:"single,omitempty"`   // an object a request instead of one for many
	TeamPath bool   `json:"team_prefix,omitempty"`
	Virtual  bool   `json:"virtual_hosted,omitempty"` // the bucket is a part of the host's name
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
	batch := maxObject
	if s.cfg.Single || s.cfg.TeamPath {
		batch = 1
	}
	return sink.Deliver(ctx, records, batch, sink.Post(s.client, s.object))
}

// object is the request that stores the records. Its name is made of their positions, so that what
// comes again takes its own place.
func (s *S3) object(records []sdk.Record) (*sink.Request, error) {
	var body bytes.Buffer
	for i := range records {
		b, err := payload.Marshal(&records[i])
		if err != nil {
			return nil, err
		}
		body.Write(b)
		body.WriteByte('\n')
	}
	first, last := &records[0], &records[len(records)-1]
	name := fmt.Sprintf("%s/%s-%020d-%020d.jsonl", first.StartedAt.UTC().Format("2006/01/02/15"), first.NodeID, first.Position, last.Position)
	if s.cfg.Single || s.cfg.TeamPath {
		name = fmt.Sprintf("%s/%s-%020d.json", first.StartedAt.UTC().Format("2006-01-02"), first.NodeID, first.Position)
	}
	if s.cfg.TeamPath && first.TeamID != "" {
		name = first.TeamID + "/" + name
	}
	return s.put(name, body.Bytes())
}

// DeliverAudit implements sdk.CallbackAuditor.
func (s *S3) DeliverAudit(ctx context.Context, entries []sdk.AuditEntry) (int, error) {
	if len(entries) == 0 {
		return 0, nil
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for i := range entries {
		if err := enc.Encode(map[string]*sdk.AuditEntry{"audit": &entries[i]}); err != nil {
			return 0, fmt.Errorf("encode audit entry: %w", err)
		}
	}
	r, err := s.put(fmt.Sprintf("audit/%020d-%020d.jsonl", entries[0].Number, entries[len(entries)-1].Number), body.Bytes())
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
	parts := []string{u.Path, s.cfg.Bucket, s.cfg.Prefix, name}
	if s.cfg.Virtual {
		u.Host = s.cfg.Bucket + "." + u.Host
		parts[1] = ""
	}
	u.Path = "/" + strings.TrimPrefix(path.Join(parts...), "/")
	return &sink.Request{
		Method: http.MethodPut, URL: u.String(), Body: body, Header: http.Header{"Content-Type": {"application/x-ndjson"}},
		Sign: s.cfg.signer("s3", s.now),
	}, nil
}
