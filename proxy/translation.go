package proxy

import (
	"bytes"
	"net/http"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// bodyAt is what the deployment is sent at an endpoint, and whether the usage chunk, which the
// client did not ask for, must be kept from it.
func (c *Call) bodyAt(d *view.Deployment, at llm.Endpoint) (raw []byte, hide bool, err error) {
	c.dropped, c.bodies = nil, nil
	body, fields, err := c.native(d, at)
	if err != nil {
		return nil, false, err
	}
	if c.counts(at) {
		raw, err = c.toBeCounted(d, at)
		return raw, false, err
	}
	if at != c.route.endpoint {
		raw, err = c.translated(d, at)
		if err != nil {
			return nil, false, err
		}
		raw, err = c.hosted(raw, d.Provider, at)
		return raw, false, err
	}
	if raw, ok := c.withoutForeign(d, at, body); ok {
		raw, err = c.hosted(raw, d.Provider, at)
		return raw, false, err
	}
	hide = c.fields.Stream && !c.fields.IncludeUsage && at.UsageChunk()
	edits := llm.Edits{
		IncludeUsage: hide && !d.Provider.NoStreamOptions, DropOwn: true, MaxTokens: c.clamp, Endpoint: at,
	}
	if refused := d.Provider.Refuses; len(refused) > 0 && at.Family() == llm.FamilyConversation {
		if edits.Drop, err = c.refused(refused, body); err != nil {
			return nil, false, err
		}
	}
	if at.UsageChunk() {
		edits.RenameMaxTokens, edits.RenameSeed = d.Provider.MaxTokens, d.Provider.Seed
	}
	if d.Name != c.fields.Model && !at.ModelInPath() {
		edits.Model = d.Name
	}
	host(&edits, body, d.Provider)
	c.hostBetas(&edits, body, d)
	c.unkept(&edits, body, d.Provider.Stores(at))
	return llm.Rewrite(body, fields, edits), hide, nil
}

// host adds the edits that a host of another maker's dialect wants.
func host(e *llm.Edits, body []byte, p *provider.Provider) {
	e.DropModel, e.DropStream = p.NoModel, p.NoStream
	for _, m := range p.Members {
		if !llm.Has(body, m.Name) {
			e.Add = append(e.Add, m)
		}
	}
}

// memberStore says in a body whether the provider is to keep what is said.
const memberStore = "store"

// unkept adds the edit by which a provider that stores keeps nothing of what is said, where somebody in charge
// wants no contents kept. What a client says itself stands: that is its data, which it asks for by an id and deletes.
func (c *Call) unkept(e *llm.Edits, body []byte, stores bool) {
	if stores && policy.Private(c.levels) && !saysStore(body) {
		e.Drop = append(e.Drop, memberStore) // a null
		e.Add = append(e.Add, llm.Member{Name: memberStore, Value: []byte("false")})
	}
}

// saysStore says whether a body, whose syntax was checked, says it.
func saysStore(body []byte) bool {
	cur := llm.NewCursor(body)
	for n := 0; cur.Member(n); n++ {
		name := string(cur.Name())
		if raw := cur.Raw(); name == memberStore && string(raw) != "null" {
			return true
		}
	}
	return false
}

// hosted is a body that was written for the dialect, as its host wants it.
func (c *Call) hosted(body []byte, p *provider.Provider, at llm.Endpoint) ([]byte, error) {
	var e llm.Edits
	host(&e, body, p)
	c.unkept(&e, body, p.Stores(at))
	if !p.NoModel && !p.NoStream && len(e.Add) == 0 {
		return body, nil
	}
	f, err := llm.Peek(body)
	if err != nil {
		return nil, err
	}
	return llm.Rewrite(body, &f, e), nil
}

// fitted is a body that its vendor takes, of those that do not take all that others do.
func (c *Call) fitted(d *view.Deployment, body []byte) ([]byte, error) {
	t := llm.Target{Model: c.asked(), Policy: policyOf(c.result.target.Model)}
	body = d.Provider.Fit(body, d.Base, &t)
	c.dropped = append(c.dropped, t.Dropped()...)
	return body, t.Err()
}

// translated is the request in the dialect of another endpoint. It is read once and written for
// each deployment.
func (c *Call) translated(d *view.Deployment, at llm.Endpoint) ([]byte, error) {
	if c.exchange == nil {
		in, _ := provider.InboundOf(c.route.endpoint) // Way has found it
		body := c.body
		if c.spelled != nil {
			body = c.spelled
		}
		x, err := translate.Read(in, body, c.asked(), c.fields.Stream)
		if err != nil {
			return nil, err
		}
		if c.turn != nil {
			x.Stores(c.turn.ID())
		}
		c.exchange = x
	}
	out, _ := provider.OutboundOf(at)
	t := c.targetOf(d)
	if c.exchange.Prompts() > 0 {
		bodies, err := c.exchange.Bodies(out, &t, c.clamp)
		c.dropped = t.Dropped()
		if err != nil {
			return nil, err
		}
		return bodies[0], c.each(d, at, bodies)
	}
	raw, err := c.exchange.Body(out, &t, c.clamp)
	c.dropped = t.Dropped()
	return raw, err
}

// targetOf is what a writer of requests for the deployment must know.
func (c *Call) targetOf(d *view.Deployment) llm.Target {
	return llm.Target{
		Model: d.Name, Options: d.Account.Or().Options, MaxOutput: c.view.Model(c.result.target.Model).MaxOutput,
		Policy: policyOf(c.result.target.Model), MaxTokensName: d.Provider.MaxTokens, NoStreamOptions: d.Provider.NoStreamOptions,
		SeedName: d.Provider.Seed, Refused: d.Provider.Refuses, Prompt: d.Prompt(),
	}
}

// refused are those of the members that the body has and that are to be left out, by the model's policy.
func (c *Call) refused(names []string, body []byte) ([]string, error) {
	t := llm.Target{Model: c.asked(), Policy: policyOf(c.result.target.Model)}
	var list []string
	for _, name := range names {
		if bytes.Contains(body, []byte(name)) && llm.Has(body, name) && !t.Drop(name) { // few bodies have the word at all
			list = append(list, name)
		}
	}
	c.dropped = t.Dropped()
	return list, t.Err()
}

// policyOf is what becomes of a parameter that a provider of the model cannot take.
func policyOf(m *resource.Model) llm.Policy {
	switch m.UnsupportedParams {
	case resource.ParamsReject:
		return llm.PolicyReject
	case resource.ParamsPass:
		return llm.PolicyPass
	}
	return llm.PolicyDrop
}

// translate says the provider's answer in the client's dialect.
func (s *Server) translate(c *Call, a *Answer, at llm.Endpoint) (err error) {
	out, _ := provider.OutboundOf(at)
	a.Translated = true
	c.exchange.Estimates(func(textBytes int64) llm.Usage { return s.used(c, c.route.endpoint, textBytes, 0) }, c.written)
	switch {
	case c.bodies != nil:
		err = c.joined(a, out)
	case a.Stream != nil:
		a.Stream = c.exchange.Stream(out, a.Stream)
	case c.fields.Stream:
		a.Stream, err = c.exchange.Whole(out, a.Body, a.Report)
	default:
		a.Body, err = c.exchange.Answer(out, a.Body, a.Report)
	}
	a.Header = a.Header.Clone()
	a.Header.Del("Content-Type") // is the dialect's own
	return err
}

// asStream is an answer that came whole though a stream was asked for, as that stream. It is of the client's own dialect.
func (s *Server) asStream(c *Call, a *Answer, at llm.Endpoint) error {
	in, reads := provider.InboundOf(c.route.endpoint)
	_, writes := provider.OutboundOf(at)
	if !reads || !writes {
		return nil
	}
	x, err := translate.Read(in, c.body, c.asked(), true)
	if err != nil {
		return nil //nolint:nilerr // the provider has understood what we do not: its answer is handed on as it is
	}
	c.exchange = x
	return s.translate(c, a, at)
}

// said is an error of a provider's as the client may see it: its own words only where they are
// the client's dialect.
func (c *Call) said(err error, at llm.Endpoint) error {
	if err == nil || at.Vendor() == c.route.endpoint.Vendor() {
		return err
	}
	e := reply.AsError(err)
	e.Body = nil
	return e
}

// forwarded are the client's headers that the provider is to see, where both speak one dialect.
func forwarded(c *Call, p *provider.Provider, at llm.Endpoint) http.Header {
	if at != c.route.endpoint || len(p.Forward) == 0 {
		return nil
	}
	var h http.Header
	for _, name := range p.Forward {
		if v := c.header[name]; len(v) > 0 {
			if h == nil {
				h = make(http.Header, len(p.Forward))
			}
			h[name] = v
		}
	}
	return h
}
