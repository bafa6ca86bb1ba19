package drain

import (
	"context"
	"sync"
)

// Stop ends what lives longer than a request when a node stops: sessions, and work that nobody
// waits for. It may be used concurrently.
type Stop struct {
	stopping chan struct{}
	ctx      context.Context //nolint:containedctx // the node's: ends what has not ended in time
	cancel   context.CancelFunc

	mu    sync.Mutex // guards what follows
	ended bool
	live  sync.WaitGroup
}

// NewStop makes a Stop.
func NewStop() *Stop {
	s := &Stop{stopping: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Enter begins something that is waited for; it calls leave when it has ended. false: the node
// stops, and nothing may begin.
func (s *Stop) Enter() (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, false
	}
	s.live.Add(1)
	return sync.OnceFunc(s.live.Done), true
}

// Stopping is closed when nothing new is to begin.
func (s *Stop) Stopping() <-chan struct{} { return s.stopping }

// Context ends when what still lives must end at once.
func (s *Stop) Context() context.Context { return s.ctx }

// Wait says that the node stops and waits until all has ended. When ctx ends it cuts off what is
// left, and waits for that.
func (s *Stop) Wait(ctx context.Context) {
	s.mu.Lock()
	if !s.ended {
		s.ended = true
		close(s.stopping)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.live.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.cancel()
	<-done
}
