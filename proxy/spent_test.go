package proxy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// spentBudgets refuses as budgets do whose names are given, of the good key or its team.
func spentBudgets(r *rig, holder, id string, of map[string]string, edit func(*llm.Error)) budgetsFunc {
	return func(q budget.Request) (proxy.BudgetHold, error) {
		if name := of[q.Model]; name != "" {
			e := &llm.Error{
				Kind: llm.OverBudget, Code: "budget_exceeded", Scope: holder, Entity: id, NoRetry: true, ResetsAt: time.Unix(1, 0), Message: "budget " + name + " is exceeded",
				Count: &llm.Count{Of: name, Unit: "usd", Limit: 10, Left: 1, Asked: 5},
			}
			if edit != nil {
				edit(e)
			}
			return nil, e
		}
		r.money.taken++
		return &r.money, nil
	}
}

// A key whose own budget for a model is spent asks the first model in its place that it may use and that has room.
func TestBudgetFallbacks(t *testing.T) {
	t.Parallel()
	late := func(e *llm.Error) { e.Count.Left, e.Count.Late = 9, true }
	for _, tt := range []struct {
		name      string
		fallbacks []string
		holder    string
		of        map[string]string // model → the budget that refuses it
		edit      func(*llm.Error)
		full      string // the model whose limit is reached
		body      string
		want      string // the model that answers; "": none
	}{
		{"room", []string{"other"}, "key", map[string]string{"demo": "model_demo"}, nil, "", chatBody, "other"},
		{"one that it may not use comes first", []string{"secret", "gone", "other"}, "key", map[string]string{"demo": "model_demo"}, nil, "", chatBody, "other"},
		{"none that it may use", []string{"secret", "gone"}, "key", map[string]string{"demo": "model_demo"}, nil, "", chatBody, ""},
		{"by an alias", []string{"cheap"}, "key", map[string]string{"demo": "model_demo"}, nil, "", chatBody, "other"},
		{"no fallbacks", nil, "key", map[string]string{"demo": "model_demo"}, nil, "", chatBody, ""},
		{"the place has none either", []string{"other"}, "key", map[string]string{"demo": "model_demo", "other": "whole"}, nil, "", chatBody, ""},
		{"the whole budget is spent", []string{"other"}, "key", map[string]string{"demo": "whole"}, nil, "", chatBody, ""},
		{"another's budget is spent", []string{"other"}, "team", map[string]string{"demo": "model_demo"}, nil, "", chatBody, ""},
		{"the rest is with other nodes", []string{"other"}, "key", map[string]string{"demo": "model_demo"}, late, "", chatBody, ""},
		{"the place is limited", []string{"other"}, "key", map[string]string{"demo": "model_demo"}, nil, "other", chatBody, ""},
		{"the client wants none", []string{"other"}, "key", map[string]string{"demo": "model_demo"}, nil, "", with(`"disable_fallbacks":true`), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			k := r.keys[resource.HashSecret(goodKey)]
			k.Aliases = map[string]string{"cheap": "other"}
			k.Budgets = []resource.Terms{{Name: "model_demo", USD: 10, Models: []string{"demo"}}, {Name: "whole", USD: 20}}
			if tt.fallbacks != nil {
				k.BudgetFallbacks = map[string][]string{"demo": tt.fallbacks}
			}
			id := k.ID
			if tt.holder != "key" {
				id = "t1"
			}
			r.cfg.Budgets = spentBudgets(r, tt.holder, id, tt.of, tt.edit)
			var open []string // what is held of limits now, by model
			r.cfg.Limits = limiterFunc(func(q *ratelimit.Request) (proxy.LimitHold, error) {
				if q.Model == tt.full {
					return nil, &llm.Error{Kind: llm.RateLimited, Code: "rate_limit_exceeded", RetryAfter: time.Second}
				}
				open = append(open, q.Model)
				return &r.limit, nil
			})
			w := r.do("POST", chatPath, tt.body)
			records := r.journal.settled
			if len(records) != 1 {
				t.Fatalf("%d records", len(records))
			}
			rec, held := records[0], r.limit.withdrawn+r.limit.released
			if held != len(open) {
				t.Errorf("%d holds of limits were made, %d ended", len(open), held)
			}
			if tt.want == "" {
				if w.Code != 422 && w.Code != 429 || rec.Model != "demo" || rec.Receipt.Facts.Spent != "" || rec.Receipt.Step != "budget" || rec.ErrorCode != "budget_exceeded" {
					t.Errorf("got %d %s, model %s, spent %q, step %s", w.Code, w.Body, rec.Model, rec.Receipt.Facts.Spent, rec.Receipt.Step)
				}
				if open[len(open)-1] != "demo" || r.limit.released != 1 {
					t.Errorf("it is refused as %q, and %d were released; want demo, counted once", open, r.limit.released)
				}
				return
			}
			if w.Code != 200 || w.Header().Get("X-Conclave-Model") != tt.want || w.Header().Get("X-Conclave-Budget-Spent") != "demo" || w.Header().Get("X-Litellm-Attempted-Fallbacks") != "1" {
				t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
			}
			if rec.Model != tt.want || rec.Receipt.Facts.Spent != "demo" || rec.Receipt.Facts.Asked != "demo" || r.money.settled != 1 {
				t.Errorf("the record has the model %s, spent %q, asked %q", rec.Model, rec.Receipt.Facts.Spent, rec.Receipt.Facts.Asked)
			}
			if got := strings.Join(open, " "); got != "demo other" || r.limit.withdrawn != 1 {
				t.Errorf("limits of %q were held, %d withdrawn", got, r.limit.withdrawn)
			}
		})
	}
}

