package guardrail

import (
	"cmp"
	"context"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// Failed is what the guardrails made of an error.
type Failed struct {
	Failure // as the client gets it
	Changed bool
	Headers []Header
	Results []Result
}

// Failure shows an error to the guardrails that want to see errors, in the order of their names. One that
// cannot be asked changes nothing, whatever its on_error is: the request has failed already. Of q
// the body is not used.
func (s *Set) Failure(ctx context.Context, q *Request, f Failure) Failed {
	out := Failed{Failure: f}
	if s == nil {
		return out
	}
	var d Decision
	for _, m := range s.members {
		if !m.wants(resource.HookFailure) {
			continue
		}
		start := time.Now()
		v, err := m.fail(ctx, q, &out.Failure)
		s.note(&d, m, resource.HookFailure, v, err, time.Since(start))
		if err != nil || m.Observe {
			continue
		}
		out.Headers = append(out.Headers, v.Headers...)
		if v.Action == Rewrite {
			out.Status, out.Code = cmp.Or(v.Failure.Status, out.Status), cmp.Or(v.Failure.Code, out.Code)
			out.Message, out.Changed = cmp.Or(v.Failure.Message, out.Message), true
		}
	}
	out.Results = d.Results
	return out
}

// fail asks one member about an error.
func (m *Member) fail(ctx context.Context, q *Request, f *Failure) (Verdict, error) {
	live, err := m.ready(resource.HookFailure)
	if err != nil {
		return Verdict{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.deadline())
	defer cancel()
	shown := *f
	c := &Check{Hook: resource.HookFailure, Info: q.Info, Failure: &shown}
	c.Info.Models = nil // nothing pays any more
	m.tell(c, &live.Description, q.Teller)
	v, err := live.Backend.Check(ctx, c)
	if err != nil {
		return Verdict{}, err
	}
	return v, Permits(resource.HookFailure, &v, m.May, MayHeaders|MayError)
}
