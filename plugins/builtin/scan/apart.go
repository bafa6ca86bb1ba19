package scan

import "slices"

// levels are the actions from the strictest on; all others are of the last.
var levels = []Action{Block, Mask, Flag}

func (a Action) level() int {
	if i := slices.Index(levels, a); i >= 0 {
		return i
	}
	return len(levels) - 1
}

// Apart sorts spans and puts those apart that overlap: the strictest action counts. What is to be masked is masked
// to its last byte, by the text of the one that begins first; otherwise, of spans with the same action, the one
// stays that begins first, or is longer.
func Apart(spans []Span) []Span {
	slices.SortStableFunc(spans, func(a, b Span) int {
		if a.Start != b.Start {
			return a.Start - b.Start
		}
		return b.End - a.End
	})
	var out []Span
	for level := range levels {
		out = beside(out, alone(spans, level))
	}
	return out
}

// alone are the spans of a level, apart from each other.
func alone(spans []Span, level int) (out []Span) {
	for _, s := range spans {
		if s.Action.level() != level {
			continue
		}
		switch n := len(out); {
		case n == 0 || s.Start >= out[n-1].End:
			out = append(out, s)
		case s.Action == Mask:
			out[n-1].End = max(out[n-1].End, s.End)
		}
	}
	return out
}

// beside are the strict spans and what is left of others beside them, in order.
func beside(strict, others []Span) []Span {
	if len(strict) == 0 {
		return others
	}
	out := make([]Span, 0, len(strict)+len(others))
	i, end := 0, 0
	for _, o := range others {
		for ; i < len(strict) && strict[i].Start <= o.Start; i++ {
			out, end = append(out, strict[i]), strict[i].End
		}
		o.Start = max(o.Start, end)
		if i < len(strict) {
			o.End = min(o.End, strict[i].Start)
		}
		if o.Start < o.End {
			out = append(out, o)
		}
	}
	return append(out, strict[i:]...)
}
