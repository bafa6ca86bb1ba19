package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/parts"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/quote"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// Request orders a batch whose results pass here.
type Request struct {
	Catalog *resource.Catalog
	View    *view.View       // of Catalog
	Levels  []resource.Level // of those who order it, without the model's
	Model   *resource.Model  // that the order is for
	Own     router.Target    // that is asked for the batch
	Place   Place
	Body    []byte
}

// Advance is what the budgets hold for the requests of a batch that one deployment answers, until the provider has taken it,
// and are charged ahead from then on.
type Advance struct {
	model      *resource.Model
	deployment *resource.Deployment
	sent       string            // the model's name there
	claim      budget.Request    // of all requests together
	hold       parts.LastingHold // nil: not yet
}

// Advances are those of one batch.
type Advances []*Advance

// Hold holds what a batch that is ordered is estimated to cost, of its requests, in all budgets of those who order it and of
// the models and deployments that answer: in all, or in none and with an error. The caller releases what it returns.
func (o *Orders) Hold(ctx context.Context, r *Request) (Advances, error) {
	in := reader{orders: o, of: r, named: map[string]*Advance{}}
	if err := in.read(ctx); err != nil {
		return nil, err
	}
	for _, a := range in.advances {
		if err := a.take(ctx, o.cfg.Budgets); err != nil {
			in.advances.Release()
			return nil, err
		}
	}
	return in.advances, nil
}

func (a *Advance) take(ctx context.Context, budgets parts.Budgets) error {
	hold, err := budgets.Hold(ctx, a.claim)
	if err != nil {
		return err
	}
	a.hold = hold
	d := a.deployment
	if d.IsZero() {
		return nil
	}
	return hold.Extend(ctx, a.model.Name, resource.Level{Kind: resource.HolderDeployment, ID: d.ID, Name: d.Name, Allowance: &d.Allowance})
}

// Holds are what is held of each account.
func (all Advances) Holds() (holds []ledger.AccountCharge) {
	for _, a := range all {
		if a.hold != nil {
			holds = append(holds, a.hold.Holds()...)
		}
	}
	return holds
}

// Recorded are the advances as the record of the batch has them.
func (all Advances) Recorded() (holds []resource.BatchHold) {
	for _, a := range all {
		holds = append(holds, resource.BatchHold{
			Model: a.model.Name, Sent: a.sent, DeploymentID: a.deployment.ID, Cost: a.claim.Most.Cost, Shares: a.hold.Shares(a.claim.Most),
		})
	}
	return holds
}

// Settle charges the budgets ahead, and returns what that changes and what it costs in all.
func (all Advances) Settle() (charges []ledger.AccountCharge, cost resource.Money) {
	for _, a := range all {
		if a.hold != nil {
			charges = append(charges, a.hold.Settle(a.claim.Most)...)
			cost += a.claim.Most.Cost
		}
	}
	return charges, cost
}

// Release ends what is held: what was charged stays charged.
func (all Advances) Release() {
	for _, a := range all {
		if a.hold != nil {
			a.hold.Release()
		}
	}
}

// reader reads the requests of a batch, whether they stand in the order or in a file that the provider keeps, and adds up
// what they claim.
type reader struct {
	orders   *Orders
	of       *Request
	names    Names // of the models in the file
	advances Advances
	named    map[string]*Advance // by the names that requests have said so far
	endpoint llm.Endpoint        // of all requests
	model    string              // of those that name none
	line     int                 // that is read
}

// said is the body of an order, in the words of OpenAI, Anthropic, Mistral and Google.
type said struct {
	File     string            `json:"input_file_id"`
	Files    []string          `json:"input_files"`
	Endpoint string            `json:"endpoint"`
	Model    string            `json:"model"`
	Requests []json.RawMessage `json:"requests"`
	Batch    json.RawMessage   `json:"batch"` // Google's
}

