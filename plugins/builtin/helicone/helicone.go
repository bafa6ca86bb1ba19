// Package helicone is the callback that logs finished requests at Helicone.
package helicone

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

// Config is the configuration.
type Config struct {
	APIKey string `json:"api_key"`
	URL    string `json:"url,omitempty"` // default https://api.worker.helicone.ai
	sink.HTTP
}

// Helicone logs a request at a time, as its API of logs takes them.
type Helicone struct {
	cfg    Config
	header http.Header
	client *sink.Client
}

// Configure implements sdk.Callback.
func (h *Helicone) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{URL: "https://api.worker.helicone.ai"}
	if err := sink.ReadConfig(s.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if cfg.APIKey == "" {
		return sdk.CallbackDescription{}, errors.New("api_key: give the key of the Helicone account")
	}
	if _, err := sink.URL("url", cfg.URL); err != nil {
		return sdk.CallbackDescription{}, err
	}
	client, err := sink.NewClient(cfg.HTTP, false)
	h.cfg, h.client = cfg, client
	h.header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + cfg.APIKey}}
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (h *Helicone) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, 1, sink.Post(h.client, h.request))
}

type request struct {
	URL  string            `json:"url"`
	JSON any               `json:"json"`
	Meta map[string]string `json:"meta"`
}

type response struct {
	JSON    any               `json:"json"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
}

type instant struct {
	Seconds      int64 `json:"seconds"`
	Milliseconds int64 `json:"milliseconds"`
}

type timing struct {
	Start      instant `json:"startTime"`
	End        instant `json:"endTime"`
	FirstToken int64   `json:"timeToFirstToken,omitempty"` // milliseconds
}

func at(t time.Time) instant {
	return instant{t.Unix(), int64(t.Nanosecond() / int(time.Millisecond))}
}

func (h *Helicone) request(records []sdk.Record) (*sink.Request, error) {
	r := &records[0]
	log := struct {
		Request  request  `json:"providerRequest"`
		Response response `json:"providerResponse"`
		Timing   timing   `json:"timing"`
	}{
		request{URL: "custom-model-nopath", JSON: asked(r), Meta: meta(r)},
		response{JSON: said(r), Status: r.HTTPStatus, Headers: map[string]string{}},
		timing{at(r.StartedAt), at(r.StartedAt.Add(r.Duration)), r.FirstToken.Milliseconds()},
	}
	body, err := json.Marshal(log)
	if err != nil {
		return nil, fmt.Errorf("encode log: %w", err)
	}
	return &sink.Request{URL: strings.TrimSuffix(h.cfg.URL, "/") + "/custom/v1/log", Header: h.header, Body: body}, nil
}

// asked is the request's body, or the model alone.
func asked(r *sdk.Record) any {
	if c := payload.Content(r.Request); c != nil {
		return c
	}
	return map[string]string{"model": payload.UpstreamModel(r)}
}

// said is the answer's body, or what it used; or the error.
func said(r *sdk.Record) any {
	if c := payload.Content(r.Response); c != nil {
		return c
	}
	p := payload.Of(r)
	out := map[string]any{
		"id": r.RequestID, "model": payload.UpstreamModel(r),
		"usage": map[string]int64{"prompt_tokens": p.Prompt, "completion_tokens": p.Completion, "total_tokens": p.Total},
	}
	if p.Error != nil {
		out["error"] = map[string]string{"code": r.ErrorCode, "message": payload.ErrorText(r)}
	}
	return out
}

// meta are headers that Helicone reads.
func meta(r *sdk.Record) map[string]string {
	out := map[string]string{"Helicone-Request-Id": r.RequestID}
	for name, value := range map[string]string{
		"Helicone-User-Id": r.EndUser, "Helicone-Session-Id": r.SessionID, "Helicone-Property-Team": r.TeamName, "Helicone-Property-Key": r.KeyName,
		"Helicone-Property-Provider": r.Provider, "Helicone-Property-Model": r.Model, "Helicone-Property-Status": r.Status,
	} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}
