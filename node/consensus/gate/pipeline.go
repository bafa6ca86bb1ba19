package gate

import (
	"sync"

	"github.com/hashicorp/raft"
)

// pipeline is a pipeline behind the gate. It also takes every answer off the inner
// pipeline at once: raft stops reading answers when a follower refuses one or leadership
// ends, and its sender would then wait for ever for room in a pipeline that nobody empties,
// and Shutdown for the sender.
type pipeline struct {
	inner raft.AppendPipeline
	gate  *Gate
	out   chan raft.AppendFuture
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

// newPipeline wraps inner, which it closes.
func newPipeline(inner raft.AppendPipeline, g *Gate) *pipeline {
	p := &pipeline{inner: inner, gate: g, out: make(chan raft.AppendFuture), stop: make(chan struct{})}
	p.wg.Go(p.pump)
	return p
}

// pump moves answers to a queue of its own. There are never more than a few in flight.
func (p *pipeline) pump() {
	var queue []raft.AppendFuture
	for {
		var out chan<- raft.AppendFuture // nil, so never ready, while the queue is empty
		var head raft.AppendFuture
		if len(queue) > 0 {
			out, head = p.out, queue[0]
		}
		select {
		case <-p.stop:
			return
		case f := <-p.inner.Consumer():
			queue = append(queue, f)
		case out <- head:
			queue = queue[1:]
		}
	}
}

// AppendEntries implements raft.AppendPipeline.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.gate.Stalled() {
		return nil, ErrStalled
	}
	fit(args)
	return p.inner.AppendEntries(args, resp)
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.out }

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.stop) })
	err := p.inner.Close()
	p.wg.Wait()
	return err
}
