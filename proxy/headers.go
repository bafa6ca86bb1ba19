package proxy

import (
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// answerHeaders tells the client who answered, what it cost and what is left, once. A stream
// begins before its cost is known.
func (s *Server) answerHeaders(c *Call, to http.Header) {
	h := &c.headers
	h.Reset()
	h.Add("X-Conclave-Request-Id", c.id)
	h.Add("X-Litellm-Call-Id", c.id)
	h.Add("X-Request-Id", c.id)
	if c.route.endpoint.Vendor() == llm.VendorAnthropic {
		h.Add("Request-Id", c.id)
	}
	if s.cfg.NodeID != "" {
		h.Add("X-Conclave-Node", s.cfg.NodeID)
	}
	if c.result.attempts > 0 {
		s.routeHeaders(c, h)
	}
	if c.limited {
		quotaHeaders(c.quota, h)
	}
	if names := c.guards.Names(); len(names) > 0 {
		h.Add("X-Litellm-Applied-Guardrails", reply.Text(strings.Join(names, ",")))
	}
	if len(c.verdicts) > 0 {
		h.Add("X-Conclave-Guardrails", reply.Text(verdictsText(c.verdicts)))
	}
	if len(c.dropped) > 0 {
		h.Add("X-Conclave-Dropped-Params", reply.Text(strings.Join(c.dropped, ",")))
	}
	h.Int("X-Conclave-Overhead-Us", s.overhead(c).Microseconds())
	h.Apply(to)
	for _, a := range c.added {
		to.Set(a.Name, a.Value)
	}
}

// maxVerdictsText bounds the header of verdicts, in bytes.
const maxVerdictsText = 1024

// verdictsText says what guardrails made of the request so far, and of a whole answer: "pii before rewritten (EMAIL_ADDRESS 2)".
func verdictsText(all []ledger.GuardrailResult) string {
	var b strings.Builder
	for i := range all {
		v := &all[i]
		if v.Status == statusDue {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(v.Guardrail + " " + v.Hook + " " + v.Status)
		if v.Found != "" {
			b.WriteString(" (" + v.Found + ")")
		}
		if b.Len() > maxVerdictsText {
			return b.String()[:maxVerdictsText] + "..."
		}
	}
	return b.String()
}

// routeHeaders tell which deployment answered.
func (s *Server) routeHeaders(c *Call, h *reply.Headers) {
	r := &c.result
	h.Int("X-Conclave-Attempts", int64(r.attempts))
	h.Int("X-Litellm-Attempted-Retries", int64(r.attempts-1))
	h.Add("X-Conclave-Model-Id", r.target.Deployment.ID)
	h.Add("X-Litellm-Model-Id", r.target.Deployment.ID)
	if name := r.target.Deployment.Name; name != "" {
		h.Add("X-Conclave-Deployment", reply.Text(name))
	}
	h.Add("X-Conclave-Model", reply.Text(r.target.Model.Name))
	h.Add("X-Litellm-Model-Group", reply.Text(r.target.Model.Name))
	if r.target.Model != c.model || c.spent != nil {
		h.Add("X-Litellm-Attempted-Fallbacks", "1")
	}
	if c.spent != nil {
		h.Add("X-Conclave-Budget-Spent", reply.Text(c.spent.Name))
	}
	if c.settled && r.priced {
		h.Money("X-Conclave-Cost", r.cost)
		h.Money("X-Litellm-Response-Cost", r.cost)
	}
	h.Millis("X-Litellm-Response-Duration-Ms", s.now().Sub(c.started))
	h.Millis("X-Litellm-Overhead-Duration-Ms", s.overhead(c))
}

// providerHeaders hands on what the provider says about the request and its own limits, under
// the names that LiteLLM gives it.
func providerHeaders(from, to http.Header) {
	for name, values := range from {
		if name == "X-Request-Id" || strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Openai-") {
			to["Llm_provider-"+name] = values
		}
	}
}

// overhead is the time that the request has spent in the gateway.
func (s *Server) overhead(c *Call) time.Duration {
	return max(0, s.now().Sub(c.started)-c.result.waited)
}

func quotaHeaders(q Quota, h *reply.Headers) {
	if q.LimitRequests >= 0 {
		h.Int("X-Ratelimit-Limit-Requests", q.LimitRequests)
		h.Int("X-Ratelimit-Remaining-Requests", max(0, q.RemainingRequests))
	}
	if q.LimitTokens >= 0 {
		h.Int("X-Ratelimit-Limit-Tokens", q.LimitTokens)
		h.Int("X-Ratelimit-Remaining-Tokens", max(0, q.RemainingTokens))
	}
}
