package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/quote"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// advance is what the budgets hold for the requests of a batch that one deployment answers, until the provider has taken it,
// and are charged ahead from then on.
type advance struct {
	model      *resource.Model
	deployment *resource.Deployment
	sent       string         // the model's name there
	claim      budget.Request // of all requests together
	hold       LastingHold    // nil: not yet
}

// ordersBatch says whether the call orders a batch whose results pass here.
func (c *Call) ordersBatch() bool {
	return c.route.prefix != nil && c.configured == nil && c.method == http.MethodPost && pass.BatchAt(c.rest) == pass.BatchResults
}

// holdBatch holds what a batch that is ordered is estimated to cost, of its requests, in all budgets of those who order it and of
// the models and deployments that answer: in all or in none. Where there are no budgets nothing is read.
func (s *Server) holdBatch(ctx context.Context, c *Call) error {
	if !c.owed || !c.ordersBatch() || !c.budgeted() {
		return nil
	}
	o := orderReader{s: s, c: c, own: c.plan[0], named: map[string]*advance{}}
	if err := o.read(ctx); err != nil {
		return err
	}
	c.advances = o.advances
	for _, a := range c.advances {
		hold, err := s.cfg.Budgets.Hold(ctx, a.claim)
		if err != nil {
			return err
		}
		a.hold = hold
		if d := a.deployment; !d.IsZero() {
			if err := hold.Extend(ctx, a.model.Name, resource.Level{Kind: resource.HolderDeployment, ID: d.ID, Name: d.Name, Allowance: &d.Allowance}); err != nil {
				return err
			}
		}
	}
	return nil
}

// budgeted says whether there is a budget under which the requests of a batch may fall.
func (c *Call) budgeted() bool {
	if slices.ContainsFunc(c.levels, func(l resource.Level) bool { return hasBudget(l.Allowance) }) {
		return true
	}
	t := c.cat.Tables()
	return slices.ContainsFunc(t.Models, func(m *resource.Model) bool { return hasBudget(&m.Allowance) }) ||
		slices.ContainsFunc(t.Deployments, func(d *resource.Deployment) bool { return hasBudget(&d.Allowance) }) ||
		slices.ContainsFunc(t.AccessGroups, func(g *resource.AccessGroup) bool { return hasBudget(&g.Allowance) })
}

func hasBudget(a *resource.Allowance) bool {
	return a != nil && (a.BudgetID != "" || len(a.Budgets) > 0)
}

// holds are what is held of each account for the call and for what it orders.
func (c *Call) holds() []ledger.AccountCharge {
	all := c.money.Holds()
	for _, a := range c.advances {
		if a.hold != nil {
			all = append(slices.Clip(all), a.hold.Holds()...)
		}
	}
	return all
}

// batchHolds are the advances as the record of the batch has them.
func (c *Call) batchHolds() (all []resource.BatchHold) {
	for _, a := range c.advances {
		all = append(all, resource.BatchHold{
			Model: a.model.Name, Sent: a.sent, DeploymentID: a.deployment.ID, Cost: a.claim.Most.Cost, Shares: a.hold.Shares(a.claim.Most),
		})
	}
	return all
}

// settleAdvances charges the budgets ahead for a batch that the provider has taken, or may have, and gives the rest back. cost is
// what counts as spent now: of a batch of which nobody can learn what it uses.
func (c *Call) settleAdvances(e *llm.Error, charges []ledger.AccountCharge) (all []ledger.AccountCharge, cost resource.Money) {
	if len(c.advances) == 0 {
		return charges, 0
	}
	all = slices.Clone(charges)
	if !c.ordered && !c.mayBeTaken(e) {
		return all, 0
	}
	for _, a := range c.advances {
		if a.hold == nil {
			continue
		}
		all = append(all, a.hold.Settle(a.claim.Most)...)
		if !c.ordered {
			cost += a.claim.Most.Cost
		}
	}
	return all, cost
}

// releaseAdvances ends what is held for the batch: what was charged stays charged.
func (c *Call) releaseAdvances() {
	for _, a := range c.advances {
		if a.hold != nil {
			a.hold.Release()
		}
	}
	c.advances = nil
}

// mayBeTaken says whether the provider may run the batch though its id is not recorded: it has answered, or was cut off.
func (c *Call) mayBeTaken(e *llm.Error) bool {
	switch {
	case e == nil:
		return c.result.status/100 == 2
	case c.result.attempts == 0 || e.FromProvider:
		return false
	}
	return e.Kind == llm.Timeout || e.Kind == llm.Canceled || e.Kind == llm.Upstream && e.Code != "upstream_unreachable" && e.Code != "proxy_unreachable"
}

