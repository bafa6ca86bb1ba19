// Package progress is where in the log the state stands: its position, the state hash after
// each of the last entries, and those who wait for an entry.
package progress

import (
	"context"
	"fmt"
	"sync"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
)

// markCount is how many indexes back a peer's state hash can be compared.
const markCount = 8192

// Mark is the state hash after one entry.
type Mark struct {
	Index uint64
	Hash  frame.Hash
}

// Progress is safe for concurrent use.
type Progress struct {
	mu      sync.Mutex // guards all below
	pos     store.Position
	marks   []Mark        // ring, by index modulo its length
	waiters chan struct{} // closed when pos moves on
}

// New makes the progress of an empty state.
func New() *Progress {
	return &Progress{marks: make([]Mark, markCount), waiters: make(chan struct{})}
}

// Position is where the state stands.
func (p *Progress) Position() store.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pos
}

// Begin is Move to a state that was read as a whole: what the marks tell is of another one.
func (p *Progress) Begin(pos store.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.marks)
	p.moveLocked(pos, []Mark{{Index: pos.Index, Hash: pos.Hash}})
}

// Move moves the state on, over the marks, and wakes who waits.
func (p *Progress) Move(pos store.Position, marks []Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moveLocked(pos, marks)
}

func (p *Progress) moveLocked(pos store.Position, marks []Mark) {
	p.pos = pos
	for _, m := range marks {
		p.marks[m.Index%markCount] = m
	}
	close(p.waiters)
	p.waiters = make(chan struct{})
}

// HashAt returns the state hash after an entry applied not long ago.
func (p *Progress) HashAt(index uint64) ([16]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.marks[index%markCount]
	return m.Hash.Bytes(), m.Index == index && index != 0
}

// Marks are the state hashes after the last entries applied since the start, oldest first.
func (p *Progress) Marks() []Mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Mark, 0, markCount)
	for i := range uint64(markCount) {
		if m := p.marks[(p.pos.Index+1+i)%markCount]; m.Index != 0 && m.Index+markCount > p.pos.Index { // an entry without a command leaves an old one
			out = append(out, m)
		}
	}
	return out
}

// Wait waits until the state has reached the index, or for ctx.
func (p *Progress) Wait(ctx context.Context, index uint64) error {
	for {
		p.mu.Lock()
		now, moved := p.pos.Index, p.waiters
		p.mu.Unlock()
		if now >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for entry %d: %w", index, ctx.Err())
		}
	}
}
