package adminapi

import (
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

// replay decides a request again, against what is stored now, and says what would differ. No
// provider is called and nothing is counted. What depends on the moment, such as the requests
// of the last minute, is not judged.
func (s *Server) replay(r *requestlog.Row, then *requestlog.Receipt) *client.Replay {
	out := &client.Replay{Decision: "served", Differences: []string{}, Deployments: []string{}, NotJudged: []string{
		"limits by the minute and requests in flight, which are of the moment", "guardrails, which would have to read what was said",
	}}
	model := s.replayKey(r, out)
	s.replayDeployments(r, model, out)
	s.replayDifferences(r, then, out)
	return out
}

// replayKey lets the key's chain judge, and returns the model that would be asked.
func (s *Server) replayKey(r *requestlog.Row, out *client.Replay) *resource.Model {
	cat := s.cfg.State.Catalog()
	name := r.Model
	if r.KeyID != "" {
		k, ok := s.cfg.State.Key(r.KeyID)
		if !ok {
			out.Refuse("invalid_api_key", "the key was deleted", client.EffectiveLevel{Kind: resource.HolderKey, ID: r.KeyID, Missing: true})
			return nil
		}
		eff := s.rs.Effective(k, records.Asked{Model: r.Model, Customer: r.Customer, Tags: r.Tags})
		for _, a := range eff.Models.Aliases {
			if a.Alias == r.Model {
				name = a.Model
				break
			}
		}
		for i := range eff.Blocks {
			if b := &eff.Blocks[i]; len(b.Models) == 0 || resource.AllowsModel(b.Models, name) {
				out.Refuse(b.Code, b.Reason, b.Level)
				break
			}
		}
		s.replayBudgets(r, name, eff, out)
	}
	m, ok := cat.Resolve(name)
	if !ok {
		out.Refuse("model_not_found", fmt.Sprintf("there is no model %q", name), client.EffectiveLevel{Kind: resource.HolderModel})
		return nil
	}
	return m
}

// replayBudgets asks every budget of dollars for what the request held then.
func (s *Server) replayBudgets(r *requestlog.Row, model string, eff *client.Effective, out *client.Replay) {
	for i := range eff.Budgets {
		b := &eff.Budgets[i]
		if b.Unit != resource.UnitUSD || len(b.Models) > 0 && !resource.AllowsModel(b.Models, model) {
			continue
		}
		if left, err := resource.ParseMoney(string(b.Left)); err == nil && left < r.Hold {
			out.Refuse("budget_exceeded", fmt.Sprintf("the budget %s of the %s has %s left, and the request held %s", b.Budget, b.Level.Kind, left, r.Hold), b.Level)
		}
	}
}

// replayDeployments lists what could answer, and prices the request at the deployment that did.
func (s *Server) replayDeployments(r *requestlog.Row, m *resource.Model, out *client.Replay) {
	cat := s.cfg.State.Catalog()
	if m != nil {
		for _, d := range cat.ModelDeployments(m) {
			if !d.Blocked && (d.Weight == nil || *d.Weight > 0) {
				out.Deployments = append(out.Deployments, d.ID)
			}
		}
		if len(out.Deployments) == 0 {
			out.Refuse("no_deployments", "the model has no deployment that is not taken out", client.EffectiveLevel{Kind: resource.HolderModel, ID: m.ID, Name: m.Name})
		}
	}
	i := slices.IndexFunc(cat.Tables().Deployments, func(d *resource.Deployment) bool { return d.ID == r.DeploymentID })
	if i < 0 || r.UsageSource == llm.UsageNone.String() || m == nil {
		return
	}
	d := cat.Tables().Deployments[i]
	entry, ok := s.prices.Book().Of(d, m.Name)
	if !ok || entry.Price == nil || entry.Price.Timed() {
		return
	}
	cost := pricing.Bill(entry.Price, cat.Settings().PriceAdjustments.Of(d.Provider), usageOfRow(r))
	out.Cost = &cost
}

// usageOfRow is the usage that a row was billed for.
func usageOfRow(r *requestlog.Row) llm.Usage {
	return llm.Usage{
		Input: r.Input - r.AudioInput - r.ImageInput, CacheRead: r.CacheRead, CacheWrite: r.CacheWrite - r.CacheWrite1h, CacheWrite1h: r.CacheWrite1h,
		AudioInput: r.AudioInput, ImageInput: r.ImageInput, Output: r.Output - r.AudioOutput - r.ImageOutput, Reasoning: r.Reasoning,
		AudioOutput: r.AudioOutput, ImageOutput: r.ImageOutput, Service: llm.ServiceOf([]byte(r.Service)), Source: llm.UsageProvider,
	}
}

// replayDifferences says in words what would not be as it was.
func (s *Server) replayDifferences(r *requestlog.Row, then *requestlog.Receipt, out *client.Replay) {
	differ := func(format string, args ...any) {
		out.Differences = append(out.Differences, fmt.Sprintf(format, args...))
	}
	switch {
	case out.Decision != then.Decision && out.Decision == "refused":
		differ("it was served, and would be refused: %s (%s)", out.Reason, out.Code)
	case out.Decision != then.Decision:
		differ("it was refused (%s), and what is stored now would let it pass", r.ErrorCode)
	case out.Decision == "refused" && out.Code != r.ErrorCode && r.ErrorCode != "":
		differ("it was refused for %s, and would be for %s: %s", r.ErrorCode, out.Code, out.Reason)
	}
	if r.DeploymentID != "" && !slices.Contains(out.Deployments, r.DeploymentID) {
		differ("the deployment %s, which answered, would not be asked", r.DeploymentID)
	}
	if out.Cost != nil && *out.Cost != r.Cost {
		differ("it cost %s, and would cost %s", r.Cost, *out.Cost)
	}
}