// orderReader reads the requests of a batch, whether they stand in the order or in a file that the provider keeps, and adds up
// what they claim.
type orderReader struct {
	s        *Server
	c        *Call
	own      router.Target // that is asked for the batch
	names    batch.Names   // of the models in the file
	advances []*advance
	named    map[string]*advance // by the names that requests have said so far
	endpoint llm.Endpoint        // of all requests
	model    string              // of those that name none
	line     int                 // that is read
}

// order is the body of an order, in the words of OpenAI, Anthropic and Mistral.
type order struct {
	File     string            `json:"input_file_id"`
	Files    []string          `json:"input_files"`
	Endpoint string            `json:"endpoint"`
	Model    string            `json:"model"`
	Requests []json.RawMessage `json:"requests"`
}

func (o *orderReader) read(ctx context.Context) error {
	var said order
	if err := unmarshalOnce(o.c.body, &said); err != nil {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Message: "The request orders no batch that can be read: " + err.Error() + ".", Err: err}
	}
	o.endpoint, o.model = llm.Messages, said.Model
	if i, ok := pass.InferenceAt(strings.TrimPrefix(said.Endpoint, "/")); ok {
		o.endpoint = i.At
	}
	for _, raw := range said.Requests {
		if err := o.add(raw); err != nil {
			return err
		}
	}
	if said.File != "" {
		said.Files = append(said.Files, said.File)
	}
	for _, id := range said.Files {
		if err := o.file(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// file reads the lines of a file that the provider keeps.
func (o *orderReader) file(ctx context.Context, id string) error {
	a, _, err := o.s.cfg.Artifacts.Get(ctx, id)
	if err != nil && !errors.Is(err, resource.ErrNotFound) {
		return err
	}
	if err == nil {
		o.names = append(o.names, a.Names...)
	}
	o.line = 0
	var bad error
	path, query := o.c.place().File(id)
	err = o.s.fetchLines(ctx, o.c.view, &o.own, path, query, func(line []byte) {
		if bad == nil && len(strings.TrimSpace(string(line))) > 0 {
			bad = o.add(line)
		}
	})
	if err != nil {
		var e *llm.Error
		if errors.As(err, &e) && e.FromProvider && e.Status == http.StatusNotFound {
			return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "input_file_id", Message: "The provider has no file " + strconv.Quote(id) + ".", Err: err}
		}
		return &llm.Error{
			Kind: llm.Upstream, Code: "batch_not_estimated", Err: err,
			Message: "The file " + strconv.Quote(id) + " of the batch cannot be read from the provider, and there is a budget that must hold what it may cost.",
		}
	}
	return bad
}

// add takes in a request.
func (o *orderReader) add(raw []byte) error {
	o.line++
	var l struct {
		Body   json.RawMessage `json:"body"`
		Params json.RawMessage `json:"params"`
	}
	if err := unmarshalOnce(raw, &l); err != nil {
		return o.bad(err)
	}
	body := l.Body
	if body == nil {
		body = l.Params
	} else if l.Params != nil {
		return o.bad(errors.New("it has a body and params"))
	}
	f, err := llm.Peek(body)
	if err != nil {
		return o.bad(err)
	}
	if f.Model == "" {
		f.Model = o.model
	}
	f.Service, f.Fallbacks, f.NoFallbacks = llm.ServiceBatch, nil, true
	a := o.advanceFor(f.Model)
	r := quote.Request{Catalog: o.c.cat, View: o.c.view, Model: a.model, Levels: a.claim.Levels, Endpoint: o.endpoint, Fields: &f, Body: body}
	q := quote.Of(&r)
	one := r.Claim(&q)
	sum := &a.claim
	sum.Free, sum.Unpriced = one.Free, one.Unpriced
	sum.Most.Cost = resource.Money(min(int64(sum.Most.Cost)+int64(one.Most.Cost), int64(resource.MaxMoney)))
	sum.Most.Estimate = resource.Money(min(int64(sum.Most.Estimate)+int64(one.Most.Estimate), int64(resource.MaxMoney)))
	sum.Most.Tokens += one.Most.Tokens
	sum.Most.GPU += one.Most.GPU
	sum.Most.Requests++
	return nil
}

// unmarshalOnce reads an object into v. One in which a name stands twice, in any spelling, is refused: the provider may read the other.
func unmarshalOnce(body []byte, v any) error {
	seen := map[string]bool{}
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		name := strings.ToLower(string(c.Name()))
		if seen[name] {
			return fmt.Errorf("%q stands in it twice", name)
		}
		seen[name] = true
		c.Raw()
	}
	return json.Unmarshal(body, v)
}

func (o *orderReader) bad(err error) error {
	reason := err.Error()
	if e, ok := errors.AsType[*llm.Error](err); ok {
		reason = strings.TrimSuffix(e.Message, ".")
	}
	return &llm.Error{
		Kind: llm.Invalid, Code: "invalid_value", Err: err,
		Message: "Request " + strconv.Itoa(o.line) + " of the batch cannot be read: " + reason + ". There is a budget that must hold what it may cost.",
	}
}

