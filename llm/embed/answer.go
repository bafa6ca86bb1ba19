package embed

import (
	"errors"

	"github.com/conclave-llm/conclave/llm"
)

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

var errNone = errors.New("it has no vectors")

// Reader reads a provider's answer. It keeps the first error.
type Reader struct {
	llm.Cursor
	Res   Response
	fault error
}

// NewReader reads the body.
func NewReader(body []byte) *Reader { return &Reader{Cursor: llm.NewCursor(body)} }

// Vector takes one vector.
func (r *Reader) Vector() {
	v, err := TakeVector(&r.Cursor)
	if err != nil {
		r.Fail(err)
		return
	}
	r.Res.Vectors = append(r.Res.Vectors, v)
}

// Vectors takes an array of vectors.
func (r *Reader) Vectors() {
	if r.Next() != '[' {
		r.Fail(errVector)
	}
	for i := 0; r.fault == nil && r.Element(i); i++ {
		r.Vector()
	}
}

// Each takes an array of objects, of which f takes one member at a time.
func (r *Reader) Each(f func(name string)) {
	for i := 0; r.fault == nil && r.Element(i); i++ {
		before := len(r.Res.Vectors)
		r.Members(f)
		if r.fault == nil && len(r.Res.Vectors) != before+1 {
			r.Fail(errNone)
		}
	}
}

// Members takes an object, of which f takes one member at a time.
func (r *Reader) Members(f func(name string)) {
	for n := 0; r.fault == nil && r.Member(n); n++ {
		f(string(r.Name()))
	}
}

// Used takes a number of tokens of the inputs.
func (r *Reader) Used() {
	if n, ok := r.Int(); ok && n >= 0 && n <= llm.MaxTokenCount {
		r.Res.Usage.Input += n
		r.Res.Usage.Source = llm.UsageProvider
	}
}

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
	if len(r.Res.Vectors) == 0 {
		return nil, Malformed(errNone)
	}
	return &r.Res, nil
}

// Report reads what the gateway must know of an answer: the numbers of tokens, which are the
// members of that name, wherever they stand, added up. "" is for vendors that say none.
func Report(body []byte, member string) (llm.Report, error) {
	c := llm.NewCursor(body)
	var r llm.Report
	if next := c.Next(); next != '{' && next != '[' {
		return r, Malformed(errNone)
	}
	counted(&c, member, &r, 0)
	if err := c.End(); err != nil {
		return llm.Report{}, Malformed(err)
	}
	return r, nil
}

// maxDepth is deeper than vendors put their counts.
const maxDepth = 8

func counted(c *llm.Cursor, member string, r *llm.Report, depth int) {
	switch next := c.Next(); {
	case next == '{' && depth < maxDepth:
		for n := 0; c.Member(n); n++ {
			if member == "" || string(c.Name()) != member {
				counted(c, member, r, depth+1)
				continue
			}
			if v, ok := c.Int(); ok && v >= 0 && v <= llm.MaxTokenCount {
				r.Usage.Input += v
				r.Usage.Source, r.HasUsage = llm.UsageProvider, true
			}
		}
	case next == '[' && depth < maxDepth:
		for n := 0; c.Element(n); n++ {
			if v := c.Next(); v == '{' || v == '[' && n == 0 {
				counted(c, member, r, depth+1)
			} else {
				c.Raw()
			}
		}
	default:
		c.Raw()
	}
}
