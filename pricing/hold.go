package pricing

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// servedRate is how many tokens a second a model is taken to make where time is paid for.
const servedRate = 50

// Held is what a request is expected to use at most.
type Held struct {
	Prompt, Media int64 // tokens of the prompt, of which Media are of audio and images
	Output        int64 // tokens
	Units         llm.Units
	Service       llm.Service
}

// Hold is what to hold for a request at a price: the prompt at the dearest of its classes, the
// output at the dearer of text and reasoning, because nobody knows how much of it will be what.
// It is 0 for a nil price.
func Hold(p *resource.Price, a resource.Adjustment, h Held) resource.Money {
	if p == nil {
		return 0
	}
	t := newTerms(p, h.Prompt, h.Service)
	var s sum
	text := t.dearest(input, cacheRead, cacheWrite)
	media := min(max(h.Media, 0), h.Prompt)
	s.add(h.Prompt-media, text, 1)
	s.add(media, max(text, t.dearest(audioInput, imageInput)), 1)
	s.add(h.Output, t.dearest(outputs(&h.Units)...), 1)
	half := uint64(1)
	if h.Service == llm.ServiceBatch {
		half = 2
	}
	if h.Units != (llm.Units{}) {
		s.units(&h.Units, &p.Units, half)
	}
	if p.Timed() {
		ms := (h.Output/servedRate + 1) * 1000
		s.add(ms, int64(p.Second), perMilli/half)
		s.gpus(ms, &p.Units, half)
	}
	return s.adjusted(p.Request, a, half == 2)
}

// outputs are the classes of the output: audio and images only where some are made.
func outputs(u *llm.Units) []class {
	switch {
	case u.OutputImages > 0:
		return []class{output, reasoning, imageOutput}
	case u.OutputMS > 0:
		return []class{output, reasoning, audioOutput}
	}
	return []class{output, reasoning}
}

// dearest is the highest price of some classes, in parts of a sum for one token.
func (t *terms) dearest(classes ...class) int64 {
	var most int64
	for _, k := range classes {
		r := int64(t.rate(k))
		most = max(most, r*int64(perToken/t.half))
	}
	return most
}
