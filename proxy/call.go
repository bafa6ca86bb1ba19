package proxy

import (
	"io"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// Call is one request on its way through the pipeline. It is pooled: nothing may keep it, or
// its body, when the request has ended.
type Call struct {
	came
	writer httpWriter // that out writes to, where net/http is in front

	// What the steps found out, in their order.
	cat     *resource.Catalog // the one view of the request
	view    *view
	who     *resource.Principal
	buf     *buffer
	body    []byte // buf's, or what a guardrail made of it
	fields  llm.Fields
	model   *resource.Model
	quote   quote
	quota   Quota // of the limits, if limited
	limited bool
	guards  *guardrail.Set
	plan    []router.Target

	// What has to be given back or closed, once (settle.go).
	limit   LimitHold
	money   BudgetHold
	entry   uint64 // in the journal; 0: none
	settled bool

	// Scratch, reused by the next call.
	attempt upstream.Attempt
	record  ledger.Record
	opening ledger.Reservation
	headers headerSet
	last    []byte // the event that ends the stream
	lent    bool   // an attempt was sent buf's own bytes

	result result
}

// came is what the client sent, apart from the body's contents.
type came struct {
	id      string
	route   *Route
	path    string // as the router read it
	named   string // the model in the path, "" if there is none
	header  http.Header
	in      io.Reader
	length  int64
	out     Writer
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
func (c *Call) peek(body []byte) error {
	f, err := llm.Peek(body)
	if err != nil {
		return err
	}
	if err := checkBanned(body); err != nil {
		return err
	}
	c.body, c.fields = body, f
	return nil
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
