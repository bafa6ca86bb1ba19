// Package slack is the callback that tells a channel of Slack, or of another chat that takes the
// same webhooks, of requests that did not succeed.
package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	maxBatch = 100 // requests in one message
	maxLines = 10  // of one message; more are counted
)

// Config is the configuration.
type Config struct {
	WebhookURL string   `json:"webhook_url"`        // is a secret
	Statuses   []string `json:"statuses,omitempty"` // that are told; default: failure, blocked
	Channel    string   `json:"channel,omitempty"`  // for webhooks that let it be chosen
	sink.HTTP
}

// Slack posts messages.
type Slack struct {
	cfg    Config
	client *sink.Client
}

// Configure implements sdk.Callback.
func (s *Slack) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{}
	if err := sink.ReadConfig(set.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if _, err := sink.URL("webhook_url", cfg.WebhookURL); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if len(cfg.Statuses) == 0 {
		cfg.Statuses = []string{"failure", "blocked"}
	}
	client, err := sink.NewClient(cfg.HTTP, false)
	s.cfg, s.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (s *Slack) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, maxBatch, s.send)
}

// send posts one message about the records that are told; about none of them it says nothing.
func (s *Slack) send(ctx context.Context, records []sdk.Record) (int, error) {
	var lines []string
	for i := range records {
		if r := &records[i]; slices.Contains(s.cfg.Statuses, r.Status) {
			lines = append(lines, lineOf(r))
		}
	}
	if len(lines) == 0 {
		return len(records), nil
	}
	text := fmt.Sprintf("*%d requests* at %s", len(lines), escape(records[0].NodeID))
	if len(lines) == 1 {
		text = "*1 request* at " + escape(records[0].NodeID)
	}
	for _, l := range lines[:min(len(lines), maxLines)] {
		text += "\n• " + l
	}
	if more := len(lines) - maxLines; more > 0 {
		text += fmt.Sprintf("\n… and %d more", more)
	}
	message := map[string]string{"text": text}
	if s.cfg.Channel != "" {
		message["channel"] = s.cfg.Channel
	}
	body, err := json.Marshal(message)
	if err != nil {
		return 0, fmt.Errorf("encode message: %w", err)
	}
	_, err = s.client.Do(ctx, &sink.Request{URL: s.cfg.WebhookURL, Header: http.Header{"Content-Type": {"application/json"}}, Body: body})
	if err != nil {
		return 0, err
	}
	return len(records), nil
}

func lineOf(r *sdk.Record) string {
	who := r.TeamName
	if r.KeyName != "" {
		who = strings.TrimPrefix(who+"/"+r.KeyName, "/")
	}
	line := fmt.Sprintf("%s %s `%s` %d", r.StartedAt.UTC().Format("15:04:05"), escape(r.Status), escape(r.Model), r.HTTPStatus)
	if text := payload.ErrorText(r); text != "" {
		line += " " + escape(text)
	}
	if who != "" {
		line += " (" + escape(who) + ")"
	}
	return line + " " + escape(r.RequestID)
}

// escape keeps texts of clients from being read as Slack's markup, such as mentions of everybody.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "`", "'", "\n", " ").Replace(s)
}
