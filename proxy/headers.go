package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// maxHeaders bounds the headers that an answer gets from us.
const maxHeaders = 24

// headerSet collects headers whose values are cut from one string, so that an answer's
// headers cost two allocations. Names are in canonical form.
type headerSet struct {
	text  []byte
	names [maxHeaders]string
	ends  [maxHeaders]int
	n     int
}

func (h *headerSet) reset() { h.text, h.n = h.text[:0], 0 }

// end closes the value that was appended to text.
func (h *headerSet) end(name string) {
	h.names[h.n], h.ends[h.n] = name, len(h.text)
	h.n++
}

func (h *headerSet) add(name, value string) {
	h.text = append(h.text, value...)
	h.end(name)
}

func (h *headerSet) int(name string, n int64) {
	h.text = strconv.AppendInt(h.text, n, 10)
	h.end(name)
}

func (h *headerSet) money(name string, m resource.Money) {
	h.text = appendMoney(h.text, m)
	h.end(name)
}

func (h *headerSet) millis(name string, d time.Duration) {
	h.text = strconv.AppendFloat(h.text, float64(d.Microseconds())/1000, 'f', -1, 64)
	h.end(name)
}

// apply puts the headers into to.
func (h *headerSet) apply(to http.Header) {
	text := string(h.text)
	values := make([]string, h.n)
	start := 0
	for i := range values {
		values[i] = text[start:h.ends[i]]
		start = h.ends[i]
		to[h.names[i]] = values[i : i+1 : i+1]
	}
}

// appendMoney appends dollars without trailing zeros.
func appendMoney(b []byte, m resource.Money) []byte {
	b = strconv.AppendInt(b, int64(m/resource.Dollar), 10)
	rest := int64(m % resource.Dollar)
	if rest == 0 {
		return b
	}
	from := len(b)
	b = strconv.AppendInt(b, rest+int64(resource.Dollar), 10) // "1" and nine digits
	b[from] = '.'
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// answerHeaders tells the client who answered, what it cost and what is left, once. A stream
// begins before its cost is known.
func (s *Server) answerHeaders(c *Call, to http.Header) {
	h := &c.headers
	h.reset()
	h.add("X-Conclave-Request-Id", c.id)
	h.add("X-Litellm-Call-Id", c.id)
	h.add("X-Request-Id", c.id)
	if s.cfg.NodeID != "" {
		h.add("X-Conclave-Node", s.cfg.NodeID)
	}
	if c.result.attempts > 0 {
		s.routeHeaders(c, h)
	}
	if c.limited {
		quotaHeaders(c.quota, h)
	}
	if names := c.guards.Names(); len(names) > 0 {
		h.add("X-Litellm-Applied-Guardrails", headerText(strings.Join(names, ",")))
	}
	h.int("X-Conclave-Overhead-Us", s.overhead(c).Microseconds())
	h.apply(to)
}

// routeHeaders tell which deployment answered.
func (s *Server) routeHeaders(c *Call, h *headerSet) {
	r := &c.result
	h.int("X-Conclave-Attempts", int64(r.attempts))
	h.int("X-Litellm-Attempted-Retries", int64(r.attempts-1))
	h.add("X-Conclave-Model-Id", r.target.Deployment.ID)
	h.add("X-Litellm-Model-Id", r.target.Deployment.ID)
	if name := r.target.Deployment.Name; name != "" {
		h.add("X-Conclave-Deployment", headerText(name))
	}
	h.add("X-Conclave-Model", headerText(r.target.Model.Name))
	h.add("X-Litellm-Model-Group", headerText(r.target.Model.Name))
	if r.target.Model != c.model {
		h.add("X-Litellm-Attempted-Fallbacks", "1")
	}
	if c.settled && r.priced {
		h.money("X-Conclave-Cost", r.cost)
		h.money("X-Litellm-Response-Cost", r.cost)
	}
	h.millis("X-Litellm-Response-Duration-Ms", s.now().Sub(c.started))
	h.millis("X-Litellm-Overhead-Duration-Ms", s.overhead(c))
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

func quotaHeaders(q Quota, h *headerSet) {
	if q.LimitRequests >= 0 {
		h.int("X-Ratelimit-Limit-Requests", q.LimitRequests)
		h.int("X-Ratelimit-Remaining-Requests", max(0, q.RemainingRequests))
	}
	if q.LimitTokens >= 0 {
		h.int("X-Ratelimit-Limit-Tokens", q.LimitTokens)
		h.int("X-Ratelimit-Remaining-Tokens", max(0, q.RemainingTokens))
	}
}

// headerText keeps names that people chose to what a header may hold.
func headerText(name string) string {
	plain := func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}
	return strings.Map(plain, name)
}
