package proxy

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/agent"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// maxJudged bounds what a guardrail may ask a model, in bytes.
const maxJudged = 32 << 20

// judgeRoutes are the routes of what guardrails ask models. The request that is judged pays, in all its
// levels; who configured the guardrail has chosen the model, so that the levels need no access to it, and
// their limits of requests and tokens count what the client asks. No guardrail judges what a guardrail
// asks: a check cannot lead to another.
func judgeRoutes() (map[string]*Route, error) {
	all := map[string]*Route{}
	for endpoint, path := range map[llm.Endpoint]string{llm.Chat: "/v1/chat/completions", llm.Moderations: "/v1/moderations"} {
		r, err := newRoute(http.MethodPost, []string{path}, endpoint, steps{
			auth: judgeFor, body: readJudge, policy: judgePolicy, access: judgeAccess, limits: judgeLimits, budget: reserveBudget,
			plan: planAttempts, ledger: openEntry, answer: dispatch,
			exempt: map[string]string{stepGuardrails: "a guardrail asks"},
		})
		if err != nil {
			return nil, err
		}
		all[endpoint.String()] = r
	}
	return all, nil
}

// lender lets the guardrails of a call ask models, and tells them of it.
type lender struct {
	s *Server
	c *Call
}

var (
	_ guardrail.Models = (*lender)(nil)
	_ guardrail.Teller = (*lender)(nil)
)

// Header implements guardrail.Teller.
func (l *lender) Header(name string) string {
	if resource.IsCredentialHeader(name) || strings.EqualFold(name, l.c.cat.Settings().KeyHeader) {
		return ""
	}
	return l.c.header.Get(name)
}

// Caller implements guardrail.Teller.
func (l *lender) Caller() *guardrail.Caller {
	h := l.c.owners()
	c := &guardrail.Caller{
		OrganizationID: h.OrganizationID, ProjectID: h.ProjectID, UserID: h.UserID, CustomerID: l.c.fields.User, SessionID: l.c.session,
		Tags: slices.Clone(l.c.fields.Tags),
	}
	if k := l.c.who.Key; k != nil {
		c.KeyName = k.Name
	}
	return c
}

// Ask implements guardrail.Models. Of what went wrong it says only the code: errors may quote the prompt.
func (l *lender) Ask(ctx context.Context, endpoint string, body []byte) ([]byte, error) {
	r, ok := l.s.judges[endpoint]
	if !ok {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "unknown_endpoint", Message: "Guardrails cannot ask this endpoint: unknown_endpoint."}
	}
	c, of := l.s.calls.Get().(*Call), l.c
	var out reply.Memory
	c.came = came{
		id: of.id + "-g" + strconv.FormatInt(l.s.judged.Add(1), 10), route: r, path: r.name, method: r.method, peer: of.peer, header: http.Header{},
		in: memory{bytes.NewReader(body)}, length: int64(len(body)), out: &out, started: l.s.now(), judgeOf: of,
	}
	defer l.s.recycle(c)
	l.s.serve(ctx, c)
	switch e := c.failed; {
	case e != nil:
		return nil, &llm.Error{Kind: e.Kind, Code: e.Code, Message: "The model could not be asked: " + plainCode(e) + "."}
	case out.Status != http.StatusOK:
		return nil, &llm.Error{Kind: llm.Upstream, Message: "The model answered " + strconv.Itoa(out.Status) + "."}
	}
	return out.Body, nil
}

// plainCode is the error's code if it is one word, else its kind: a provider may say anything.
func plainCode(e *llm.Error) string {
	if e.Code == "" || len(e.Code) > 64 || strings.ContainsFunc(e.Code, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }) {
		return e.Kind.String()
	}
	return e.Code
}

// judgeFor is the step that takes over whose request it is.
func judgeFor(_ context.Context, s *Server, c *Call) error {
	of := c.judgeOf
	c.cat, c.who, c.view, c.session = of.cat, of.who, s.view.Of(of.cat), of.session
	c.levels = append(c.levels[:0], of.levels[:of.above]...)
	c.chain, c.above = of.chain, of.above
	return nil
}

// readJudge is the step that reads what the guardrail asks.
func readJudge(_ context.Context, s *Server, c *Call) error {
	buf, err := s.bodies.Read(c.in, c.length, maxJudged)
	if err != nil {
		return err
	}
	c.buf = buf
	return c.peek(buf.Bytes())
}

// judgePolicy is the step that says for whom the request is, and refuses what no guardrail needs.
func judgePolicy(_ context.Context, _ *Server, c *Call) error {
	c.fields.User, c.fields.Tags = c.judgeOf.fields.User, c.judgeOf.fields.Tags
	if c.fields.Stream {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "stream", Message: "A guardrail cannot take a stream."}
	}
	if agent.Named(c.body) {
		return agent.Elsewhere()
	}
	return nil
}

// judgeAccess is the step that finds the model.
func judgeAccess(_ context.Context, _ *Server, c *Call) error {
	model, ok := c.cat.Resolve(c.fields.Model)
	if !ok {
		return policy.UnknownModel(c.fields.Model)
	}
	c.model = model
	c.levels = c.cat.ModelLevels(c.levels[:c.above], nil, model)
	return nil
}

// judgeLimits is the step that estimates what the request takes.
func judgeLimits(_ context.Context, _ *Server, c *Call) error {
	c.estimate()
	c.limit = noLimit{}
	return nil
}
