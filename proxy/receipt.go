package proxy

import (
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/router"
)

// The steps of the pipeline, as receipts name them.
const (
	stepAuth       = "auth"
	stepBody       = "body"
	stepPolicy     = "policy"
	stepAccess     = "access"
	stepLimits     = "limits"
	stepBudget     = "budget"
	stepGuardrails = "guardrails"
	stepPlan       = "plan"
	stepLedger     = "ledger"
	stepAnswer     = "answer"
)

// tried notes one attempt for the receipt, once: one that answers is settled, and noted,
// before it returns.
func (c *Call) tried(t *router.Target, took time.Duration, err error) {
	if len(c.tries) >= c.result.attempts {
		return
	}
	try := ledger.Try{DeploymentID: t.Deployment.ID, Provider: t.Deployment.Provider, Duration: took}
	if err == nil {
		try.Status = c.result.status
	} else {
		e := reply.AsError(err)
		try.ErrorKind, try.ErrorCode, try.Status = e.Kind.String(), reply.Recorded(e), e.Status
	}
	c.tries = append(c.tries, try)
}

// receipt is why the call was served or refused.
func (c *Call) receipt(e *llm.Error, now time.Time) ledger.Receipt {
	if e == nil {
		c.tried(&c.result.target, now.Sub(c.result.began), nil)
	}
	r := ledger.Receipt{
		Prompt: c.quote.Prompt, Completion: c.quote.Output, Clamped: c.clamp, PriceSource: c.priceSource(), Tries: c.tries,
		Facts: c.facts(e),
	}
	if e == nil {
		return r
	}
	r.Step, r.Scope, r.Entity = c.step, e.Scope, e.Entity
	if ownWords(r.Step) {
		r.Rule = e.Message
	}
	return r
}

// facts are what the decision about the call was about.
func (c *Call) facts(e *llm.Error) facts.Facts {
	f := facts.Facts{
		Index: c.cat.Index(), Path: c.recordedPath(), Apart: !c.route.plain, Upload: c.route.upload, Size: max(0, c.length), Fallbacks: c.wished,
		Stays: c.fields.NoFallbacks,
	}
	if c.route.name != f.Path {
		f.Route = c.route.name
	}
	if c.spent != nil {
		f.Spent = c.spent.Name
	}
	if c.length < 0 && c.buf != nil {
		f.Size = int64(len(c.buf.Bytes()))
	}
	if set := c.cat.Settings(); policy.Addressed(set, c.levels) {
		f.Address = policy.ClientAddress(c.peer, c.header, set.TrustedProxies).String()
	}
	if e != nil {
		f.Count, f.Resting = e.Count, e.Resting
		switch e.Code {
		case policy.CodeMissing:
			f.Absent = policy.Absent(c.body, c.cat.Settings(), c.who.Key, c.levels)
		case guardrail.CodeNotFound:
			f.Guards = c.fields.Guardrails
		}
	}
	return f
}

// recordedPath is the path that was asked. Of an endpoint that an administrator has configured, and of paths that no
// provider is known to have, what follows may be content: it is left out where somebody in charge wants none kept.
func (c *Call) recordedPath() string {
	if c.route.prefix == nil || c.route.prefix.Documented() || !policy.Private(c.levels) {
		return c.path
	}
	if c.configured != nil {
		return c.configured.Path
	}
	if _, known := pass.InferenceAt(c.rest); known {
		return c.path
	}
	return c.route.prefix.Path
}

// ownWords says whether the message of an error at the step is the gateway's own: what a
// guardrail, a provider or a parser says may quote the prompt.
func ownWords(step string) bool {
	return step != stepBody && step != stepGuardrails && step != stepAnswer
}

// priceSource names where the price of the deployment that answered comes from.
func (c *Call) priceSource() string {
	d := c.result.target.Deployment
	switch {
	case d == nil:
		return ""
	case d.Price != nil:
		return "deployment"
	case c.result.priced:
		return "table"
	default:
		return "unknown"
	}
}
