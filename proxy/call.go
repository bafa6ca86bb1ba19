package proxy

import (
	"cmp"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/agent"
	"github.com/conclave-llm/conclave/proxy/background"
	"github.com/conclave-llm/conclave/proxy/body"
	"github.com/conclave-llm/conclave/proxy/form"
	"github.com/conclave-llm/conclave/proxy/order"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/prompt"
	"github.com/conclave-llm/conclave/proxy/quote"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/realtime"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/socket"
	"github.com/conclave-llm/conclave/proxy/stored"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// Call is one request on its way through the pipeline. It is pooled: nothing may keep it, or
// its body, when the request has ended.
type Call struct {
	came
	writer reply.HTTPWriter // out, where net/http is in front
	reader reply.HTTPBody   // in, likewise

	// What the steps found out, in their order.
	step       string            // that it is at
	cat        *resource.Catalog // the one view of the request
	view       *view.View
	who        *resource.Principal
	levels     []resource.Level // who's chain, the customer, the tags, the model; the array is reused
	chain      int              // how many of levels are who's own
	above      int              // how many of levels stand before the model
	session    string           // of the agent; "": none
	instead    string           // the model of who names none; "": there is none
	region     string           // the end user's, where alone he may be answered; "": anywhere
	most       int64            // bytes of the answer; 0: any number
	buf        *body.Buffer
	body       []byte     // buf's, or what a guardrail made of it
	form       *form.Form // of which body is a view; nil: the body came as it is
	fields     llm.Fields
	model      *resource.Model
	spent      *resource.Model // that was asked for, whose budget is spent: model takes its place; nil: none
	wished     []string        // fallbacks, as the client names them
	quote      quote.Quote
	clamp      int64 // the most tokens of a completion that the budget allows; 0: as the client says
	quota      Quota // of the limits, if limited
	limited    bool
	guards     *guardrail.Set
	own        *guardrail.Reply // what a guardrail answered in the place of a model; nil: one is asked
	plan       []router.Target
	configured *resource.PassThrough // that is asked; nil: the route is no configured endpoint
	flat       resource.Money        // what it costs if nobody understands its usage
	here       bool                  // the gateway answers out of its own store
	retold     bool                  // the answer tells of what was charged before
	owed       bool                  // what it orders is charged when its results pass
	ordered    bool                  // the record of the batch that it orders is there
	names      order.Names           // of the models in the lines of a batch that it sends
	bill       *resource.Artifact    // the batch of a provider's that it books; nil: none
	booked     *order.Bill           // of that what one model has answered
	kept       pass.Kept             // what is known of the things that the request names
	batch      *resource.Artifact    // of which the request is a line; nil: it is none
	prompt     prompt.Used           // that the request was made of

	// What has to be given back or closed, once (settle.go).
	limit    LimitHold
	extra    LimitHold // of the attempt alone
	unsaid   bool      // the journal does not know yet what is held
	money    BudgetHold
	advances order.Advances // of the batch that it orders
	entry    uint64         // in the journal; 0: none
	settled  bool
	detached bool // another call leaves the record
	torn     bool // the connection must be cut, because the answer is not whole

	// Scratch, reused by the next call.
	limiting  ratelimit.Request
	attempt   upstream.Attempt
	record    ledger.Record
	opening   ledger.Reservation
	headers   reply.Headers
	last      []byte                   // the event that ends the stream
	pending   []byte                   // events that are not written yet
	unsent    error                    // why they cannot be
	checked   bool                     // guardrails look at each event
	waits     func()                   // push, made once for each pooled Call
	exchange  *translate.Exchange      // the request as others say it; nil: nobody needed it
	task      translate.Task           // the request as others say it, if it is one; nil: nobody needed it
	vectors   *translate.Vectors       // the request for embeddings as others say it; nil: nobody needed it
	parts     []translate.Part         // the answers to it
	spelled   []byte                   // the body with texts in the place of tokens; nil: it has none
	bodies    [][]byte                 // of the texts that are completed each by itself; nil: the request is asked as a whole
	wish      realtime.Wish            // for a client's secret
	other     string                   // the model that was used in the place of the deployment's; "": none
	apart     bool                     // the last attempt was said in the gateway's words, in parts
	estimates bool                     // the gateway counts, if those cannot that were asked in other words
	packs     bool                     // the client wants base64
	turn      *stored.Exchange         // of a response; nil: it is none
	agent     *agent.Request           // with tools of MCP servers; nil: it has none
	failed    *llm.Error               // that the client was told
	dropped   []string                 // parameters that the last attempt left out
	verdicts  []ledger.GuardrailResult // of all guardrails
	written   *tokenize.Answer         // what the attempt's answer says, to be counted; nil: it is not kept
	answer    tokenize.Answer          // to which written points
	unasked   error                    // why the first guardrail did not run that did not; nil: all did
	added     []guardrail.Header       // by guardrails, for the client
	tries     []ledger.Try             // of all attempts
	heard     *reply.Listener          // what the answer says; nil: it is not kept
	lent      bool                     // an attempt was sent buf's own bytes
	further   [2]resource.Level        // of the attempt alone

	result result
}

// came is what the client sent, apart from the body's contents.
type came struct {
	id      string
	route   *Route
	path    string       // as the router read it
	query   string       // behind it
	would   llm.Endpoint // of the request that a question is about
	round   bool         // the gateway asks, for another request
	named   string       // the model, the response or the artifact in the path, "" if there is none
	peer    string       // address and port of who is connected
	method  string
	rest    string // of the path behind a provider's name, as it was escaped
	header  http.Header
	in      reply.Body
	length  int64
	out     reply.Writer
	started time.Time
	accept  func(socket.Options) (*socket.Conn, error) // opens the WebSocket that was asked for; nil: none may be
	grant   *realtime.Grant                            // of a client's secret; nil: it has a key
	use     *use                                       // of a session, that the call is; nil: none
	run     *background.Run                            // of a response that nobody waits for; nil: somebody does
	memory  *stored.Memory                             // of the connection that it came on; nil: it has none
	checkOf *resource.Deployment                       // that the gateway asks whether it answers; nil: it asks nothing
	judgeOf *Call                                      // for which a guardrail asks; nil: a client does
}

// result is what became of the request.
type result struct {
	target     router.Target
	status     int
	attempts   int
	raw        bool          // the answer is bytes, in which no error can be said
	begun      bool          // bytes of the answer were sent to the client
	dialled    time.Time     // the first attempt began
	began      time.Time     // the last attempt began; zero: it could not
	answered   time.Time     // the last attempt's head came
	waited     time.Duration // for the upstream, before the answer began
	firstToken time.Duration
	passed     int64 // bytes of the answer that came
	text       int64 // bytes of generated text that were relayed
	usage      llm.Usage
	tally      tally // of the last attempt
	cost       resource.Money
	priced     bool
	guessed    bool // the cost is what was held: nobody will learn what was used
}

// peek takes a body and reads the fields that are acted on.
func (c *Call) peek(raw []byte) error {
	f, err := llm.Peek(raw)
	if err != nil {
		return err
	}
	judged := raw
	if c.route.prefix == &pass.Files {
		judged = pass.Without(raw, pass.Own) // files may name a provider
	}
	if err := body.CheckBanned(judged); err != nil {
		return err
	}
	c.body, c.fields, c.exchange, c.vectors, c.task = raw, f, nil, nil, nil
	if c.route.endpoint.ModelInPath() {
		c.fields.Stream = c.route.stream
	}
	if c.route.endpoint == llm.Speech {
		c.fields.Stream = speaksEvents(raw)
	}
	return nil
}

// asked is the name of the model that the client asks for: the path's before the body's, and
// where there is none the end user's own.
func (c *Call) asked() string { return cmp.Or(c.named, c.fields.Model, c.instead) }

// modelName is the name of the model for the record: the one found, else the one asked for.
func (c *Call) modelName() string {
	if c.model != nil {
		return c.model.Name
	}
	return c.asked()
}