// The real budgets refuse in the words that a fallback is told by, and count what took the place there alone.
func TestBudgetFallbacks_real(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	k := r.keys[resource.HashSecret(goodKey)]
	k.Budgets = []resource.Terms{{USD: 1, Models: []string{"demo"}, Per: resource.PerTotal, Name: "model_demo"}}
	k.BudgetFallbacks = map[string][]string{"demo": {"other"}}
	b := budget.New(budget.Config{})
	b.SetEpoch(1)
	r.cfg.Budgets = proxy.FromBudgets(b)
	w := r.do("POST", chatPath, chatBody)
	if w.Code != 200 || w.Header().Get("X-Conclave-Model") != "other" || w.Header().Get("X-Conclave-Budget-Spent") != "demo" {
		t.Fatalf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
	if rec := r.journal.settled[0]; len(rec.Charges) != 0 || rec.Model != "other" {
		t.Errorf("charged %+v of the model %s", rec.Charges, rec.Model)
	}
}

// A failure of the model in the place leads to no request of the one whose budget is spent.
func TestBudgetFallbacks_notBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	k := r.keys[resource.HashSecret(goodKey)]
	k.Budgets = []resource.Terms{{Name: "model_demo", USD: 10, Models: []string{"demo"}}}
	k.BudgetFallbacks = map[string][]string{"demo": {"other"}}
	r.tables.Models[1].Fallbacks = []string{"demo"}
	r.cfg.Budgets = spentBudgets(r, "key", k.ID, map[string]string{"demo": "model_demo"}, nil)
	r.cfg.Router = r.router.Router
	var asked []string
	r.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
		asked = append(asked, a.Model)
		return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Status: 500, Message: "down"}
	}
	w := r.do("POST", chatPath, with(`"num_retries":0`))
	if w.Code == 200 || len(asked) != 1 || asked[0] != "other" {
		t.Errorf("got %d %s, asked %q", w.Code, w.Body, asked)
	}
}

// A model that costs nothing is answered whatever is left of the money, without the models that it falls back to for money.
func TestFree_WithoutFallbacks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		edit   func(*rig)
		body   string
		unit   resource.Unit // of the budget that is spent
		status int
	}{
		{"its fallback costs money", nil, chatBody, resource.UnitUSD, 200},
		{"what the client falls back to does", nil, with(`"fallbacks":["other"]`), resource.UnitUSD, 200},
		{"the client wants none", nil, with(`"disable_fallbacks":true`), resource.UnitUSD, 200},
		{"the tokens are spent", nil, chatBody, resource.UnitTokens, 429},
		{"one of its deployments costs money", func(r *rig) { r.tables.Deployments[1].Price = &resource.Price{Input: 1} }, chatBody, resource.UnitUSD, 429},
		{"the price of one is unknown", func(r *rig) { r.tables.Deployments[1].Price = nil }, chatBody, resource.UnitUSD, 429},
		{"it has no deployment", func(r *rig) { r.tables.Deployments = r.tables.Deployments[2:] }, chatBody, resource.UnitUSD, 429},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.tables.Models[0].Fallbacks = []string{"other"}
			r.tables.Deployments[0].Price, r.tables.Deployments[1].Price = &resource.Price{}, &resource.Price{}
			r.tables.Deployments[2].Price = &resource.Price{Input: resource.Dollar}
			if tt.edit != nil {
				tt.edit(r)
			}
			r.cfg.Router = r.router.Router
			r.cfg.Budgets = budgetsFunc(func(q budget.Request) (proxy.BudgetHold, error) {
				if q.Free && tt.unit == resource.UnitUSD {
					return &r.money, nil
				}
				return nil, &llm.Error{Kind: llm.OverBudget, Code: "budget_exceeded", Scope: "key", Entity: "key_good", Count: &llm.Count{Of: "whole", Unit: string(tt.unit), Asked: 5}}
			})
			r.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
				if a.Model == "other" {
					t.Error("what costs money was asked")
				}
				return wholeAnswer(), nil
			}
			w := r.do("POST", chatPath, tt.body)
			if rec := r.journal.settled[0]; w.Code != tt.status || rec.Cost != 0 || rec.Receipt.Facts.Stays != (tt.status == 200) {
				t.Errorf("got %d %s, recorded %+v", w.Code, w.Body, rec)
			}
		})
	}
}
