// Package athina is the callback that logs finished requests at Athina. Its request is that of the OpenAPI
// document of Athina's logging API.
package athina

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration.
type Config struct {
	APIKey      string `json:"api_key"`
	URL         string `json:"url,omitempty"` // default https://log.athina.ai
	Environment string `json:"environment,omitempty"`
	sink.HTTP
}

// Athina logs an inference for each request, one at a time.
type Athina struct {
	cfg    Config
	client *sink.Client
}

// Configure implements sdk.Callback.
func (a *Athina) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{URL: "https://log.athina.ai"}
	if err := sink.ReadConfig(s.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if cfg.APIKey == "" {
		return sdk.CallbackDescription{}, errors.New("api_key: give a key of the Athina account")
	}
	if _, err := sink.URL("url", cfg.URL); err != nil {
		return sdk.CallbackDescription{}, err
	}
	client, err := sink.NewClient(cfg.HTTP, false)
	a.cfg, a.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (a *Athina) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, 1, sink.Post(a.client, a.request))
}

// inference is one log. Its prompt and its response are empty where contents are not told.
type inference struct {
	Model       string         `json:"language_model_id"`
	Prompt      any            `json:"prompt"`   // the messages of the request, or its body as text
	Response    string         `json:"response"` // the text of the answer, or its body
	Tokens      int64          `json:"prompt_tokens"`
	Completion  int64          `json:"completion_tokens"`
	Total       int64          `json:"total_tokens"`
	Millis      int64          `json:"response_time"`
	Cost        *float64       `json:"cost,omitempty"` // US dollars
	Environment string         `json:"environment,omitempty"`
	Customer    string         `json:"customer_id,omitempty"`
	User        string         `json:"customer_user_id,omitempty"`
	Session     string         `json:"session_id,omitempty"`
	Reference   string         `json:"external_reference_id"`
	Slug        string         `json:"prompt_slug,omitempty"`
	Custom      map[string]any `json:"custom_attributes"`
}

func (a *Athina) request(records []sdk.Record) (*sink.Request, error) {
	r := &records[0]
	p := payload.Of(r)
	log := inference{
		Model: payload.UpstreamModel(r), Prompt: asked(r.Request), Response: answered(r.Response),
		Tokens: p.Prompt, Completion: p.Completion, Total: p.Total, Millis: r.Duration.Milliseconds(), Cost: p.Cost, Environment: a.cfg.Environment,
		Customer: r.TeamID, User: r.EndUser, Session: r.SessionID, Reference: r.RequestID, Slug: r.Prompt,
		Custom: map[string]any{
			"key": r.KeyName, "team": r.TeamName, "provider": r.Provider, "model_group": r.Model, "tags": p.Tags,
			"status": r.Status, "http_status": r.HTTPStatus, "error": p.ErrorText,
		},
	}
	body, err := json.Marshal(log)
	if err != nil {
		return nil, fmt.Errorf("encode log: %w", err)
	}
	return &sink.Request{
		URL: strings.TrimSuffix(a.cfg.URL, "/") + "/api/v1/log/inference", Body: body,
		Header: http.Header{"Content-Type": {"application/json"}, "Athina-Api-Key": {a.cfg.APIKey}},
	}, nil
}

// asked is the messages of a request that has some, or its body as text.
func asked(request []byte) any {
	var body struct {
		Messages []json.RawMessage `json:"messages"`
	}
	if json.Unmarshal(request, &body) == nil && len(body.Messages) > 0 {
		return body.Messages
	}
	return strings.ToValidUTF8(string(request), "\uFFFD")
}

// answered is the text of an answer that has some, in OpenAI's words or Anthropic's, or its body.
func answered(response []byte) string {
	var body struct {
		Choices []struct {
			Message struct {
				Content string `json:"content"`
			} `json:"message"`
			Text string `json:"text"`
		} `json:"choices"`
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if json.Unmarshal(response, &body) == nil {
		var texts []string
		for _, c := range body.Choices {
			texts = append(texts, c.Message.Content+c.Text)
		}
		for _, c := range body.Content {
			texts = append(texts, c.Text)
		}
		if text := strings.Join(texts, "\n"); strings.TrimSpace(text) != "" {
			return text
		}
	}
	return strings.ToValidUTF8(string(response), "\uFFFD")
}
