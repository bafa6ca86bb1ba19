package pricing

import (
	"math/bits"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// class is a class of tokens.
type class uint8

const (
	input class = iota
	cacheRead
	cacheWrite
	cacheWrite1h
	cacheReadAudio
	cacheReadImage
	audioInput
	imageInput
	output
	reasoning
	audioOutput
	imageOutput
	numClasses
)

// nearest is the class at whose price one without a price is charged.
var nearest = [numClasses]class{
	cacheRead: input, cacheWrite: input, cacheWrite1h: cacheWrite, cacheReadAudio: cacheRead, cacheReadImage: cacheRead,
	audioInput: input, imageInput: input, reasoning: output, audioOutput: output, imageOutput: output,
}

// tokens are the counts of a usage by class.
func tokens(u *llm.Usage) [numClasses]int64 {
	return [numClasses]int64{
		input: u.Input, cacheRead: u.CacheRead, cacheWrite: u.CacheWrite, cacheWrite1h: u.CacheWrite1h,
		cacheReadAudio: u.CacheReadAudio, cacheReadImage: u.CacheReadImage, audioInput: u.AudioInput, imageInput: u.ImageInput,
		output: u.Output, reasoning: u.Reasoning, audioOutput: u.AudioOutput, imageOutput: u.ImageOutput,
	}
}

// in gives the price of a class, nil if the list has none.
func (k class) in(in, out *resource.Money, c *resource.Classes) *resource.Money {
	switch k {
	case input:
		return in
	case output:
		return out
	case cacheRead:
		return c.CacheRead
	case cacheWrite:
		return c.CacheWrite
	case cacheWrite1h:
		return c.CacheWrite1h
	case cacheReadAudio:
		return c.CacheReadAudio
	case cacheReadImage:
		return c.CacheReadImage
	case audioInput:
		return c.AudioInput
	case imageInput:
		return c.ImageInput
	case reasoning:
		return c.Reasoning
	case audioOutput:
		return c.AudioOutput
	case imageOutput:
		return c.ImageOutput
	}
	return nil
}

// classNamed finds the class that the row form calls so.
func classNamed(name string) (class, bool) {
	switch name {
	case "input":
		return input, true
	case "output":
		return output, true
	}
	var c resource.Classes
	p := c.Class(name)
	if p == nil {
		return 0, false
	}
	*p = new(resource.Money)
	for k := range numClasses {
		if k.in(nil, nil, &c) != nil {
			return k, true
		}
	}
	return 0, false
}

// terms are the conditions under which a price is read.
type terms struct {
	price   *resource.Price
	prompt  int64
	service string
	half    uint64 // 2 where the last rate found is half of what it says, else 1
}

func newTerms(p *resource.Price, prompt int64, s llm.Service) *terms {
	return &terms{price: p, prompt: prompt, service: s.String(), half: 1}
}

// rate is the price of a class, or of its nearest if it has none. A batch job pays half of what
// has no price for batches.
func (t *terms) rate(k class) resource.Money {
	for {
		if m, batch := t.find(k); m != nil {
			t.half = 1
			if t.service == resource.ServiceBatch && !batch {
				t.half = 2
			}
			return *m
		}
		if k == input || k == output {
			return 0
		}
		k = nearest[k]
	}
}

// find looks for the price of a class alone; own says that it is the tier of service's own. The
// variant with the largest threshold that the prompt exceeds goes first, among equals the one of
// the tier. Batches have no need of the tier's price for short prompts: half of the price for
// long ones is nearer.
func (t *terms) find(k class) (m *resource.Money, own bool) {
	p := t.price
	var long, tier *resource.Money
	var longest int64
	for i := range p.Variants {
		v := &p.Variants[i]
		if v.Service != "" && v.Service != t.service || v.Above > 0 && t.prompt <= v.Above {
			continue
		}
		r := k.in(v.Input, v.Output, &v.Classes)
		switch {
		case r == nil:
		case v.Above == 0:
			tier = r
		case v.Above > longest || v.Above == longest && v.Service != "":
			long, longest, own = r, v.Above, v.Service != ""
		}
	}
	switch {
	case long != nil:
		return long, own
	case tier != nil:
		return tier, true
	}
	return k.in(&p.Input, &p.Output, &p.Classes), false
}

// Cost is what u costs at p, rounded up to a whole nanodollar for the request as a whole. It is
// 0 for a nil price, which is unknown, and never more than resource.MaxMoney.
func Cost(p *resource.Price, u llm.Usage) resource.Money {
	return Bill(p, resource.Adjustment{}, u)
}

// Bill is the cost of u at p with a discount and a margin: cost × (1 − discount) × (1 + margin),
// rounded up once, and the fixed part. It is 0 for a nil price.
func Bill(p *resource.Price, a resource.Adjustment, u llm.Usage) resource.Money {
	if p == nil {
		return 0
	}
	s := total(p, &u, u.Prompt())
	return s.adjusted(p.Request, a, u.Service == llm.ServiceBatch)
}

// Part is what some of a request's usage costs, at the rates of the whole's prompt, rounded up,
// without the price of a request. It is 0 for a nil price.
func Part(p *resource.Price, whole, part llm.Usage) resource.Money {
	if p == nil {
		return 0
	}
	part.Service = whole.Service
	s := total(p, &part, whole.Prompt())
	return s.money(0)
}

// total adds up all that is counted, at the rates of a prompt of so many tokens, but for the
// price of a request.
func total(p *resource.Price, u *llm.Usage, prompt int64) sum {
	var s sum
	t := terms{price: p, prompt: prompt, service: u.Service.String(), half: 1}
	for k, n := range tokens(u) {
		if n > 0 {
			r := t.rate(class(k))
			s.add(n, int64(r), perToken/t.half)
		}
	}
	if u.Units == (llm.Units{}) {
		return s
	}
	half := uint64(1)
	if u.Service == llm.ServiceBatch {
		half = 2
	}
	r := &p.Units
	s.units(&u.Units, r, half)
	if r.GPUSecond > 0 && u.Units.ServedMS > 0 {
		s.gpus(u.Units.ServedMS, r, half)
	}
	return s
}

// units adds what is not counted in tokens, at half of its price for a batch.
func (s *sum) units(n *llm.Units, r *resource.Units, half uint64) {
	for _, v := range [...]struct {
		count int64
		rate  resource.Rate
		scale uint64
	}{
		{n.ServedMS, r.Second, perMilli},
		{n.InputMS, r.InputSecond, perMilli},
		{n.OutputMS, r.OutputSecond, perMilli},
		{n.Characters, r.Character, perToken},
		{n.Queries, r.Query, perToken},
		{n.Pages, r.Page, perToken},
		{n.InputImages, r.InputImage, perToken},
		{n.OutputImages, r.OutputImage, perToken},
		{n.InputPixels, r.InputPixel, perToken},
		{n.OutputPixels, r.OutputPixel, perToken},
	} {
		s.add(v.count, int64(v.rate), v.scale/half)
	}
}

// A sum is in 1e-15 $ / 2000, or nanodollars / 2e9: fine enough for half of a price for a
// thousandth of a second.
const (
	perToken = 2000 // for one unit at a price in 1e-15 $
	perMilli = 2    // for one thousandth of it
	perNano  = 2_000_000_000
)

// sum is a number of 192 bits: no usage at any price overflows it.
type sum struct{ w [3]uint64 } // the lowest word first

// add adds n units at a price m, times scale. What is negative counts as 0.
func (s *sum) add(n, m int64, scale uint64) {
	if n <= 0 || m <= 0 {
		return
	}
	hi, lo := bits.Mul64(uint64(n), uint64(m))
	t := sum{[3]uint64{lo, hi, 0}}
	t.mul(scale)
	s.plus(&t)
}

// gpus adds the milliseconds on so many GPUs, of which there may be a fraction: rounded up to a
// unit of the sum, which is far below a nanodollar.
func (s *sum) gpus(ms int64, r *resource.Units, half uint64) {
	var t sum
	t.add(ms, int64(r.GPUSecond), perMilli/half)
	t.mul(uint64(r.GPUCount()))
	t.div(uint64(resource.Dollar))
	s.plus(&t)
}

func (s *sum) plus(t *sum) {
	var c uint64
	for i := range s.w {
		s.w[i], c = bits.Add64(s.w[i], t.w[i], c)
	}
	if c > 0 {
		s.fill()
	}
}

// mul multiplies by f; what is too large stays as large as can be.
func (s *sum) mul(f uint64) {
	var carry uint64
	for i := range s.w {
		hi, lo := bits.Mul64(s.w[i], f)
		var c uint64
		s.w[i], c = bits.Add64(lo, carry, 0)
		carry = hi + c
	}
	if carry > 0 {
		s.fill()
	}
}

func (s *sum) fill() { s.w = [3]uint64{^uint64(0), ^uint64(0), ^uint64(0)} }

// div divides by d, rounding up. Divisions one after the other round up as one would.
func (s *sum) div(d uint64) {
	var r uint64
	for i := len(s.w) - 1; i >= 0; i-- {
		s.w[i], r = bits.Div64(r, s.w[i], d)
	}
	if r > 0 {
		s.plus(&sum{[3]uint64{1, 0, 0}})
	}
}

// money is the sum in nanodollars, rounded up, with the price of a request.
func (s *sum) money(request resource.Money) resource.Money {
	return s.adjusted(request, resource.Adjustment{}, false)
}

// adjusted is the sum and the price of a request, which a batch has for half, with what is
// taken off and put on.
func (s *sum) adjusted(request resource.Money, a resource.Adjustment, batch bool) resource.Money {
	const whole = 1_000_000 // of a share
	fee := uint64(perNano)
	if batch {
		fee /= 2
	}
	s.add(int64(request), 1, fee)
	if a.Discount != 0 || a.Margin != 0 {
		s.mul(uint64(max(0, whole-a.Discount)))
		s.mul(uint64(whole + max(0, a.Margin)))
		s.div(whole)
		s.div(whole)
	}
	s.div(perNano)
	fixed := max(a.Fixed, 0)
	if s.w[2] > 0 || s.w[1] > 0 || s.w[0] > uint64(resource.MaxMoney) || fixed > resource.MaxMoney-resource.Money(s.w[0]) {
		return resource.MaxMoney
	}
	return resource.Money(s.w[0]) + fixed
}
