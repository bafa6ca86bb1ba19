package proxy

import (
	"context"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/retry"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// configuredName is how keys, metrics and records know the endpoints that administrators configure.
const configuredName = "/pass-through-endpoint"

// configuredRoute serves the paths that administrators configure, with every step of other routes.
func configuredRoute() (*Route, error) {
	r, err := newRoute("", []string{configuredName}, llm.PassThrough, steps{
		auth: authenticateConfigured, body: readPass, policy: checkPolicies, access: chooseConfigured,
		limits: reserveLimits, budget: reserveBudget, guardrails: guardBefore, plan: planConfigured, ledger: openEntry, answer: dispatch,
	})
	if err != nil {
		return nil, err
	}
	r.prefix = &pass.Prefix{}
	return r, nil
}

// Over serves the endpoints that administrators configure, and all else through mux: what mux serves
// itself is nobody's to configure.
func (s *Server) Over(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		e, rest, ok := s.cfg.Catalog().PassThrough(req.URL.EscapedPath())
		if ok {
			_, pattern := mux.Handler(req)
			ok = pattern == "" || slices.Contains(unserved, pattern)
		}
		if !ok {
			mux.ServeHTTP(w, req)
			return
		}
		if !e.Takes(req.Method) {
			var out reply.HTTPWriter
			out.Reset(w, 0)
			reply.WriteError(&out, &llm.Error{
				Kind: llm.Invalid, Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: e.Path + " does not take " + req.Method + ".",
			}, llm.VendorOpenAI)
			return
		}
		s.begin(s.configured, w, req, func(c *Call) { c.configured, c.rest = e, rest })
	})
}

// authenticateConfigured is authenticatePass, or lets anybody in where the endpoint does.
func authenticateConfigured(ctx context.Context, s *Server, c *Call) error {
	if !c.configured.NoAuth {
		return authenticatePass(ctx, s, c)
	}
	c.who, c.view = &resource.Principal{}, s.view.Of(c.cat)
	return s.checkEarly(c)
}

// chooseConfigured is the step that takes the endpoint for the model, whose price and guardrails count.
func chooseConfigured(_ context.Context, _ *Server, c *Call) error {
	e := c.configured
	c.fields.Fallbacks = nil
	c.fields.Guardrails = append(c.fields.Guardrails, e.Guardrails...)
	c.model, c.flat = e.Model, e.CostPerRequest
	return nil
}

func planConfigured(_ context.Context, _ *Server, c *Call) error {
	c.plan = []router.Target{{Model: c.configured.Model, Deployment: c.configured.Deployment}}
	return nil
}

// prepareConfigured is prepare for an endpoint that an administrator has configured: the client's bytes
// as they came, or as the guardrails made them.
func (s *Server) prepareConfigured(c *Call, d *view.Deployment) (*upstream.Attempt, error) {
	e := c.configured
	own, err := c.view.Headers(e)
	if err != nil {
		return nil, retry.Unusable("The endpoint cannot be used.", err)
	}
	base, at := e.Split()
	path, ok := pass.Below(at, c.rest, c.query, e.Query)
	if !ok {
		return nil, badPath()
	}
	c.lent = true
	timers := d.Timers
	timers.Total = s.timeout(c, d)
	h := pass.Headers(c.header)
	if e.ForwardHeaders {
		h = pass.AllHeaders(c.header)
	}
	c.attempt = upstream.Attempt{
		Provider: d.Provider, Endpoint: llm.Chat, Base: base, Path: path, Method: c.method, Model: d.Name, Account: d.Account, Opaque: true, Link: d.Link,
		Stream: c.fields.Stream, Waits: c.waits, Timeouts: timers, Header: h, Fixed: own, MaxBody: c.readAtMost(),
	}
	switch {
	case c.form != nil:
		if c.attempt.Pieces, err = c.formAt("", nil); err != nil {
			return nil, err
		}
		c.attempt.Type = c.form.Type()
	case len(c.buf.Bytes()) > 0:
		c.attempt.Body = c.body
	}
	return &c.attempt, nil
}
