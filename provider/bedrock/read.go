package bedrock

import "github.com/conclave-llm/conclave/llm/jsonread"

// reader reads requests and answers; what they mean, its methods in the other files know.
type reader struct{ jsonread.Reader }

// object reads an object that must be one: Bedrock's unions have no null.
func (r *reader) object(f func(name string)) {
	if r.Next() == 'n' {
		r.Wrong("must be an object")
	}
	r.Object(f)
}
