// Package pricing says what an exchange costs: the cost of a usage at a price, what to hold of a
// budget before the usage is known, and a table of list prices that is built into the program.
// All arithmetic is in integers: nanodollars, and prices in nanodollars per million tokens.
package pricing

import (
	"math"
	"math/bits"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// DefaultOutput is the output, in tokens, that is held for a request that sets no maximum.
const DefaultOutput = 4096

const (
	// bytesPerToken is how many bytes of text make a token at least, as a rule: English has more,
	// JSON and most other languages come near.
	bytesPerToken = 3
	// mediaPerToken is the same for images as base64, whose tokens follow their dimensions:
	// providers make one to two thousand tokens of a picture of 100 kB.
	mediaPerToken = 64
)

// Request is what is known of a request before it is sent.
type Request struct {
	Endpoint llm.Endpoint
	// PromptBytes is the size of the prompt, of which MediaBytes are base64 (see llm.Fields).
	PromptBytes, MediaBytes int64
	MaxTokens               int64 // the request's own limit on output; 0: none
	N                       int64 // completions; 0 counts as 1
	// MaxInput and MaxOutput are the model's limits; 0: unknown.
	MaxInput, MaxOutput int64
	DefaultOutput       int64       // held without any limit; 0: DefaultOutput
	Factor              float64     // learned tokens over estimated ones; 0 counts as 1
	Service             llm.Service // the tier of service that it asks for
	// Strict counts a token for every byte, which no byte-level tokenizer exceeds.
	Strict bool
}

// Estimated is a request's size in tokens and what to hold of a budget for it.
type Estimated struct {
	Prompt, Output int64
	Cost           resource.Money
}

// Estimate sizes a request. The cost is at list price, 0 for a nil one. All output counts at the
// dearer of its classes, because nobody knows how much a model will reason; of the prompt's
// classes the dearest counts if Strict is set, else the plain one.
func Estimate(p *resource.Price, r Request) Estimated {
	e := Estimated{Prompt: r.prompt(), Output: r.output()}
	if p == nil {
		return e
	}
	at := newTerms(p, e.Prompt, r.Service)
	in, out := at.rate(input), max(at.rate(output), at.rate(reasoning))
	if r.Strict {
		in = max(in, at.rate(cacheWrite), at.rate(cacheRead))
	}
	var s sum
	s.add(e.Prompt, int64(in), perToken/at.half)
	s.add(e.Output, int64(out), perToken/at.half)
	e.Cost = s.money(p.Request)
	return e
}

func (r *Request) prompt() int64 {
	text := max(r.PromptBytes-r.MediaBytes, 0)
	n := max(r.PromptBytes, 0)
	if !r.Strict {
		n = saturate(Tokens(text, r.Factor), max(r.MediaBytes, 0)/mediaPerToken)
	}
	if r.MaxInput > 0 {
		n = min(n, r.MaxInput) // the provider refuses what is longer
	}
	return n
}

func (r *Request) output() int64 {
	if r.Endpoint.Family() == llm.FamilyEmbedding {
		return 0
	}
	n := r.MaxTokens
	if n <= 0 {
		n = r.DefaultOutput
		if n <= 0 {
			n = DefaultOutput
		}
		if r.MaxOutput > 0 {
			n = min(n, r.MaxOutput)
		}
	}
	hi, lo := bits.Mul64(uint64(n), uint64(max(r.N, 1)))
	if hi > 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(lo)
}

func saturate(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// Tokens estimates how many tokens so many bytes of text are, for the text of a prompt or of a
// stream that was cut before it told its usage. A factor of 0 counts as 1.
func Tokens(bytes int64, factor float64) int64 {
	if bytes <= 0 {
		return 0
	}
	if factor <= 0 || math.IsNaN(factor) {
		factor = 1
	}
	f := math.Ceil(float64(bytes) * factor / bytesPerToken)
	if f >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(f)
}
