// Package guardrailsai is the guardrail that asks a server of Guardrails AI, where guards are configured.
package guardrailsai

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration of the guardrail.
type Config struct {
	service.Config
	verdict.Terms
	Guard string `json:"guard_name"`
}

// GuardrailsAI is the guardrail.
type GuardrailsAI struct {
	cfg    Config
	sender *service.Sender
}

// Configure implements sdk.Guardrail.
func (g *GuardrailsAI) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg Config
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy", scan.Mask)
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, "http://guardrails:8000")
	}
	if err == nil && cfg.Guard == "" {
		err = errors.New("guard_name: is missing")
	}
	g.cfg = cfg
	return service.Described(), err
}

// answer is the outcome of a validation. A guard that repairs a text says what it becomes; one whose on_fail is
// "exception" answers an error.
type answer struct {
	Passed    *bool   `json:"validationPassed"`
	Validated *string `json:"validatedOutput"`
	failure
}

// failure is what the server makes of an exception: its words are in one of these, by the server's version.
type failure struct {
	Detail  any `json:"detail"` // a text, but of requests that the server does not understand
	Message any `json:"message"`
}

// failed is how the words begin of an exception that says that a text is not valid.
const failed = "Validation failed for field"

// isViolation says that the exception is about the text, and not about the guard or the server.
func (f *failure) isViolation() bool {
	for _, v := range []any{f.Detail, f.Message} {
		if text, ok := v.(string); ok && strings.HasPrefix(text, failed) {
			return true
		}
	}
	return false
}

// violates says that an answer with an error's status tells of a violation.
func violates(status int, answer []byte) bool {
	var f failure
	return status == http.StatusBadRequest && json.Unmarshal(answer, &f) == nil && f.isViolation()
}

// Check implements sdk.Guardrail.
func (g *GuardrailsAI) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	var found service.FoundIn
	var repaired service.Rewritten
	err := service.Each(ctx, len(texts), func(ctx context.Context, n int) error {
		text := c.Texts[texts[n]].Text
		var out answer
		err := g.sender.Post(ctx, service.Request{
			Path: "/guards/" + url.PathEscape(g.cfg.Guard) + "/validate", Header: g.sender.Bearer(), Body: map[string]string{"llmOutput": text}, Accepts: violates,
		}, &out)
		switch {
		case err != nil:
			return err
		case out.isViolation():
			found.Text(texts[n]).Add(g.cfg.Guard, 0)
		case out.Passed == nil:
			return service.ErrIncomplete
		case !*out.Passed:
			found.Text(texts[n]).Add(g.cfg.Guard, 0)
		case out.Validated != nil && *out.Validated != text:
			repaired.Add(texts[n], *out.Validated)
		}
		return nil
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return found.DecideWith(&g.cfg.Terms, &repaired), nil
}
