package llm

import (
	"slices"
	"strconv"
)

// Policy is what becomes of a parameter that a provider cannot take.
type Policy uint8

// The policies. The zero value is PolicyDrop.
const (
	PolicyDrop   Policy = iota // it is left out, and named to the client
	PolicyReject               // the request is refused
	PolicyPass                 // it is sent as it came, for the provider to judge
)

// The codes of a request that a provider's dialect, or the provider, has no words for.
const (
	CodeUnsayable   = "unsupported_value"
	CodeUnsupported = "unsupported_parameter"
)

// Target is what a writer of requests must know beside the request, and where it says what it
// left out.
type Target struct {
	Model   string            // at the provider
	Options map[string]string // of the deployment, such as "region" or "api_version"; may be nil
	Policy  Policy
	// MaxOutput is the most tokens of output that the model can make, for vendors that want a
	// maximum named (Anthropic); 0: unknown.
	MaxOutput int64
	// MaxTokensName is the only name under which the provider takes the limit on output, "" for
	// any; NoStreamOptions says that it refuses stream_options. Both are quirks of those who
	// speak OpenAI's dialect.
	MaxTokensName   string
	NoStreamOptions bool
	// SeedName is the provider's name for OpenAI's "seed", "" for the same.
	SeedName string
	// Refused are parameters, by OpenAI's names, that the provider refuses though its dialect has them.
	Refused []string
	// Prompt writes a conversation as the one text that the model was trained on, for writers of
	// dialects that have no conversations; nil: they write it as they like.
	Prompt func(turns []Turn) (string, error)

	dropped []string
	refused error
}

// Drop notes that the parameter, named as the client wrote it, cannot be taken. It returns true
// if a writer that can should pass it on as it came (PolicyPass). A writer may drop the same
// parameter more than once.
func (t *Target) Drop(param string) (pass bool) {
	switch t.Policy {
	case PolicyPass:
		return true
	case PolicyReject:
		if t.refused == nil {
			t.refused = &Error{
				Kind: Invalid, Code: CodeUnsupported, Param: param,
				Message: "The model " + strconv.Quote(t.Model) + " does not take " + strconv.Quote(param) + ".",
			}
		}
	default:
		if !slices.Contains(t.dropped, param) {
			t.dropped = append(t.dropped, param)
		}
	}
	return false
}

// AppendExtra appends the members that the vendor knows, which are named, and those that the policy
// passes on. All others are dropped.
func (t *Target) AppendExtra(dst []byte, extra []Member, known ...string) []byte {
	for i := range extra {
		if m := &extra[i]; slices.Contains(known, m.Name) || t.Drop(m.Name) {
			dst = m.Append(dst)
		}
	}
	return dst
}

// Dropped lists what was left out, in the order in which it was met.
func (t *Target) Dropped() []string { return t.dropped }

// Err is the *Error of the first parameter that was refused; nil if none was. A writer
// returns it at its end.
func (t *Target) Err() error { return t.refused }

// Unsayable makes the error of a request that cannot be said in the provider's dialect, whatever
// the policy: param is the field at fault, as the client wrote it.
func Unsayable(param, message string) error {
	return &Error{Kind: Invalid, Code: CodeUnsayable, Param: param, Message: message}
}

// Turn is one turn of a conversation in words.
type Turn struct {
	Role    string // "system", "user", "assistant", "tool"
	Content string
}