// advanceFor is the sum of the requests for a model.
func (o *orderReader) advanceFor(name string) *advance {
	a, ok := o.named[name]
	if !ok {
		a = o.advanceOf(name)
		o.named[name] = a
	}
	return a
}

// advanceOf is the sum to which a name belongs: several may be those of one model.
func (o *orderReader) advanceOf(name string) *advance {
	m, d, sent := o.c.orderedModel(&o.own, o.names.Asked(name), name)
	for _, a := range o.advances {
		if a.model == m && a.deployment == d {
			return a
		}
	}
	levels := o.c.cat.ModelLevels(slices.Clone(o.c.levels[:o.c.above]), nil, m)
	a := &advance{model: m, deployment: d, sent: sent, claim: budget.Request{Catalog: o.c.cat, Levels: levels, Model: m.Name}}
	o.advances = append(o.advances, a)
	return a
}

// orderedModel is the model that a request of a batch is for, its deployment of the account that is asked, and its name there:
// the model of that name, else the one that the provider calls so, else the one that the order is for.
func (c *Call) orderedModel(own *router.Target, asked, sent string) (*resource.Model, *resource.Deployment, string) {
	name, _ := policy.Rename(c.levels[:c.above], asked)
	if m, ok := c.cat.Resolve(name); ok {
		if d := c.beside(own, m); d != nil {
			return m, d, c.view.Deployment(&router.Target{Model: m, Deployment: d}).Name
		}
	}
	for _, d := range c.cat.Tables().Deployments {
		m, ok := c.cat.ModelByID(d.ModelID)
		if ok && sameAccount(d, own.Deployment) && c.view.Deployment(&router.Target{Model: m, Deployment: d}).Name == sent && c.cat.LevelsAllow(c.levels[:c.above], m) {
			return m, d, sent
		}
	}
	return c.model, own.Deployment, sent
}

// beside is the deployment of a model at the account of another deployment, nil if it has none.
func (c *Call) beside(own *router.Target, m *resource.Model) *resource.Deployment {
	if m == c.model {
		return own.Deployment
	}
	for _, d := range c.cat.ModelDeployments(m) {
		if sameAccount(d, own.Deployment) {
			return d
		}
	}
	return nil
}

func sameAccount(a, b *resource.Deployment) bool {
	return a.Provider == b.Provider && a.CredentialID == b.CredentialID && a.APIBase == b.APIBase
}

// place is where the batches are that the call is about; "": it is about none.
func (c *Call) place() batch.Place {
	at, _ := pass.Batches(c.rest)
	if q, err := url.ParseQuery(c.query); err == nil && at != "" && q.Get("api-version") != "" {
		at += "?" + url.Values{"api-version": q["api-version"]}.Encode() // Azure's
	}
	return batch.Place(at)
}

// maxFetched bounds the file of a batch that is read at once, because its type says that it is one document.
const maxFetched = 256 << 20

// fetch asks a deployment for what is at a path in the provider's own words, in the gateway's name.
func (s *Server) fetch(ctx context.Context, v *view.View, t *router.Target, path, query string) (Answer, error) {
	d := v.Deployment(t)
	if d.Err != nil {
		return Answer{}, d.Err
	}
	root, err := d.Provider.Root(d.Base, d.Account.Or().Options)
	if err != nil {
		return Answer{}, err
	}
	path, ok := pass.Path(root, path, query)
	if !ok {
		return Answer{}, badPath()
	}
	at, _ := pass.Endpoint(d.Provider, "files")
	return s.cfg.Upstream.Do(ctx, &upstream.Attempt{
		Provider: d.Provider, Endpoint: at, Base: root, Path: path, Method: http.MethodGet, Model: d.Name, Account: d.Account, Opaque: true, Link: d.Link,
		Timeouts: d.Timers, MaxBody: maxFetched,
	})
}

// fetchLines is fetch of lines, which are there one after the other.
func (s *Server) fetchLines(ctx context.Context, v *view.View, t *router.Target, path, query string, line func([]byte)) error {
	answer, err := s.fetch(ctx, v, t, path, query)
	if err != nil {
		return err
	}
	var lines batch.Lines
	long := false
	rest := func([]byte) { long = true }
	if answer.Stream == nil {
		lines.Feed(answer.Body, line, rest)
	} else {
		defer answer.Stream.Close()
		for err == nil && !long {
			var ev llm.Event
			if ev, err = answer.Stream.Next(); err == nil {
				lines.Feed(ev.Raw, line, rest)
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	if long {
		return fmt.Errorf("a line of %s is too long to be read", path)
	}
	lines.End(line)
	return nil
}
