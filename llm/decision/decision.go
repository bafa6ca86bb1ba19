// Package decision is a request to judge something by questions whose answers have a type and a
// probability, and its answer, in terms that every dialect can express.
package decision

import (
	"errors"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// Kind is the type of a question and of its answer.
type Kind uint8

// The kinds. Refused is of answers alone.
const (
	Predicate Kind = iota // whether it is so
	Choice                // which of several it is
	Score                 // which level of an order it has
	Refused               // the model does not say
)

// Request asks questions about one thing. It is not changed once it was read.
type Request struct {
	Model string
	// Text is what is judged; Raw is that as JSON where it is no text, nil where it is.
	Text      string
	Raw       []byte
	Questions []Question
	Extra     []llm.Member // at the top
}

// Question is one of the request's.
type Question struct {
	Kind Kind
	Name string // "": it has none
	// Instructions are what is asked, "" for nothing but the criteria.
	Instructions string
	// True and False are what a predicate's answers mean, "" for what they always do.
	True, False string
	Options     []Option // of a choice
	Levels      []Level  // of a score, the lowest first
}

// Option is one of a choice's.
type Option struct {
	Value       string
	Bool        bool   // Value is "true" or "false", and stands for that
	Description string // "": the value says it
}

// Level is one of a score's. Its number is its place.
type Level struct {
	Label       string
	Description string // "": the label says it
}

// Keys are names of the questions, one of each: their own if all have one and no two the same, else
// their places.
func (r *Request) Keys() []string {
	keys := make([]string, 0, len(r.Questions))
	for i := range r.Questions {
		name := r.Questions[i].Name
		if name == "" || slices.Contains(keys, name) {
			keys = keys[:0]
			break
		}
		keys = append(keys, name)
	}
	for i := len(keys); i < len(r.Questions); i++ {
		keys = append(keys, strconv.Itoa(i))
	}
	return keys
}

// Answer is that to one question.
type Answer struct {
	Kind        Kind
	Probability float64 // of a predicate
	Choice      string
	Score       float64
	Confidence  float64 // of a choice or a score
	// Probabilities are those of the options by their values, or of the levels by their numbers.
	Probabilities map[string]float64
}

// Response has an answer for each question, in their order.
type Response struct {
	Model   string // "": the provider does not say
	Answers []Answer
	Usage   llm.Usage
}

// Values reads the values of one answer and notes whether they are as they must be. The zero value with a
// Cursor is ready to use.
type Values struct {
	*llm.Cursor
	wrong, answered bool
}

// Number takes a number.
func (v *Values) Number() float64 {
	f, ok := v.Float()
	if !ok {
		v.wrong = true
		return 0
	}
	return f
}

// Answer takes the number that is the answer.
func (v *Values) Answer() float64 {
	v.answered = true
	return v.Number()
}

// Chosen takes the option that is the answer.
func (v *Values) Chosen() string {
	v.answered = true
	return v.Value()
}

// Value takes a string, or what stands for one: true, false, or the number of a level.
func (v *Values) Value() string {
	if v.Next() == '"' {
		return v.Text()
	}
	return string(v.Raw())
}

// Fit says that the values are those of an answer of the kind.
func (v *Values) Fit(k Kind) bool { return !v.wrong && (v.answered || k == Refused) }

// ErrNoValue is an answer without the value of its type.
var ErrNoValue = errors.New("an answer has no value of its type")

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}
