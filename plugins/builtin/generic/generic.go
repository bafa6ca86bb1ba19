// Package generic is the guardrail that asks a service of one's own over HTTP, in the words of LiteLLM's
// generic guardrail API, so that services written for it go on.
package generic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// defPath is where LiteLLM's API is.
const defPath = "/beta/litellm_basic_guardrail_api"

// maxReason bounds what a service says to the client, in bytes.
const maxReason = 512

// Config is the configuration of the guardrail.
type Config struct {
	service.Config
	verdict.Terms
	Path string `json:"path,omitempty"` // behind api_base; default /beta/litellm_basic_guardrail_api
	// Reason tells the client the blocked_reason of the service; default: message alone.
	Reason bool `json:"show_reason,omitempty"`
	// Params are sent as they are, as additional_provider_specific_params.
	Params json.RawMessage `json:"additional_provider_specific_params,omitempty"`
}

// Generic is the guardrail.
type Generic struct {
	cfg    Config
	sender *service.Sender
}

// Configure implements sdk.Guardrail.
func (g *Generic) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Path: defPath}
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy")
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, "http://guard:8080")
	}
	if err == nil && !strings.HasPrefix(cfg.Path, "/") {
		err = errors.New("path: does not begin with /")
	}
	g.cfg = cfg
	return service.Described(), err
}

// Request is what the service is asked.
type Request struct {
	InputType string            `json:"input_type"` // request or response
	Texts     []string          `json:"texts"`
	Messages  []service.Message `json:"structured_messages,omitempty"` // the same texts of a request, with who says them
	Model     string            `json:"model,omitempty"`
	CallID    string            `json:"litellm_call_id,omitempty"` // the same for a request and its answer
	Data      Data              `json:"request_data"`
	Params    json.RawMessage   `json:"additional_provider_specific_params,omitempty"`
}

// Data says whose request it is.
type Data struct {
	KeyID  string `json:"user_api_key_hash,omitempty"` // the key's id: hashes do not leave the gateway
	TeamID string `json:"user_api_key_team_id,omitempty"`
	User   string `json:"user_api_key_end_user_id,omitempty"`
	Route  string `json:"user_api_key_request_route,omitempty"` // chat, embeddings, …
}

// Answer is what the service says.
type Answer struct {
	Action string    `json:"action"`         // NONE, BLOCKED or GUARDRAIL_INTERVENED
	Reason string    `json:"blocked_reason"` // of BLOCKED
	Texts  *[]string `json:"texts"`          // of GUARDRAIL_INTERVENED: as many as were asked about
}

// Check implements sdk.Guardrail.
func (g *Generic) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	if len(texts) == 0 {
		return sdk.Pass(), nil
	}
	q := Request{
		InputType: "response", Texts: service.Strings(&g.cfg.Terms, c), Model: c.Info.Model, CallID: c.Info.RequestID, Params: g.cfg.Params,
		Data: Data{KeyID: c.Info.KeyID, TeamID: c.Info.TeamID, User: c.Info.User, Route: c.Info.Endpoint},
	}
	if c.Hook == sdk.Before {
		q.InputType, q.Messages = "request", service.Messages(&g.cfg.Terms, c)
	}
	var out Answer
	if err := g.sender.Post(ctx, service.Request{Path: g.cfg.Path, Header: g.sender.Bearer(), Body: q}, &out); err != nil {
		return sdk.Verdict{}, err
	}
	switch out.Action {
	case "NONE":
		return sdk.Pass(), nil
	case "BLOCKED":
		v := g.cfg.Decide([]sdk.Finding{{Category: "blocked"}})
		if g.cfg.Reason && out.Reason != "" && g.cfg.Action == scan.Block {
			v.Message = strings.ToValidUTF8(out.Reason[:min(len(out.Reason), maxReason)], "")
		}
		return v, nil
	case "GUARDRAIL_INTERVENED":
		return g.intervened(c, texts, out.Texts)
	}
	return sdk.Verdict{}, fmt.Errorf("%w: its action is not one of NONE, BLOCKED, GUARDRAIL_INTERVENED", service.ErrIncomplete)
}

func (g *Generic) intervened(c *sdk.Check, at []int, now *[]string) (sdk.Verdict, error) {
	if now == nil || len(*now) != len(at) {
		return sdk.Verdict{}, fmt.Errorf("%w: it has not as many texts as it was asked about", service.ErrIncomplete)
	}
	var found service.Found
	var changed service.Rewritten
	for n, text := range *now {
		if text != c.Texts[at[n]].Text {
			changed.Add(at[n], text)
		}
	}
	return service.Decide(&g.cfg.Terms, &found, &changed), nil
}
