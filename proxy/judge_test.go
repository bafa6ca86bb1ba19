package proxy_test

import (
	"context"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// asks is a plugin that asks a model before it judges, and keeps what it heard.
func asks(t *testing.T, endpoint, body string, heard *[]string) *judge {
	return &judge{check: func(q *guardrail.Check) guardrail.Verdict {
		got, err := q.Info.Models.Ask(t.Context(), endpoint, []byte(body))
		if err != nil {
			*heard = append(*heard, "error: "+err.Error())
			return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
		}
		*heard = append(*heard, string(got))
		return guardrail.Verdict{}
	}}
}

// held sees that the budget was held for the request and the question, the limits for the request alone,
// and that all of it was settled and given back.
func held(t *testing.T, r *rig) {
	t.Helper()
	if m, l := &r.money, &r.limit; m.taken != 2 || m.released != 2 || m.settled != 2 || l.taken != 1 || l.released != 1 || l.settled != 1 {
		t.Errorf("budget: held %d times, settled %d, given back %d; limits: %d, %d, %d", m.taken, m.settled, m.released, l.taken, l.settled, l.released)
	}
}

// What a guardrail asks a model is charged to the request's own accounts, leaves a record of its own, and
// is seen by no guardrail: the one that asks is asked about the client's request alone.
func TestJudge_Charged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var heard []string
	r.guard(asks(t, "chat", `{"model":"demo","messages":[{"role":"user","content":"is it safe?"}],"max_tokens":5}`, &heard), resource.HookBefore)
	var sent []string
	next := r.upstream
	r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
		sent = append(sent, string(a.Body))
		return next(ctx, a)
	}
	var claims []budget.Request
	r.cfg.Budgets = budgetsFunc(func(b budget.Request) (proxy.BudgetHold, error) {
		claims = append(claims, b)
		r.money.taken++
		return &r.money, nil
	})
	w := r.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "{", `{"user":"u-1",`, 1))
	if w.Code != 200 || len(heard) != 1 || !strings.Contains(heard[0], `"choices"`) {
		t.Fatalf("got %d %s, heard %q", w.Code, w.Body, heard)
	}
	if len(sent) != 2 || !strings.Contains(sent[0], "is it safe?") || strings.Contains(sent[1], "is it safe?") {
		t.Errorf("sent %q", sent)
	}
	held(t, r)
	if len(claims) != 2 || claims[0].Model != claims[1].Model {
		t.Errorf("%d claims", len(claims))
	}
	if len(r.journal.settled) != 2 {
		t.Fatalf("%d records", len(r.journal.settled))
	}
	asked, own := r.journal.settled[0], r.journal.settled[1]
	if asked.KeyID == "" || asked.KeyID != own.KeyID || asked.TeamID != own.TeamID || asked.CustomerID != "u-1" || asked.Cost == 0 ||
		!strings.HasPrefix(asked.RequestID, own.RequestID+"-g") || len(asked.Guardrails) != 0 || len(own.Guardrails) != 1 {
		t.Errorf("recorded %+v for the question and %+v", asked, own)
	}
}

// Whatever cannot be asked is an error for the guardrail, and says no more than its code.
func TestJudge_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, endpoint, body, want string }{
		{"another endpoint", "embeddings", `{"model":"demo"}`, "unknown_endpoint"},
		{"no such model", "chat", `{"model":"canary","messages":[]}`, "model_not_found"},
		{"a stream", "chat", `{"model":"demo","stream":true,"messages":[]}`, "invalid_value"},
		{"no JSON", "chat", `canary`, "invalid_json"},
		{"an MCP server", "chat", `{"model":"demo","messages":[],"tools":[{"type":"mcp","server_url":"https://canary.example"}]}`, "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var heard []string
			r.guard(asks(t, tt.endpoint, tt.body, &heard), resource.HookBefore)
			w := r.do("POST", "/v1/chat/completions", chatBody)
			if w.Code != 400 || len(heard) != 1 || !strings.Contains(heard[0], tt.want) || strings.Contains(heard[0], "canary") {
				t.Errorf("got %d, heard %q", w.Code, heard)
			}
			if r.money.taken != r.money.released || r.limit.taken != r.limit.released {
				t.Errorf("held %d and %d, gave back %d and %d", r.money.taken, r.limit.taken, r.money.released, r.limit.released)
			}
		})
	}
}

// A budget that has no room for the question refuses it, and the guardrail has not run.
func TestJudge_OverBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var heard []string
	r.guard(asks(t, "chat", `{"model":"demo","messages":[{"role":"user","content":"x"}]}`, &heard), resource.HookBefore)
	n := 0
	r.cfg.Budgets = budgetsFunc(func(budget.Request) (proxy.BudgetHold, error) {
		if n++; n > 1 {
			return nil, &llm.Error{Kind: llm.OverBudget, Message: "no canary money"}
		}
		r.money.taken++
		return &r.money, nil
	})
	w := r.do("POST", "/v1/chat/completions", chatBody)
	if w.Code != 400 || len(heard) != 1 || !strings.Contains(heard[0], "budget_exceeded") || strings.Contains(heard[0], "canary") {
		t.Errorf("got %d, heard %q", w.Code, heard)
	}
	if r.router.began != 0 {
		t.Errorf("%d attempts", r.router.began)
	}
}

// A stream that is held to its end may be judged by a model, too.
func TestJudge_Answers(t *testing.T) {
	t.Parallel()
	for _, body := range []string{chatBody, streamBody} {
		r := newRig(t)
		var heard []string
		r.guard(asks(t, "chat", `{"model":"demo","messages":[{"role":"user","content":"x"}]}`, &heard), resource.HookAfter)
		if w := r.do("POST", "/v1/chat/completions", body); w.Code != 200 || len(heard) != 1 || !strings.Contains(heard[0], "choices") {
			t.Errorf("got %d %s, heard %q", w.Code, w.Body, heard)
		}
		held(t, r)
	}
}
