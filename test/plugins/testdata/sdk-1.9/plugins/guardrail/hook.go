package guardrail

// Header is one header of a request or of an answer.
type Header struct {
	Name  string // in lower case
	Value string
}

// Caller says for whom a request is, beside Info.
type Caller struct {
	KeyName        string
	OrganizationID string
	ProjectID      string
	UserID         string // whose key it is
	CustomerID     string // the end user whom it is counted for
	SessionID      string
	Tags           []string
}

// Change is what a rewrite changes beside texts: of a request, or, with Set and Remove alone, of a
// whole answer. Who the request is for cannot be changed.
type Change struct {
	Model       string   // "": as it is
	Set         []byte   // JSON object: its members take the place of the body's, or are added; nil: none
	Remove      []string // members of the body
	Tags        []string // beside those that the request has
	ReplaceTags bool     // Tags take the place of those that the client named; those of its holders stay
}

// Origin is who an error comes from.
type Origin string

// The origins.
const (
	OriginGateway   Origin = "gateway"
	OriginGuardrail Origin = "guardrail"
	OriginProvider  Origin = "provider"
)

// Failure is an error as the client gets it. In a verdict, what is empty stays as it was.
type Failure struct {
	Status  int // 400 to 599
	Code    string
	Message string
	Origin  Origin
	Step    string // of the gateway, at which it came: "budget"
}

// Logged is what a callback is about to be told. What a verdict has in the second half takes the
// place of what was there; the first half is to read.
type Logged struct {
	RequestID   string
	Endpoint    string
	Model       string
	Provider    string
	KeyID       string
	TeamID      string
	UserID      string
	Status      string // "success", "failure", "blocked", "canceled"
	HTTPStatus  int
	ErrorCode   string
	CostNanoUSD int64

	EndUser    string // the request's own "user"
	CustomerID string
	SessionID  string
	Tags       []string
	Message    string // of a refusal
	Request    []byte // the body, where callbacks get contents
	Response   []byte
}
