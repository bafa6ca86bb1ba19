package ledger

import (
	"time"

	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// AccountCharge is money of one window of one account: held in a Reservation, spent in a
// Record, given back in a Tick's Release.
type AccountCharge struct {
	Account resource.AccountID
	Start   resource.Time // of the window that admitted the request
	Amount  resource.Money
}

// Reservation is what is known of a request before the provider is asked.
type Reservation struct {
	RequestID string
	Time      resource.Time // 0: now
	KeyID     string        // "" for the master key
	TeamID    string
	User      string // the request's "user"
	Model     string // the name that the client asked for
	Hold      resource.Money
	Holds     []AccountCharge // the hold in each account; not kept

	OrganizationID string
	ProjectID      string
	UserID         string   // whose key it is
	CustomerID     string   // the end user whom it is counted for
	Tags           []string // not kept
}

// Record is one finished request. When it is written, strings longer than 4 KiB are cut, bytes that are not
// UTF-8 become '?', and one of more than 1 MiB loses what can be done without: never what it cost.
type Record struct {
	Number       uint64 // position in the journal; filled in when it is read
	Reserved     uint64 // number of its reservation; 0: it had none
	RequestID    string
	Time         resource.Time // when it ended; 0: now
	KeyID        string        // "" for the master key
	TeamID       string
	UserID       string // whose key it is
	User         string // the request's "user"
	Model        string // the name that the client asked for
	DeploymentID string // that answered, or was tried last
	Provider     string // of the deployment
	Attempts     int    // at deployments
	Endpoint     string // "chat", "completions", "embeddings", …
	Status       int    // that the client saw
	ErrorKind    string // class of the error, "blocked" or "timeout"; "" if it succeeded
	ErrorCode    string // that the client saw, "guardrail_blocked"
	Usage        llm.Usage
	Cost         resource.Money
	Hold         resource.Money // that was reserved
	Duration     time.Duration
	TTFT         time.Duration   // to the first token; 0: there was none
	Node         string          // filled in when it is read
	Charges      []AccountCharge // the cost in each account; not kept
	Tags         []string
	Flags        Flags
	Guardrail    string // that blocked the request or the answer, else that rewrote it last
	Guardrails   []GuardrailResult

	OrganizationID string
	ProjectID      string
	CustomerID     string // the end user whom it is counted for
	SessionID      string // of an agent's session, as the client named it
	Prompt         string // name of the stored prompt that the request was made of; "": none
	PromptVersion  int64
	Receipt        Receipt

	// Callbacks are the names of those that the request's holders chose; resource.NoCallbacks
	// alone says that they want none. Behind resource.WithoutCallback stand names of callbacks or
	// plugins that the request does without.
	Callbacks []string

	Adjusts uint64 // number of the record, of the same journal, whose cost an Adjustment corrects
}

// Receipt is why a request was served or refused: what was estimated, who refused it and
// by which rule, and which deployments were tried. It holds no prompt and no secret.
type Receipt struct {
	Step        string      // of the pipeline that ended the request, "budget"; "": it was served
	Scope       string      // whose rule refused it: "key", "team", …
	Entity      string      // its id
	Rule        string      // the message of the refusal, if the gateway wrote it itself
	Prompt      int64       // tokens estimated for the prompt
	Completion  int64       // tokens estimated for the completion
	Clamped     int64       // the completion's maximum after a budget lowered it; 0: none did
	PriceSource string      // of the price that was charged
	Tries       []Try       // attempts, in order; not kept
	Facts       facts.Facts // what the decision was about
}

// Try is one attempt at a deployment.
type Try struct {
	DeploymentID string
	Provider     string
	ErrorKind    string // "": it answered
	ErrorCode    string
	Status       int // of the provider; 0: it gave none
	Duration     time.Duration
}

// GuardrailResult is what became of one guardrail's check.
type GuardrailResult struct {
	Guardrail string
	Hook      string // "before", "during", "after"
	Status    string // "passed", "flagged", "rewritten", "blocked", "not_run"
	Found     string // what, in few words and never the text: "email 2, hate 0.91"
}

// Flags are facts about a Record.
type Flags uint32

// The flags of a Record.
const (
	Streamed    Flags = 1 << iota // the answer was a stream
	HoldCharged                   // charged its hold: the process died before it ended, or nobody will learn what it used; called "estimated", as usage is that the gateway has counted
	Overrun                       // cost more than its hold
	Cached                        // answered from the cache
	Cut                           // the stream ended before the provider had finished
	Unpriced                      // the price was unknown, so the cost is not
	Private                       // no prompt and no answer of it may be kept, by anybody
	Adjustment                    // no request: Cost corrects that of Adjusts, and may be negative
)

// Has says whether all of the flags are set.
func (f Flags) Has(flags Flags) bool { return f&flags == flags }

// Failed says whether the request counts as a failure.
func (r *Record) Failed() bool { return r.ErrorKind != "" || r.Status >= 400 }
