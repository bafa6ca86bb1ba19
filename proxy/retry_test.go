package proxy_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
)

// Only a budget that is really exceeded tells clients not to try again; one whose rest
// others hold, or that nobody can lease from, says when to.
func TestOverBudget_Retry(t *testing.T) {
	t.Parallel()
	resets := time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name              string
		after             time.Duration
		should, wait      string
		noRetryFromBudget bool
	}{
		{name: "exceeded", noRetryFromBudget: true, should: "false"},
		{name: "others hold the rest", after: time.Second, wait: "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.cfg.Budgets = budgetsFunc(func(budget.Request) (proxy.BudgetHold, error) {
				return nil, &llm.Error{
					Kind: llm.OverBudget, Code: "budget_exceeded", Scope: "key", Entity: "key_good", ResetsAt: resets,
					RetryAfter: tt.after, NoRetry: tt.noRetryFromBudget, Message: "spent",
				}
			})
			w := r.do("POST", "/v1/chat/completions", chatBody)
			h := w.Header()
			if w.Code != 429 || h.Get("X-Should-Retry") != tt.should || h.Get("Retry-After") != tt.wait {
				t.Errorf("got %d, x-should-retry %q, retry-after %q", w.Code, h.Get("X-Should-Retry"), h.Get("Retry-After"))
			}
			var e struct {
				Error struct {
					Code, Scope, Entity string
					ResetsAt            time.Time `json:"resets_at"`
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			if e.Error.Code != "budget_exceeded" || e.Error.Scope != "key" || e.Error.Entity != "key_good" || !e.Error.ResetsAt.Equal(resets) {
				t.Errorf("got %s", w.Body)
			}
		})
	}
}
