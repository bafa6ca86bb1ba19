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
// with the fewest under way, and to the others in turn while those that had it are dead. Without
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
		d.WantsCaller = d.WantsCaller || l.Description.WantsCaller
		d.WantsRequest = d.WantsRequest || l.Description.WantsRequest
		for _, name := range l.Description.WantsHeaders {
			if !slices.Contains(d.WantsHeaders, name) {
				d.WantsHeaders = append(slices.Clip(d.WantsHeaders), name)
			}
		}
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

// take picks the process with the fewest under way of those that have not failed; nil: none.
func (p *pool) take(failed []*pooled) *pooled {
	var best *pooled
	start := int(p.turn.Add(1))
	for i := range p.members {
		m := p.members[(start+i)%len(p.members)]
		if !slices.Contains(failed, m) && (best == nil || m.busy.Load() < best.busy.Load()) {
			best = m
		}
	}
	return best
}

// Check implements Backend.
func (p *pool) Check(ctx context.Context, q *Check) (v Verdict, err error) {
	err = p.each(ctx, func(m *pooled) error {
		v, err = m.check(ctx, q)
		return err
	})
	return v, err
}

// each asks one process after the other, until one that is not dead has answered.
func (p *pool) each(ctx context.Context, ask func(*pooled) error) (err error) {
	var dead []*pooled
	for m := p.take(nil); m != nil; m = p.take(dead) {
		if err = ask(m); !errors.Is(err, ErrNotRunning) || ctx.Err() != nil {
			return err
		}
		dead = append(dead, m)
	}
	return err
}

func (m *pooled) check(ctx context.Context, q *Check) (Verdict, error) {
	m.busy.Add(1)
	defer m.busy.Add(-1)
	return m.backend.Check(ctx, q)
}

// OpenStream implements Backend: a stream stays with the process that it began with.
func (p *pool) OpenStream(ctx context.Context, info *Info) (s Stream, err error) {
	err = p.each(ctx, func(m *pooled) error {
		opened, err := m.backend.OpenStream(ctx, info)
		if err == nil {
			m.busy.Add(1)
			s = &pooledStream{Stream: opened, of: m}
		}
		return err
	})
	return s, err
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
