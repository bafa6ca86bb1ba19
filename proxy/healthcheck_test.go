package proxy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// checked is a rig with the team of the gateway's own requests, and a deployment that wants health checks.
func checked(t *testing.T) (*rig, *resource.Deployment) {
	r := newRig(t)
	r.tables.Teams = append(r.tables.Teams, &resource.Team{Meta: resource.Meta{ID: resource.SystemTeamID}, Name: resource.SystemTeamID})
	d := *r.tables.Deployments[0]
	d.HealthCheck = resource.HealthCheck{HealthCheckModel: "openai/gpt-small"}
	r.tables.Deployments[0] = &d
	return r, &d
}

// A health check asks the deployment alone, for the model that it names, with a bounded answer, and is booked
// on the team _system and on no key.
func TestCheckHealth_Booked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider, metadata string
		tokens                   int64
		want                     []string
	}{
		{"openai", "openai", "", 0, []string{`"model":"gpt-small"`, `"max_completion_tokens":16`}},
		{"another bound", "groq", `{"mode":"chat"}`, 5, []string{`"max_tokens":5`}},
		{"embeddings", "openai", `{"mode":"embedding"}`, 0, []string{`"input":"ping"`, `"model":"gpt-small"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, d := checked(t)
			d.Provider, d.Metadata, d.HealthCheckMaxTokens = tt.provider, []byte(tt.metadata), tt.tokens
			d.HealthCheckModel = tt.provider + "/gpt-small"
			var claim budget.Request
			next := r.cfg.Budgets
			r.cfg.Budgets = budgetsFunc(func(b budget.Request) (proxy.BudgetHold, error) {
				claim = b
				claim.Levels = slices.Clone(b.Levels)
				return next.Reserve(t.Context(), b)
			})
			var sent []string
			ask := r.upstream
			r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
				sent = append(sent, string(a.Body))
				return ask(ctx, a)
			}
			if err := r.server().CheckHealth(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if len(sent) != 1 {
				t.Fatalf("sent %q", sent)
			}
			for _, want := range tt.want {
				if !strings.Contains(sent[0], want) {
					t.Errorf("sent %s, want %s in it", sent[0], want)
				}
			}
			if len(claim.Levels) != 2 || claim.Levels[0].Kind != resource.HolderTeam || claim.Levels[0].ID != resource.SystemTeamID || claim.Levels[1].ID != "model_demo" {
				t.Errorf("held of %+v", claim.Levels)
			}
			if len(r.journal.settled) != 1 {
				t.Fatalf("%d records", len(r.journal.settled))
			}
			got := r.journal.settled[0]
			if got.TeamID != resource.SystemTeamID || got.KeyID != "" || got.UserID != "" || got.Cost == 0 || got.DeploymentID != "dep_1" || got.Model != "demo" || got.Status != 200 {
				t.Errorf("recorded %+v", got)
			}
			if m, l := &r.money, &r.limit; m.settled != 1 || m.released != 1 || l.settled != 1 || m.taken != 1 || l.released != l.taken {
				t.Errorf("money %+v, limits %+v", m, l)
			}
		})
	}
}

// What is the gateway's own fault is no verdict on the deployment; what the provider says is one.
func TestCheckHealth_Errors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		edit  func(r *rig, d *resource.Deployment)
		asked bool
	}{
		{"no team", func(r *rig, _ *resource.Deployment) { r.tables.Teams = nil }, false},
		{"the team is blocked", func(r *rig, _ *resource.Deployment) { r.tables.Teams[0].Blocked = true }, false},
		{"the team has expired", func(r *rig, _ *resource.Deployment) { r.tables.Teams[0].ExpiresAt = 1 }, false},
		{"no money", func(r *rig, _ *resource.Deployment) {
			r.cfg.Budgets = budgetsFunc(func(budget.Request) (proxy.BudgetHold, error) {
				return nil, &llm.Error{Kind: llm.OverBudget, Message: "spent"}
			})
		}, false},
		{"no journal", func(r *rig, _ *resource.Deployment) { r.journal.fail = errBoom }, false},
		{"another mode", func(_ *rig, d *resource.Deployment) { d.Metadata = []byte(`{"mode":"image_generation"}`) }, false},
		{"the provider fails", func(r *rig, _ *resource.Deployment) {
			r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
				return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Status: 503, Message: "down"}
			}
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, d := checked(t)
			tt.edit(r, d)
			err := r.server().CheckHealth(t.Context(), d)
			if err == nil || errors.Is(err, proxy.ErrNotAsked) == tt.asked {
				t.Errorf("got %v", err)
			}
			var e *llm.Error
			if tt.asked && (!errors.As(err, &e) || e.Status != 503) {
				t.Errorf("got %v, want the provider's", err)
			}
			if r.money.taken != r.money.released || r.limit.taken != r.limit.released {
				t.Errorf("money %+v, limits %+v", r.money, r.limit)
			}
		})
	}
}
