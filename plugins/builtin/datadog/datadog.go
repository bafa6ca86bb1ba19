// Package datadog is the callback that sends finished requests to Datadog's log intake.
package datadog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	maxBatch = 1000           // logs that Datadog takes at a time
	datable  = 17 * time.Hour // Datadog takes no log that is said to be 18 hours old
)

// Config is the configuration.
type Config struct {
	APIKey  string `json:"api_key,omitempty"`
	Site    string `json:"site,omitempty"`    // default datadoghq.com
	URL     string `json:"url,omitempty"`     // of the intake or of an agent, instead of the site's
	Service string `json:"service,omitempty"` // default conclave
	Source  string `json:"source,omitempty"`  // default conclave
	Env     string `json:"env,omitempty"`
	Version string `json:"version,omitempty"`
	Host    string `json:"hostname,omitempty"` // default: the node
	sink.HTTP
}

// Datadog sends logs.
type Datadog struct {
	cfg    Config
	client *sink.Client
}

// Configure implements sdk.Callback.
func (d *Datadog) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{Site: "datadoghq.com", Service: "conclave", Source: "conclave"}
	if err := sink.ReadConfig(s.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if cfg.URL == "" {
		if cfg.APIKey == "" {
			return sdk.CallbackDescription{}, errors.New("api_key: give the key of the Datadog account")
		}
		if strings.ContainsAny(cfg.Site, "/:@? ") {
			return sdk.CallbackDescription{}, fmt.Errorf("site: %q is not a site such as datadoghq.eu", cfg.Site)
		}
		cfg.URL = "https://http-intake.logs." + cfg.Site + "/api/v2/logs"
	}
	if _, err := sink.URL("url", cfg.URL); err != nil {
		return sdk.CallbackDescription{}, err
	}
	client, err := sink.NewClient(cfg.HTTP, true)
	d.cfg, d.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (d *Datadog) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, maxBatch, sink.Post(d.client, d.request))
}

// entry is one log: attributes of Datadog's own and the payload under "message", from which it
// parses JSON.
type entry struct {
	Source  string `json:"ddsource"`
	Tags    string `json:"ddtags"`
	Host    string `json:"hostname"`
	Message string `json:"message"`
	Service string `json:"service"`
	Status  string `json:"status"`
	// Time is when the request ended; empty: it is too long ago, and the log has the time at which it comes.
	Time string `json:"timestamp,omitempty"`
}

func (d *Datadog) request(records []sdk.Record) (*sink.Request, error) {
	entries := make([]entry, len(records))
	for i := range records {
		r := &records[i]
		b, err := payload.Marshal(r)
		if err != nil {
			return nil, err
		}
		entries[i] = entry{
			Source: d.cfg.Source, Tags: d.tags(r), Host: r.NodeID, Message: string(b), Service: d.cfg.Service, Status: "info",
		}
		if d.cfg.Host != "" {
			entries[i].Host = d.cfg.Host
		}
		if r.Status != "success" {
			entries[i].Status = "error"
		}
		if ended := r.StartedAt.Add(r.Duration); time.Since(ended) < datable {
			entries[i].Time = ended.UTC().Format("2006-01-02T15:04:05.000Z")
		}
	}
	body, err := json.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("encode logs: %w", err)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if d.cfg.APIKey != "" {
		h.Set("DD-API-KEY", d.cfg.APIKey)
	}
	return &sink.Request{URL: d.cfg.URL, Header: h, Body: body}, nil
}

// tags are Datadog's: a comma parts them, and stands in none.
func (d *Datadog) tags(r *sdk.Record) string {
	var tags []string
	for _, t := range [][2]string{
		{"env", d.cfg.Env}, {"version", d.cfg.Version}, {"model", r.Model}, {"provider", r.Provider}, {"team", r.TeamName}, {"status", r.Status},
	} {
		if t[1] != "" {
			tags = append(tags, t[0]+":"+strings.NewReplacer(",", "_", "\n", "_").Replace(t[1]))
		}
	}
	return strings.Join(tags, ",")
}
