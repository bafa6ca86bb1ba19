// Package replay tells how a request of the past would be decided now: the judge of the data path decides
// about its receipt and what is stored now, and this package says what would differ.
package replay

import (
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

// Judge decides a recorded request by a state; the data path's is the one there is.
type Judge func(state *evidence.State, r *evidence.Request) evidence.Verdict

// Court is what it takes to judge again.
type Court struct {
	Judge   Judge
	Catalog func() *resource.Catalog
	People  evidence.People
	// Book is the prices that count now.
	Book func() *pricing.Book
}

// Replay decides a request again, against what is stored now, and says what would differ. No
// provider is called and nothing is counted.
func (c *Court) Replay(r *evidence.Request) *client.Replay {
	cat := c.Catalog()
	state := evidence.StateOf(cat, c.People, []evidence.Request{*r})
	out := &client.Replay{
		Verdict: c.Judge(&state, r), Differences: []string{}, Deployments: []string{}, Changed: state.Changed(r.Receipt.Facts.Index),
	}
	m, _ := cat.Resolve(out.Model)
	if m != nil {
		c.deployments(cat, r, m, out)
	}
	differences(r, out)
	return out
}

// deployments lists what could answer, and prices the request at the deployment that did.
func (c *Court) deployments(cat *resource.Catalog, r *evidence.Request, m *resource.Model, out *client.Replay) {
	for _, d := range cat.ModelDeployments(m) {
		if !d.Blocked && (d.Weight == nil || *d.Weight > 0) {
			out.Deployments = append(out.Deployments, d.ID)
		}
	}
	i := slices.IndexFunc(cat.Tables().Deployments, func(d *resource.Deployment) bool { return d.ID == r.DeploymentID })
	if i < 0 || r.UsageSource == llm.UsageNone.String() {
		return
	}
	d := cat.Tables().Deployments[i]
	entry, ok := c.Book().Of(d, m.Name)
	if !ok || entry.Price == nil || entry.Price.Timed() {
		return
	}
	cost := pricing.Bill(entry.Price, cat.Settings().PriceAdjustments.Of(d.Provider), usageOf(r))
	out.Cost = &cost
}

// usageOf is the usage that a request was billed for.
func usageOf(r *evidence.Request) llm.Usage {
	return llm.Usage{
		Input: r.Input - r.AudioInput - r.ImageInput, CacheRead: r.CacheRead, CacheWrite: r.CacheWrite - r.CacheWrite1h, CacheWrite1h: r.CacheWrite1h,
		AudioInput: r.AudioInput, ImageInput: r.ImageInput, Output: r.Output - r.AudioOutput - r.ImageOutput, Reasoning: r.Reasoning,
		AudioOutput: r.AudioOutput, ImageOutput: r.ImageOutput, Service: llm.ServiceOf([]byte(r.Service)), Source: llm.UsageProvider,
	}
}

// differences says in words what would not be as it was.
func differences(r *evidence.Request, out *client.Replay) {
	differ := func(format string, args ...any) {
		out.Differences = append(out.Differences, fmt.Sprintf(format, args...))
	}
	was := evidence.Recorded(r)
	switch {
	case out.Decision != was.Decision && out.Decision == evidence.Refused:
		differ("it was served, and would be refused: %s (%s)", out.Reason, out.Code)
	case out.Decision != was.Decision:
		differ("it was refused (%s), and what is stored now would let it pass", was.Code)
	case out.Decision == evidence.Refused && !out.Same(&was):
		differ("it was refused for %s, and would be for %s: %s", was.Code, out.Code, out.Reason)
	}
	if r.DeploymentID != "" && out.Decision == evidence.Served && !slices.Contains(out.Deployments, r.DeploymentID) {
		differ("the deployment %s, which answered, would not be asked", r.DeploymentID)
	}
	if out.Cost != nil && *out.Cost != r.Cost {
		differ("it cost %s, and would cost %s", r.Cost, *out.Cost)
	}
}
