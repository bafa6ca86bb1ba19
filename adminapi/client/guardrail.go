package client

import (
	"context"
	"net/http"
	"net/url"
)

// GuardrailTry is a text that a guardrail is asked about, without a request to a model.
type GuardrailTry struct {
	Hook string `json:"hook,omitempty" enum:"before,during,after" doc:"as which it is checked; default: the first that the guardrail has"`
	Text string `json:"text"`
	Role string `json:"role,omitempty" doc:"of who says it, before; default user"`
	User string `json:"user,omitempty" doc:"the end user for whom it is"`
}

// GuardrailTried is what a guardrail says of a text.
type GuardrailTried struct {
	Guardrail string `json:"guardrail"`
	Hook      string `json:"hook"`
	Status    string `json:"status"` // passed, flagged, rewritten, blocked, not_run
	Text      string `json:"text"`   // as it would go on; "" if it would not
	Message   string `json:"message,omitempty"`
	Found     string `json:"found,omitempty"` // "email 2, hate 0.91"
	Error     string `json:"error,omitempty"` // why it was not run
	Duration  int64  `json:"duration_ns"`
	Node      string `json:"node"`
}

// TryGuardrail asks the guardrail, by id or name, about a text, at the node that answers.
func (c *Client) TryGuardrail(ctx context.Context, ref string, t GuardrailTry) (out GuardrailTried, err error) {
	return out, c.do(ctx, http.MethodPost, "guardrails/"+url.PathEscape(ref)+"/try", nil, t, &out)
}
