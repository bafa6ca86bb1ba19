package guardrail

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// catchUp is how long a request waits until the chain has what was changed.
const catchUp = 5 * time.Second

// Current says whether a chain has its members as they were changed last. A request that comes in between
// waits: it would pass a guardrail that an administrator has just been told is there. The zero value is
// one of which nothing was changed. It may be used concurrently.
type Current struct {
	expected, reached atomic.Uint64 // indexes of changes

	mu   sync.Mutex
	news chan struct{} // closed when more is reached; nil: nobody waits
}

// Expect says that guardrails were changed at the index. Requests from now on wait until it is Reached.
func (c *Current) Expect(index uint64) {
	for {
		old := c.expected.Load()
		if index <= old || c.expected.CompareAndSwap(old, index) {
			return
		}
	}
}

// Expected is the index of the newest change.
func (c *Current) Expected() uint64 { return c.expected.Load() }

// Reached says that the members are those that the changes up to the index have made.
func (c *Current) Reached(index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reached.Store(max(index, c.reached.Load()))
	if c.news != nil {
		close(c.news)
		c.news = nil
	}
}

// Wait returns when the members are those that all changes have made, mostly at once. It returns an *llm.Error
// after some seconds in which they are not, or when ctx ends.
func (c *Current) Wait(ctx context.Context) error {
	index := c.expected.Load()
	if c.reached.Load() >= index {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	for {
		c.mu.Lock()
		if c.reached.Load() >= index {
			c.mu.Unlock()
			return nil
		}
		if c.news == nil {
			c.news = make(chan struct{})
		}
		news := c.news
		c.mu.Unlock()
		select {
		case <-news:
		case <-wait.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &llm.Error{
				Kind: llm.Unavailable, Code: "conclave_guardrails_changing", RetryAfter: time.Second,
				Message: "The guardrails of this node are being changed.", Err: wait.Err(),
			}
		}
	}
}