func (in *reader) read(ctx context.Context) error {
	var b said
	if err := unmarshalOnce(in.of.Body, &b); err != nil {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Message: "The request orders no batch that can be read: " + err.Error() + ".", Err: err}
	}
	in.endpoint, in.model = llm.Messages, b.Model
	if i, ok := pass.InferenceAt(strings.TrimPrefix(b.Endpoint, "/")); ok {
		in.endpoint = i.At
	}
	if b.Batch != nil {
		in.endpoint, in.model = llm.GenerateContent, in.of.Model.Name
		requests, err := googles(b.Batch)
		if err != nil {
			return err
		}
		b.Requests = requests
	}
	for _, raw := range b.Requests {
		if err := in.add(raw); err != nil {
			return err
		}
	}
	if b.File != "" {
		b.Files = append(b.Files, b.File)
	}
	for _, id := range b.Files {
		if err := in.file(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// googles are the requests of an order in Google's words, of which nobody reads those in a file: Google shows that to nobody.
func googles(batch []byte) ([]json.RawMessage, error) {
	var b struct {
		Config json.RawMessage `json:"inputConfig"`
		Snake  json.RawMessage `json:"input_config"`
	}
	var config struct {
		Requests json.RawMessage `json:"requests"`
		File     string          `json:"fileName"`
		Snake    string          `json:"file_name"`
	}
	var list struct {
		Requests []json.RawMessage `json:"requests"`
	}
	err := unmarshalOnce(batch, &b)
	if err == nil && (b.Config == nil) == (b.Snake == nil) {
		err = errors.New("it has no inputConfig, or two")
	}
	if err == nil {
		err = unmarshalOnce(append(b.Config, b.Snake...), &config)
	}
	if err == nil && config.File+config.Snake != "" {
		return nil, &llm.Error{
			Kind: llm.Forbidden, Code: "batch_not_billable", NoRetry: true,
			Message: "Nobody can read the requests in a file at Google, and there is a budget that must hold what they may cost. Give them in the order, or POST /v1/batches of a file of the gateway's.",
		}
	}
	if err == nil {
		err = unmarshalOnce(config.Requests, &list)
	}
	if err == nil && len(list.Requests) == 0 {
		err = errors.New("it has no requests")
	}
	if err != nil {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "batch", Message: "The request orders no batch that can be read: " + err.Error() + ".", Err: err}
	}
	return list.Requests, nil
}

// file reads the lines of a file that the provider keeps.
func (in *reader) file(ctx context.Context, id string) error {
	a, _, err := in.orders.cfg.Store.Get(ctx, id)
	if err != nil && !errors.Is(err, resource.ErrNotFound) {
		return err
	}
	if err == nil {
		in.names = append(in.names, a.Names...)
	}
	in.line = 0
	var bad error
	path, query := in.of.Place.File(id)
	err = in.orders.fetchLines(ctx, in.of.View, &in.of.Own, path, query, func(line []byte) {
		if bad == nil && len(strings.TrimSpace(string(line))) > 0 {
			bad = in.add(line)
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
func (in *reader) add(raw []byte) error {
	in.line++
	var l struct {
		Body    json.RawMessage `json:"body"`
		Params  json.RawMessage `json:"params"`
		Request json.RawMessage `json:"request"`
	}
	if err := unmarshalOnce(raw, &l); err != nil {
		return in.bad(err)
	}
	var body json.RawMessage
	for _, b := range []json.RawMessage{l.Body, l.Params, l.Request} {
		if b != nil && body != nil {
			return in.bad(errors.New("it has two of body, params and request"))
		}
		if b != nil {
			body = b
		}
	}
	f, err := llm.Peek(body)
	if err != nil {
		return in.bad(err)
	}
	if f.Model == "" || l.Request != nil { // at Google the path says who answers
		f.Model = in.model
	}
	f.Service, f.Fallbacks, f.NoFallbacks = llm.ServiceBatch, nil, true
	a := in.advanceFor(f.Model)
	r := quote.Request{Catalog: in.of.Catalog, View: in.of.View, Model: a.model, Levels: a.claim.Levels, Endpoint: in.endpoint, Fields: &f, Body: body}
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

func (in *reader) bad(err error) error {
	reason := err.Error()
	if e, ok := errors.AsType[*llm.Error](err); ok {
		reason = strings.TrimSuffix(e.Message, ".")
	}
	return &llm.Error{
		Kind: llm.Invalid, Code: "invalid_value", Err: err,
		Message: "Request " + strconv.Itoa(in.line) + " of the batch cannot be read: " + reason + ". There is a budget that must hold what it may cost.",
	}
}

// advanceFor is the sum of the requests for a model.
func (in *reader) advanceFor(name string) *Advance {
	a, ok := in.named[name]
	if !ok {
		a = in.advanceOf(name)
		in.named[name] = a
	}
	return a
}

// advanceOf is the sum to which a name belongs: several may be those of one model.
func (in *reader) advanceOf(name string) *Advance {
	m, d, sent := in.of.model(in.names.Asked(name), name)
	for _, a := range in.advances {
		if a.model == m && a.deployment == d {
			return a
		}
	}
	levels := in.of.Catalog.ModelLevels(slices.Clone(in.of.Levels), nil, m)
	a := &Advance{model: m, deployment: d, sent: sent, claim: budget.Request{Catalog: in.of.Catalog, Levels: levels, Model: m.Name}}
	in.advances = append(in.advances, a)
	return a
}

// model is the model that a request of a batch is for, its deployment of the account that is asked, and its name there:
// the model of that name, else the one that the provider calls so, else the one that the order is for.
func (r *Request) model(asked, sent string) (*resource.Model, *resource.Deployment, string) {
	name, _ := policy.Rename(r.Levels, asked)
	if m, ok := r.Catalog.Resolve(name); ok {
		if d := Beside(r.Catalog, r.Own.Deployment, r.Model, m); d != nil {
			return m, d, r.View.Deployment(&router.Target{Model: m, Deployment: d}).Name
		}
	}
	for _, d := range r.Catalog.Tables().Deployments {
		m, ok := r.Catalog.ModelByID(d.ModelID)
		if ok && sameAccount(d, r.Own.Deployment) && r.View.Deployment(&router.Target{Model: m, Deployment: d}).Name == sent && r.Catalog.LevelsAllow(r.Levels, m) {
			return m, d, sent
		}
	}
	return r.Model, r.Own.Deployment, sent
}

// Beside is the deployment of the model m at the account of own, which answers for the model of; nil if it has none there.
func Beside(cat *resource.Catalog, own *resource.Deployment, of, m *resource.Model) *resource.Deployment {
	if m == of {
		return own
	}
	for _, d := range cat.ModelDeployments(m) {
		if sameAccount(d, own) {
			return d
		}
	}
	return nil
}

func sameAccount(a, b *resource.Deployment) bool {
	return a.Provider == b.Provider && a.CredentialID == b.CredentialID && a.APIBase == b.APIBase
}
