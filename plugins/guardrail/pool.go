package guardrail

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/conclave-llm/conclave/plugins/contract"
)

// Pool makes one Live of the processes that run one guardrail: each check goes to the process
// with the fewest under way, and once more to another if that one dies with it. Without
// processes it is nil, of one it is that one. What they say about themselves is put together so
// that it holds for each of them: while one version replaces another, they may differ.
func Pool(lives []*Live) *Live {
	switch len(lives) {
	case 0:
		return nil
	case 1:
		return lives[0]
	}
	p := &pool{}
	out := &Live{Backend: p, Description: lives[0].Description}
	d := &out.Description
	d.Hooks = slices.Clone(d.Hooks)
	for _, l := range lives {
		p.members = append(p.members, &pooled{backend: l.Backend})
		for _, h := range l.Description.Hooks {
			if !slices.Contains(d.Hooks, h) {
				d.Hooks = append(d.Hooks, h)
			}
		}
		d.HoldBack = max(d.HoldBack, l.Description.HoldBack)
		d.HoldAll = d.HoldAll || l.Description.HoldAll
		d.WantsBody = d.WantsBody || l.Description.WantsBody
		d.SDKMinor = min(minorOf(d.SDKMinor), minorOf(l.Description.SDKMinor))
	}
	return out
}

// minorOf takes a side that did not tell its minor for the newest of those that do not.
func minorOf(minor uint32) uint32 {
	if minor == 0 {
		return contract.MinorTold - 1
	}
	return minor
}

// pool asks one of several processes.
type pool struct {
	members []*pooled
	turn    atomic.Uint32 // which of equals comes first
}

// pooled is one of them.
type pooled struct {
	backend Backend
	busy    atomic.Int64 // checks and streams under way
}

// take picks the process with the fewest under way, but not the one that failed; nil: none.
func (p *pool) take(failed *pooled) *pooled {
	var best *pooled
	start := int(p.turn.Add(1))
	for i := range p.members {
		m := p.members[(start+i)%len(p.members)]
		if m != failed && (best == nil || m.busy.Load() < best.busy.Load()) {
			best = m
		}
	}
	return best
}

// Check implements Backend.
func (p *pool) Check(ctx context.Context, q *Check) (Verdict, error) {
	first := p.take(nil)
	v, err := first.check(ctx, q)
	if !errors.Is(err, ErrNotRunning) || ctx.Err() != nil {
		return v, err
	}
	return p.take(first).check(ctx, q)
}

func (m *pooled) check(ctx context.Context, q *Check) (Verdict, error) {
	m.busy.Add(1)
	defer m.busy.Add(-1)
	return m.backend.Check(ctx, q)
}

// OpenStream implements Backend: a stream stays with the process that it began with.
func (p *pool) OpenStream(ctx context.Context, info *Info) (Stream, error) {
	m := p.take(nil)
	s, err := m.backend.OpenStream(ctx, info)
	if errors.Is(err, ErrNotRunning) && ctx.Err() == nil {
		m = p.take(m)
		s, err = m.backend.OpenStream(ctx, info)
	}
	if err != nil {
		return nil, err
	}
	m.busy.Add(1)
	return &pooledStream{Stream: s, of: m}, nil
}

// pooledStream is counted until it is closed.
type pooledStream struct {
	Stream
	of   *pooled
	once sync.Once
}

// Close implements Stream.
func (s *pooledStream) Close() {
	s.once.Do(func() { s.of.busy.Add(-1) })
	s.Stream.Close()
}
