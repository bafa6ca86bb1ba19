// Package quote estimates what a request may use and cost before it is sent, and what it has
// used where neither its provider says nor a tokenizer counts. No tokenizer runs before a request is sent: what exceeds
// the estimate is settled as an overrun.
package quote

import (
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/form"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

const (
	bytesPerToken      = 3  // of text, before the learned factor
	mediaBytesPerToken = 64 // of base64, which costs far fewer tokens than text
	framingTokens      = 16 // of roles and separators
)

// Request is what an estimate is made of. It is read during the call alone.
type Request struct {
	Catalog  *resource.Catalog
	View     *view.View // of the catalog
	Model    *resource.Model
	Levels   []resource.Level // whose budgets and limits hold it
	Session  string           // of an agent; "": none
	Endpoint llm.Endpoint
	Fields   *llm.Fields
	Body     []byte
	Form     *form.Form // that the body is a view of; nil: the body came as it is
	Upload   bool       // it brings a file, and asks no model for anything
}

// Quote is what a request is estimated to use and to cost.
type Quote struct {
	Raw     int64           // prompt tokens before the learned factor
	Prompt  int64           // tokens
	Output  int64           // tokens, of all choices
	Cost    resource.Money  // that is held
	Service llm.Service     // that is asked for
	Counted int64           // tokens of the prompt of a request that only asks for their number
	Unknown *resource.Price // what an unknown price is taken for; nil: nothing

	units    llm.Units
	held     int64 // prompt tokens that money is held for
	media    int64 // of held, tokens of audio and images
	choices  int64 // completions that share the output; 0: it has none
	free     bool
	unpriced bool
}

// Of makes the quote of a request.
func Of(r *Request) Quote {
	if r.Upload {
		return Quote{free: true}
	}
	m, f := r.model(), r.Fields
	q := Quote{free: m.Free, unpriced: m.Unpriced, Service: f.Service}
	most := m.MaxOutput
	for _, name := range f.Fallbacks {
		if v := r.standIn(name); v != nil {
			q.free, q.unpriced, most = q.free && v.Free, q.unpriced || v.Unpriced, max(most, v.MaxOutput)
		}
	}
	q.media = f.MediaBytes / mediaBytesPerToken
	q.Raw = (promptBytes(r)-f.MediaBytes)/bytesPerToken + q.media + framing(r.Endpoint)
	q.Prompt = int64(float64(q.Raw) * m.Factor.Value())
	if n, ok := tokens(r); ok {
		q.Raw, q.Prompt = 0, n // as many as they are, which teaches nothing of texts
	}
	q.uses(r, m, most)
	q.held = q.Prompt
	if r.anyTerms(func(t resource.Terms) bool { return t.Strict }) {
		// The bound is a token for each byte: a tokenizer that works on bytes never makes more.
		q.held = max(q.held, bound(r))
	}
	if q.unpriced && r.anyTerms(func(t resource.Terms) bool { return t.Unpriced == resource.UnpricedEstimate }) {
		q.Unknown = r.Catalog.Settings().UnknownPrice
	}
	q.Cost = r.costAt(&q, q.Output)
	return q
}

// framing is how many tokens a model makes of what stands around the texts. Texts of which vectors are made have no roles.
func framing(e llm.Endpoint) int64 {
	if e.Family() == llm.FamilyEmbedding {
		return 1
	}
	return framingTokens
}

// Flat takes in what the request costs if nobody understands its usage.
func (q *Quote) Flat(cost resource.Money) {
	q.Cost = max(q.Cost, cost)
	q.free = q.free && cost == 0
}

// uses estimates what a request of its kind needs beside its prompt.
func (q *Quote) uses(r *Request, m *view.Model, most int64) {
	switch r.Endpoint.Family() {
	case llm.FamilyConversation:
		q.generates(r, most)
	case llm.FamilyMedia:
		q.makes(r)
	case llm.FamilyRanking:
		q.ranks(r)
	case llm.FamilyDocument:
		q.scans(r)
	case llm.FamilyDecision:
		q.decides(r)
	case llm.FamilyCount:
		q.Counted, q.Prompt, q.media = counted(r, m.Factor.Value()), 0, 0
	case llm.FamilySession:
		q.generates(r, most)
		q.units.OutputMS = 1 // so that speech is held for
	case llm.FamilyOther:
		if r.Endpoint == llm.PassThrough && len(r.Body) > len("{}") {
			q.generates(r, most)
		}
	}
}

// bound is the most tokens that the prompt can have, 0 if it is only counted.
func bound(r *Request) int64 {
	if f := r.Endpoint.Family(); f == llm.FamilyCount || f == llm.FamilyDocument {
		return 0
	}
	return promptBytes(r) + framingTokens
}

// promptBytes is the size of what becomes prompt tokens: of rerankings, decisions and what nobody understands the whole body.
func promptBytes(r *Request) int64 {
	switch r.Endpoint.Family() {
	case llm.FamilyRanking, llm.FamilyDecision:
		return int64(len(r.Body))
	}
	if r.Endpoint == llm.Invoke && r.Fields.PromptBytes == 0 {
		return int64(len(r.Body)) // in words that are not known
	}
	return r.Fields.PromptBytes
}

// counted is the estimate for who asks how many tokens a prompt has. One whose parts stand
// deeper than in a request that is answered counts as a whole.
func counted(r *Request, factor float64) int64 {
	f := r.Fields
	text := f.PromptBytes - f.MediaBytes
	if f.PromptBytes == 0 {
		text = int64(len(r.Body))
	}
	return max(1, int64(float64(text/bytesPerToken+f.MediaBytes/mediaBytesPerToken)*factor))
}

// generates estimates the output, of which a model makes at most so much; 0: nobody knows.
func (q *Quote) generates(r *Request, most int64) {
	q.Output = r.Fields.MaxTokens
	if q.Output == 0 {
		q.Output = r.outputHold()
		if most > 0 {
			q.Output = min(q.Output, most)
		}
	}
	q.choices = max(1, r.Fields.N)
	if r.Endpoint == llm.Completions {
		q.choices = product(q.choices, prompts(r.Body))
	}
	q.Output = product(q.Output, q.choices)
}

// outputHold is how many tokens of output a request without a maximum is taken to need: the most that a level says,
// else the setting.
func (r *Request) outputHold() (most int64) {
	for i := range r.Levels {
		if p := r.Levels[i].Policy; p != nil {
			most = max(most, p.HoldFor(r.Model.Name))
		}
	}
	if most == 0 {
		most = r.Catalog.Settings().DefaultOutputHold
	}
	return most
}

// at is what the request is expected to use with so many tokens of output.
func (q *Quote) at(output int64) pricing.Held {
	return pricing.Held{Prompt: q.held, Media: q.media, Output: output, Units: q.units, Service: q.Service}
}

// costAt is what the request costs at most with so many tokens of output, whoever answers.
func (r *Request) costAt(q *Quote, output int64) resource.Money {
	return max(r.knownAt(q, output), pricing.Hold(q.Unknown, resource.Adjustment{}, q.at(output)))
}

// knownAt is costAt without what an unknown price is taken for.
func (r *Request) knownAt(q *Quote, output int64) resource.Money {
	h := q.at(output)
	cost := r.model().Hold(h)
	for _, name := range r.Fields.Fallbacks {
		if v := r.standIn(name); v != nil {
			cost = max(cost, v.Hold(h))
		}
	}
	return cost
}

// model is the view of the model that is asked, with those that it falls back to, where it may.
func (r *Request) model() *view.Model {
	if r.Fields.NoFallbacks {
		return r.View.Alone(r.Model)
	}
	return r.View.Model(r.Model)
}

// standIn is the view of a model that the client wants to fall back to, nil if there is none.
func (r *Request) standIn(name string) *view.Model {
	m, ok := r.Catalog.Resolve(name)
	if !ok || r.Fields.NoFallbacks {
		return nil
	}
	return r.View.Model(m)
}

// anyTerms says whether one of the budgets has terms of a kind.
func (r *Request) anyTerms(is func(resource.Terms) bool) bool {
	for i := range r.Levels {
		a := r.Levels[i].Allowance
		if b, ok := r.Catalog.Budget(a.BudgetID); ok && slices.ContainsFunc(b.All(), is) || slices.ContainsFunc(a.Budgets, is) {
			return true
		}
	}
	return false
}

// Claim is what the request asks of the budgets.
func (r *Request) Claim(q *Quote) budget.Request {
	most := budget.Amounts{Cost: q.Cost, Tokens: q.Prompt + q.Output, GPU: r.model().GPUs(q.at(q.Output))}
	if q.Unknown != nil { // for the budgets that say estimate, and for no other
		most.Estimate, most.Cost = q.Cost, r.knownAt(q, q.Output)
	}
	return budget.Request{
		Catalog: r.Catalog, Levels: r.Levels, Model: r.Model.Name, Session: r.Session,
		Most: most, Free: q.free, Unpriced: q.unpriced,
	}
}

// product multiplies counts of tokens without overflowing.
func product(a, b int64) int64 {
	if a > llm.MaxTokenCount/b {
		return llm.MaxTokenCount
	}
	return a * b
}
