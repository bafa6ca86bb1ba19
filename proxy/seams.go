package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// Limiter reserves requests and tokens (package ratelimit).
type Limiter interface {
	// Reserve holds one request and the tokens in every limit of the principal, or returns
	// an *llm.Error of kind RateLimited with RetryAfter.
	Reserve(ctx context.Context, who *resource.Principal, tokens int64) (LimitHold, error)
}

// LimitHold is what a request holds of its limits.
type LimitHold interface {
	// Quota is the tightest limit after the reservation.
	Quota() Quota
	// Settle replaces the held tokens by the used ones and ends the request.
	Settle(tokens int64)
	// Release gives the tokens back and ends the request.
	Release()
}

// Quota is what is left of a limit, for the x-ratelimit-* headers; a limit of -1 is none.
type Quota struct {
	LimitRequests, RemainingRequests int64
	LimitTokens, RemainingTokens     int64
}

// Budgets reserve money (package budget).
type Budgets interface {
	// Reserve holds the cost in every account of the principal, or returns an *llm.Error of
	// kind OverBudget.
	Reserve(ctx context.Context, r BudgetRequest) (BudgetHold, error)
}

// BudgetRequest asks for money.
type BudgetRequest struct {
	Principal *resource.Principal
	Catalog   *resource.Catalog
	Cost      resource.Money // estimated
	Strict    resource.Money // the bound: one token for each byte of the prompt
	Free      bool           // no deployment that may answer costs anything
	Unpriced  bool           // one that may answer has no known price
}

// BudgetHold is what a request holds of its budgets.
type BudgetHold interface {
	// Charges are the accounts and what is held of each.
	Charges() []Charge
	// Settle replaces the held money by the cost and returns what each account is charged.
	Settle(cost resource.Money) []Charge
	// Release gives the money back.
	Release()
}

// Charge is what one window of one account is charged.
type Charge struct {
	Account resource.AccountID
	Window  resource.Window
	Amount  resource.Money
}

// Guardrails find those that apply (package guardrail).
type Guardrails interface {
	// For returns the guardrails of a request for the model that names others as well; nil
	// if none applies, and an error if a requested one is not there.
	For(model string, requested []string) (GuardSet, error)
}

// GuardSet is the guardrails of one request.
type GuardSet interface {
	// Before judges the request.
	Before(ctx context.Context, r *GuardRequest) (*Verdict, error)
	// Stream begins to judge a stream; nil if no guardrail wants to.
	Stream(ctx context.Context, r *GuardRequest) (StreamCheck, error)
	// After judges a whole answer.
	After(ctx context.Context, r *GuardRequest, answer []byte) (*Verdict, error)
}

// GuardRequest is what guardrails are told of a request.
type GuardRequest struct {
	RequestID string
	Endpoint  llm.Endpoint
	Model     string
	Principal *resource.Principal
	Body      []byte
}

// Verdict is what guardrails make of a request or an answer.
type Verdict struct {
	Action    Action
	Body      []byte // of a rewrite
	Guardrail string // that blocked or rewrote
	Message   string // for the client
}

// Action is what a Verdict says.
type Action uint8

// The actions.
const (
	Pass Action = iota
	Rewrite
	Block
)

// StreamCheck judges a stream and holds events back until they are judged.
type StreamCheck interface {
	// Feed takes one event, which it may keep only a copy of, and returns those that may be
	// sent. An *llm.Error of kind Blocked ends the stream.
	Feed(event []byte) (release [][]byte, err error)
	// Finish judges what is left and returns it.
	Finish() (release [][]byte, err error)
	// Close ends the check in any case.
	Close()
}

// Router plans and counts attempts; *router.Router is one.
type Router interface {
	// Plan orders the deployments that may answer, or returns an *llm.Error of kind
	// NotFound or Unavailable.
	Plan(cat *resource.Catalog, model *resource.Model, q router.Query) ([]router.Target, error)
	// Begin counts a request in flight at the deployment.
	Begin(deploymentID string) router.Flight
}

// Upstream makes one attempt (package upstream).
type Upstream interface {
	// Do sends the attempt and returns the answer, whose stream the caller closes. Errors
	// are *llm.Error. The body is not read after the answer's end.
	Do(ctx context.Context, a *Attempt) (*Answer, error)
}

// Attempt is one try at one deployment.
type Attempt struct {
	Endpoint llm.Endpoint
	Provider string
	APIBase  string // "": the provider's own
	Model    string // its name at the provider
	Key      string // the provider's key; "": none
	Timeout  time.Duration
	Stream   bool
	Body     []byte
	Header   http.Header // of the client
}

// Answer is a provider's answer: Body, or Stream if the client asked for one.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Usage  llm.Usage // of Body
	Stream Stream
}

// Stream is a provider's stream of events.
type Stream interface {
	// Next returns the next event with its empty line; it is valid until the next call.
	// io.EOF is the regular end, an *llm.Error a broken stream.
	Next() (Event, error)
	// Usage is what the provider reported so far; its Source is UsageNone until then.
	Usage() llm.Usage
	// Close stops the upstream.
	Close() error
}

// Event is one event of a stream.
type Event struct {
	Raw       []byte // as it came, with the empty line
	Done      bool   // data: [DONE]
	UsageOnly bool   // carries usage and no choice
	Text      int    // bytes of generated text
}

// Journal keeps what was spent (package ledger).
type Journal interface {
	// Reserve returns when the record survives the process's end.
	Reserve(r *Reservation) (id uint64, err error)
	// Settle closes the reservation; an id of 0 records a request that was refused before.
	Settle(id uint64, r *Settlement) error
}

// Reservation is the record of a request that is about to be sent.
type Reservation struct {
	At        time.Time
	RequestID string
	Principal *resource.Principal
	Model     string
	Cost      resource.Money
	Charges   []Charge
}

// Settlement is the record of a request that has ended.
type Settlement struct {
	Started, Ended time.Time
	FirstToken     time.Duration // after Started; 0: no stream
	RequestID      string
	Route          string
	Principal      *resource.Principal
	Model          string // asked for
	Served         string // model that answered, which may be a fallback
	Deployment     string
	Provider       string
	Stream         bool
	Attempts       int
	Status         int
	Kind           llm.Kind // if Failed
	Failed         bool
	Code           string
	Guardrail      string // that blocked
	User           string // the request's own "user"
	Usage          llm.Usage
	Priced         bool
	Cost           resource.Money
	Held           resource.Money
	Charges        []Charge
}

// Opener opens sealed secrets (package secret).
type Opener interface {
	Open(s *resource.Sealed, kind, id, field string) (string, error)
}

// Pricer knows prices (package pricing).
type Pricer interface {
	// Lookup returns the list price of a provider's model.
	Lookup(provider, model string) (*resource.Price, bool)
	// Cost prices usage, rounded up.
	Cost(p *resource.Price, u llm.Usage) resource.Money
}
