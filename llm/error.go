package llm

import (
	"fmt"
	"net/http"
	"time"
)

// Kind classifies an Error. Retries, cooldowns and the status that a client sees follow
// from it alone.
type Kind uint8

// The kinds of errors.
const (
	Internal        Kind = iota // our own fault: 500
	Invalid                     // the request is wrong: 400
	Unauthenticated             // no, unknown, expired or blocked key: 401
	Forbidden                   // the key may not do this: 403
	NotFound                    // no such model or route: 404
	TooLarge                    // the body is over the limit: 413
	RateLimited                 // over a limit of ours or of the provider: 429
	OverBudget                  // over a budget: 429, or what the cluster's setting says
	Blocked                     // a guardrail refused: 400
	Unavailable                 // nobody can answer now: 503
	Upstream                    // the provider failed or could not be reached: 502
	Timeout                     // the provider did not answer in time: 504
	Canceled                    // the client went away: 499, in the log only
)

// statuses gives the HTTP status of each kind.
var statuses = [...]int{
	Internal: http.StatusInternalServerError, Invalid: http.StatusBadRequest,
	Unauthenticated: http.StatusUnauthorized, Forbidden: http.StatusForbidden,
	NotFound: http.StatusNotFound, TooLarge: http.StatusRequestEntityTooLarge,
	RateLimited: http.StatusTooManyRequests, OverBudget: http.StatusTooManyRequests,
	Blocked: http.StatusBadRequest, Unavailable: http.StatusServiceUnavailable,
	Upstream: http.StatusBadGateway, Timeout: http.StatusGatewayTimeout, Canceled: 499,
}

// kindNames gives the word for each kind, as the ledger has it.
var kindNames = [...]string{
	Internal: "internal", Invalid: "invalid", Unauthenticated: "unauthenticated", Forbidden: "forbidden",
	NotFound: "not_found", TooLarge: "too_large", RateLimited: "rate_limited", OverBudget: "over_budget",
	Blocked: "blocked", Unavailable: "unavailable", Upstream: "upstream", Timeout: "timeout", Canceled: "canceled",
}

// String is the word for the kind.
func (k Kind) String() string { return kindNames[k] }

// CodeNoBlob is the code of a body that the cluster knows and that no node gives now.
const CodeNoBlob = "blob_unavailable"

// Error is what goes wrong with an exchange, in terms that every dialect can express.
type Error struct {
	Kind    Kind
	Status  int    // of the provider's answer or of a setting; 0: what Kind says
	Type    string // OpenAI's "type"; "": what the status says
	Code    string // OpenAI's "code": "budget_exceeded", "model_not_found", …
	Param   string // the field that is wrong
	Message string // for the client; never holds a secret or a prompt

	Scope      string        // whose limit or budget: "key", "team", …
	Entity     string        // its id
	RetryAfter time.Duration // > 0: sent as Retry-After, rounded up to seconds
	NoRetry    bool          // sent as x-should-retry: false
	ResetsAt   time.Time     // when the window ends, if there is one

	// Count and Resting are the numbers behind a refusal of the gateway's own, for the receipt.
	Count   *Count
	Resting []string // ids of deployments that could not be asked at that moment

	// Body is the provider's own error body and Header its relevant headers, which are
	// relayed untouched where client and provider speak the same dialect.
	Body   []byte
	Header http.Header

	// FromProvider: a provider has said so, even if its own words are not the client's and are left out.
	FromProvider bool

	// Err is the cause, for the log only.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// HTTPStatus is the status for the client.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	return statuses[e.Kind]
}
