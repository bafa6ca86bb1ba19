package proxy

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/body"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// maxSaid bounds the headers that become part of a record.
const maxSaid = 1024

// Call is one request on its way through the pipeline. It is pooled: nothing may keep it, or
// its body, when the request has ended.
type Call struct {
	came
	writer reply.HTTPWriter // out, where net/http is in front
	reader reply.HTTPBody   // in, likewise

	// What the steps found out, in their order.
	cat     *resource.Catalog // the one view of the request
	view    *view.View
	who     *resource.Principal
	buf     *body.Buffer
	body    []byte // buf's, or what a guardrail made of it
	fields  llm.Fields
	model   *resource.Model
	quote   quote
	clamp   int64 // the most tokens of a completion that the budget allows; 0: as the client says
	quota   Quota // of the limits, if limited
	limited bool
	guards  *guardrail.Set
	plan    []router.Target
	levels  []resource.Level // whose budgets the request falls under; the array is reused

	// What has to be given back or closed, once (settle.go).
	limit   LimitHold
	money   BudgetHold
	entry   uint64 // in the journal; 0: none
	settled bool

	// Scratch, reused by the next call.
	attempt  upstream.Attempt
	record   ledger.Record
	opening  ledger.Reservation
	headers  reply.Headers
	last     []byte                   // the event that ends the stream
	pending  []byte                   // events that are not written yet
	unsent   error                    // why they cannot be
	checked  bool                     // guardrails look at each event
	waits    func()                   // push, made once for each pooled Call
	verdicts []ledger.GuardrailResult // of all guardrails
	tries    []ledger.Try             // of all attempts
	lent     bool                     // an attempt was sent buf's own bytes

	result result
}

// came is what the client sent, apart from the body's contents.
type came struct {
	id      string
	route   *Route
	path    string // as the router read it
	named   string // the model in the path, "" if there is none
	header  http.Header
	in      reply.Body
	length  int64
	out     reply.Writer
	started time.Time
}

// result is what became of the request.
type result struct {
	target     router.Target
	status     int
	attempts   int
	begun      bool          // bytes of the answer were sent to the client
	dialled    time.Time     // the first attempt began
	began      time.Time     // the last attempt began
	answered   time.Time     // the last attempt's head came
	waited     time.Duration // for the upstream, before the answer began
	firstToken time.Duration
	text       int64 // bytes of generated text that were relayed
	usage      llm.Usage
	cost       resource.Money
	priced     bool
}

// peek takes a body and reads the fields that are acted on.
func (c *Call) peek(raw []byte) error {
	f, err := llm.Peek(raw)
	if err != nil {
		return err
	}
	if err := body.CheckBanned(raw); err != nil {
		return err
	}
	c.body, c.fields = raw, f
	c.heed()
	return nil
}

// heed takes what clients of LiteLLM say in headers. The body goes before a header; tags of
// both count.
func (c *Call) heed() {
	f := &c.fields
	if v := c.said("X-Litellm-Session-Id"); f.SessionID == "" {
		f.SessionID = v
	}
	if v := c.said("X-Litellm-End-User-Id"); f.User == "" {
		f.User = v
	}
	if v := c.said("X-Litellm-Customer-Id"); f.User == "" {
		f.User = v
	}
	if tags := c.said("X-Litellm-Tags"); tags != "" {
		for tag := range strings.SplitSeq(tags, ",") {
			if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(f.Tags, tag) {
				f.Tags = append(f.Tags, tag)
			}
		}
	}
}

// said reads a header, whose name is in canonical form, unless it is too long to be meant.
func (c *Call) said(name string) string {
	if v := c.header[name]; len(v) > 0 && len(v[0]) <= maxSaid {
		return v[0]
	}
	return ""
}

// asked is the name of the model that the client asks for: the path's before the body's.
func (c *Call) asked() string {
	if c.named != "" {
		return c.named
	}
	return c.fields.Model
}

// modelName is the name of the model for the record: the one found, else the one asked for.
func (c *Call) modelName() string {
	if c.model != nil {
		return c.model.Name
	}
	return c.asked()
}
