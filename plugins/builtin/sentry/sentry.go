// Package sentry is the callback that sends requests which failed to Sentry, or to a server with
// its API, as events.
package sentry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration.
type Config struct {
	DSN         string   `json:"dsn"`                // https://PUBLIC@host/PROJECT; is a secret
	Statuses    []string `json:"statuses,omitempty"` // that are told; default: failure
	Environment string   `json:"environment,omitempty"`
	Release     string   `json:"release,omitempty"`
	sink.HTTP
}

// Sentry sends an envelope with an event for each request.
type Sentry struct {
	cfg    Config
	url    string
	header http.Header
	client *sink.Client
}

// Configure implements sdk.Callback.
func (s *Sentry) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{Statuses: []string{"failure"}}
	if err := sink.ReadConfig(set.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	u, err := url.Parse(cfg.DSN)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User.Username() == "" || strings.Trim(u.Path, "/") == "" {
		return sdk.CallbackDescription{}, errors.New("dsn: is not https://PUBLIC_KEY@host/PROJECT")
	}
	s.header = http.Header{
		"Content-Type":  {"application/x-sentry-envelope"},
		"X-Sentry-Auth": {fmt.Sprintf("Sentry sentry_version=7, sentry_client=conclave/%s, sentry_key=%s", scan.Version, u.User.Username())},
	}
	before, project := "", strings.Trim(u.Path, "/")
	if i := strings.LastIndexByte(project, '/'); i >= 0 {
		before, project = "/"+project[:i], project[i+1:]
	}
	s.url = u.Scheme + "://" + u.Host + before + "/api/" + project + "/envelope/"
	client, err := sink.NewClient(cfg.HTTP, false)
	s.cfg, s.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (s *Sentry) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, 1, s.send)
}

func (s *Sentry) send(ctx context.Context, records []sdk.Record) (int, error) {
	r := &records[0]
	if !slices.Contains(s.cfg.Statuses, r.Status) {
		return 1, nil
	}
	body, err := s.envelope(r)
	if err != nil {
		return 0, err
	}
	if _, err := s.client.Do(ctx, &sink.Request{URL: s.url, Header: s.header, Body: body}); err != nil {
		return 0, err
	}
	return 1, nil
}

type event struct {
	ID          string                    `json:"event_id"`
	Timestamp   string                    `json:"timestamp"`
	Platform    string                    `json:"platform"`
	Level       string                    `json:"level"`
	Logger      string                    `json:"logger"`
	Server      string                    `json:"server_name"`
	Environment string                    `json:"environment,omitempty"`
	Release     string                    `json:"release,omitempty"`
	Transaction string                    `json:"transaction"`
	Fingerprint []string                  `json:"fingerprint"`
	Exception   map[string][]exception    `json:"exception"`
	User        map[string]string         `json:"user,omitempty"`
	Tags        map[string]string         `json:"tags"`
	Contexts    map[string]map[string]any `json:"contexts"`
}

type exception struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// envelope is the event of a record, whose id is the same each time.
func (s *Sentry) envelope(r *sdk.Record) ([]byte, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "event %s %d", r.NodeID, r.Position))
	e := event{
		ID: hex.EncodeToString(sum[:16]), Timestamp: r.StartedAt.Add(r.Duration).UTC().Format(time.RFC3339Nano), Platform: "other", Level: "error",
		Logger: "conclave", Server: r.NodeID, Environment: s.cfg.Environment, Release: s.cfg.Release, Transaction: r.Endpoint,
		Fingerprint: []string{"conclave", r.ErrorCode, r.Model, r.Provider},
		Exception:   map[string][]exception{"values": {{Type: r.ErrorCode, Value: payload.ErrorText(r)}}},
		Tags:        map[string]string{},
		Contexts: map[string]map[string]any{"conclave": {
			"request_id": r.RequestID, "deployment_id": r.DeploymentID, "attempts": r.Attempts, "http_status": r.HTTPStatus, "status": r.Status,
			"step": r.Step, "duration_ms": r.Duration.Milliseconds(),
		}},
	}
	for name, value := range map[string]string{"model": r.Model, "provider": r.Provider, "team": r.TeamName, "key": r.KeyName} {
		if value != "" {
			e.Tags[name] = value
		}
	}
	if r.UserID != "" {
		e.User = map[string]string{"id": r.UserID}
	}
	item, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"event_id\":%q}\n{\"type\":\"event\",\"length\":%d}\n%s\n", e.ID, len(item), item)
	return b.Bytes(), nil
}
