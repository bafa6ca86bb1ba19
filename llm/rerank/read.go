package rerank

import (
	"errors"

	"github.com/conclave-llm/conclave/llm"
)

var errNone = errors.New("it has no results")

// errScore is a result without an index or a score.
var errScore = errors.New("a result has no index or no score")

// Reader reads a provider's answer. It keeps the first error.
type Reader struct {
	llm.Cursor
	Res   Response
	some  bool // the list of results was met
	fault error
}

// NewReader reads the body.
func NewReader(body []byte) *Reader { return &Reader{Cursor: llm.NewCursor(body)} }

// Members takes an object, of which f takes one member at a time.
func (r *Reader) Members(f func(name string)) {
	for n := 0; r.fault == nil && r.Member(n); n++ {
		f(string(r.Name()))
	}
}

// Each takes an array of objects, each a result with the members that are named. What else they
// hold is passed over.
func (r *Reader) Each(index, score string) {
	r.some = r.Next() == '['
	for i := 0; r.fault == nil && r.Element(i); i++ {
		var one Result
		had := [2]bool{}
		r.Members(func(name string) {
			switch name {
			case index:
				n, ok := r.Int()
				one.Index, had[0] = int(n), ok
			case score:
				one.Score, had[1] = r.Float()
			default:
				r.Raw()
			}
		})
		if !had[0] || !had[1] {
			r.Fail(errScore)
			return
		}
		r.Res.Results = append(r.Res.Results, one)
	}
}

// Add adds one result.
func (r *Reader) Add(one Result) { r.some, r.Res.Results = true, append(r.Res.Results, one) }

// Fail notes what is wrong.
func (r *Reader) Fail(err error) {
	if r.fault == nil {
		r.fault = err
	}
}

// Finish returns the answer, or an *llm.Error of kind Upstream.
func (r *Reader) Finish() (*Response, error) {
	if r.fault != nil {
		return nil, Malformed(r.fault)
	}
	if err := r.End(); err != nil {
		return nil, Malformed(err)
	}
	if !r.some {
		return nil, Malformed(errNone)
	}
	return &r.Res, nil
}
