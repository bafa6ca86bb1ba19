// Package decision is a request to judge something by questions whose answers have a type and a
// probability, and its answer, in terms that every dialect can express.
package decision

import (
	"cmp"
	"errors"
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
	keys, seen := make([]string, len(r.Questions)), make(map[string]bool, len(r.Questions))
	for i := range r.Questions {
		keys[i] = r.Questions[i].Name
		seen[keys[i]] = true
	}
	if len(seen) < len(keys) || seen[""] {
		for i := range keys {
			keys[i] = strconv.Itoa(i)
		}
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

// Words are how a dialect says the answer to a question.
type Words struct {
	Kinds     map[string]Kind // by their types
	Predicate string          // the member that has a predicate's probability
	// Probabilities reads those of an answer.
	Probabilities func(v *Values, into map[string]float64)
}

// Values reads the values of one answer and notes whether they are as they must be.
type Values struct {
	*llm.Cursor
	wrong bool
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

// Value takes a string, or what stands for one: true, false, or the number of a level.
func (v *Values) Value() string {
	if v.Next() == '"' {
		return v.Text()
	}
	return string(v.Raw())
}

// Read reads an answer. One of a kind that is unknown is Refused; one without the value of its kind is an
// error of kind Upstream, but for the syntax.
func (w *Words) Read(c *llm.Cursor) (Answer, error) {
	a, v, answered := Answer{Kind: Refused}, Values{Cursor: c}, false
	for n := 0; c.Member(n); n++ {
		switch name := string(c.Name()); name {
		case "type":
			if kind, known := w.Kinds[c.Text()]; known {
				a.Kind = kind
			}
		case w.Predicate:
			a.Probability, answered = v.Number(), true
		case "choice":
			a.Choice, answered = v.Value(), true
		case "score":
			a.Score, answered = v.Number(), true
		case "confidence":
			a.Confidence = v.Number()
		case "probabilities":
			a.Probabilities = map[string]float64{}
			w.Probabilities(&v, a.Probabilities)
		default:
			c.Raw()
		}
	}
	if v.wrong || !answered && a.Kind != Refused {
		return a, Malformed(cmp.Or(c.Err(), errNoValue))
	}
	return a, nil
}

// errNoValue is an answer without the value of its type.
var errNoValue = errors.New("an answer has no value of its type")

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}
