package proxy

import (
	"slices"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// Said is what a request and its answer said. It is handed to Config.KeepContent, if that is
// kept (resource.ContentRule).
type Said struct {
	RequestID string
	Time      resource.Time
	Who       *resource.Principal
	Customer  string
	Tags      []string
	Request   []byte // the body, after the guardrails
	Response  []byte
	Truncated bool // the answer was longer than what is kept

	Guards *guardrail.Set // that mask it before it is kept; mostly nil
	Info   guardrail.Info // for them
}

// listen begins to keep what a call says. This is decided once, when the request is let
// through; a request that is refused is never kept, nor is what guardrails ask about one.
func (s *Server) listen(c *Call) {
	if s.cfg.KeepContent == nil || c.judgeOf != nil || !policy.Keeps(c.levels, c.cat.Settings()) || policy.Redacted(c.header) {
		return
	}
	c.heard = &reply.Listener{Writer: c.out}
	c.out = c.heard
}

// keep hands over what was said.
func (s *Server) keep(c *Call) {
	if c.heard == nil {
		return
	}
	said := Said{
		RequestID: c.id, Time: c.record.Time, Who: c.who, Customer: c.record.CustomerID, Tags: slices.Clone(c.record.Tags),
		Request: slices.Clone(c.body), Response: c.heard.Heard, Truncated: c.heard.Cut,
	}
	if c.guards.Masks() {
		said.Guards, said.Info = c.guards, s.guardInfo(c)
		said.Info.Models = nil // the call has ended
	}
	s.cfg.KeepContent(said)
}
