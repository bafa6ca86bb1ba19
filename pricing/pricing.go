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
	perMillion = 1_000_000
	// bytesPerToken is how many bytes of text make a token at least, as a rule: English has more,
	// JSON and most other languages come near.
	bytesPerToken = 3
	// mediaPerToken is the same for images as base64, whose tokens follow their dimensions:
	// providers make one to two thousand tokens of a picture of 100 kB.
	mediaPerToken = 64
)

// Cost is what u costs at p, rounded up to a whole nanodollar for the request as a whole. It is
// 0 for a nil price, which is unknown, and never more than resource.MaxMoney.
func Cost(p *resource.Price, u llm.Usage) resource.Money {
	if p == nil {
		return 0
	}
	var s sum
	s.add(u.Input, p.Input)
	s.add(u.CacheRead, or(p.CacheRead, p.Input))
	s.add(u.CacheWrite, or(p.CacheWrite, p.Input))
	s.add(u.Output, p.Output)
	s.add(u.Reasoning, or(p.Reasoning, p.Output))
	return s.money(p.Request)
}

// or is the price of a class, or of its nearest if it has none.
func or(p *resource.Money, nearest resource.Money) resource.Money {
	if p != nil {
		return *p
	}
	return nearest
}

// sum is a number of 128 bits in nanodollars per million: no usage and price overflow it.
type sum struct{ hi, lo uint64 }

// add adds n tokens at m a million. What is negative counts as 0.
func (s *sum) add(n int64, m resource.Money) {
	if n <= 0 || m <= 0 {
		return
	}
	hi, lo := bits.Mul64(uint64(n), uint64(m))
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, _ = bits.Add64(s.hi, hi, carry)
}

// money divides by a million, rounding up, and adds the price of a request.
func (s *sum) money(request resource.Money) resource.Money {
	if s.hi >= perMillion {
		return resource.MaxMoney
	}
	q, r := bits.Div64(s.hi, s.lo, perMillion)
	if r > 0 {
		q++
	}
	request = max(request, 0)
	if q > uint64(resource.MaxMoney) || request > resource.MaxMoney-resource.Money(q) {
		return resource.MaxMoney
	}
	return resource.Money(q) + request
}

// Request is what is known of a request before it is sent.
type Request struct {
	Endpoint llm.Endpoint
	// PromptBytes is the size of the prompt, of which MediaBytes are base64 (see llm.Fields).
	PromptBytes, MediaBytes int64
	MaxTokens               int64 // the request's own limit on output; 0: none
	N                       int64 // completions; 0 counts as 1
	// MaxInput and MaxOutput are the model's limits; 0: unknown.
	MaxInput, MaxOutput int64
	DefaultOutput       int64   // held without any limit; 0: DefaultOutput
	Factor              float64 // learned tokens over estimated ones; 0 counts as 1
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
	in, out := p.Input, max(p.Output, or(p.Reasoning, 0))
	if r.Strict {
		in = max(in, or(p.CacheWrite, 0), or(p.CacheRead, 0))
	}
	var s sum
	s.add(e.Prompt, in)
	s.add(e.Output, out)
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
	if r.Endpoint == llm.Embeddings {
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
