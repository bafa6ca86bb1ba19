// Package callback holds the contract of callback plugins: what a plugin implements, its gRPC
// client and server, and the Queue that brings every finished request to a sink in order and
// at least once, from the node's journal and never on a request's way.
package callback

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Record tells of one finished request, failed and refused ones too. It holds a prompt and an
// answer only for a callback that gets contents, of a request whose holders allow it, and never a secret.
type Record struct {
	Position      uint64 // in the node's journal; grows from record to record
	RequestID     string
	NodeID        string
	StartedAt     time.Time
	Duration      time.Duration
	FirstToken    time.Duration // from the start; 0: there was none
	Endpoint      string        // "chat", "completions", "embeddings", …
	Model         string        // that the client asked for
	DeploymentID  string
	Provider      string
	UpstreamModel string
	KeyID         string
	TeamID        string
	UserID        string
	EndUser       string // the request's own "user"
	Tags          []string
	Stream        bool
	Status        string // "success", "failure", "blocked", "canceled"
	HTTPStatus    int
	ErrorCode     string
	Attempts      int
	Usage         llm.Usage
	CostNanoUSD   int64
	Priced        bool // false: the cost is unknown
	Guardrails    []GuardrailResult

	OrganizationID string
	ProjectID      string
	CustomerID     string // the end user whom it is counted for
	SessionID      string // of an agent's session, as the client named it
	KeyName        string
	TeamName       string
	Step           string // of the gateway, that ended the request: "budget"; "": it was served
	Message        string // of the refusal, if the gateway wrote it itself
	Prompt         string // name of the stored prompt that the request was made of; "": none
	PromptVersion  int64

	APIBase          string // of the deployment, where it has one of its own
	Cached           bool   // answered from the gateway's cache
	Path             string // that was asked
	OrganizationName string
	ProjectName      string
	AccessGroups     []string // of the model that the client asked for
	KeyBudget        *int64   // nanodollars: the limit of its first window; nil: it has no budget of money
	TeamBudget       *int64
	Books            Books
	LogMetadata      []byte // JSON object: spend_logs_metadata of the key, else of the team; empty: there is none

	// What follows is told where prompts are.

	Address   string // of the client, where it is kept
	UserEmail string
	UserAgent string // of the client, as it says
	Request   []byte // the body, after the guardrails; empty: it is not told
	Response  []byte
	Truncated bool // one of them is not whole
}

// Books are what the cluster's books say when the record is told, in nanodollars; nil: nothing. What has been spent is that of
// all time, with what nodes have told of so far.
type Books struct {
	KeySpend, UserSpend, TeamSpend *int64

	UserBudget *int64    // as Record.KeyBudget
	KeyResets  time.Time // when the window of Record.KeyBudget ends; zero: it does not, or nothing was spent in it
}

// GuardrailResult tells of one guardrail's check.
type GuardrailResult struct {
	Guardrail string
	Hook      string // "before", "during", "after"
	Status    string // "passed", "flagged", "rewritten", "blocked", "not_run"
	Found     string // "email 2, hate 0.91"
}

// Description is what a configured plugin says about itself.
type Description struct {
	Version  string // of the plugin, for display
	MaxBatch int    // records in one batch; 0: as the host likes
	SDKMinor uint32 // of the contract which the plugin was built against; 0: older than 5. The SDK fills it in.
}

// Settings are what a plugin is configured with.
type Settings struct {
	Name        string // of the callback, unique in the cluster
	Config      []byte // JSON object, the plugin's own; may be empty
	HostVersion string
	HostMinor   uint32 // of the contract that the host speaks; 0: older than 5
}

// Refused is what Deliver returns if the record behind the delivered ones will never be taken, so
// that it is put aside and delivery goes on behind it.
type Refused struct {
	Reason string // without any content
}

// Error implements error.
func (r *Refused) Error() string { return "refused for good: " + r.Reason }

// ErrDenied is wrapped by an error of Deliver which says that the sink does not accept the credentials. Such records come
// again, as after other errors: who has the callback is told what to mend.
var ErrDenied = errors.New("the sink does not accept the credentials")

// Plugin is what the author of a callback implements. Configure is called once, before
// anything else; Deliver is called for one batch after the other.
type Plugin interface {
	Configure(ctx context.Context, s Settings) (Description, error)
	// Deliver brings records in the order of their positions. It returns how many of them,
	// from the first, are safe in the sink; the rest is delivered again, after a pause if
	// there is an error. With a *Refused the next record is put aside instead. A record may
	// come twice: its position tells.
	Deliver(ctx context.Context, records []Record) (delivered int, err error)
}

// Auditor is a Plugin that may be a sink of the audit log.
type Auditor interface {
	// DeliverAudit brings entries in the order of their numbers, as Deliver brings records,
	// and never while Deliver runs.
	DeliverAudit(ctx context.Context, entries []resource.AuditEntry) (delivered int, err error)
}
