package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// maxQuestions bounds the questions that a plugin works on at a time; the session is not read while
// all are taken.
const maxQuestions = 256

// Question is a host's message, which has an id.
type Question[Q any] interface {
	*Q
	GetId() uint64
}

// Handler is what a plugin's side does with messages.
type Handler[Q, P any] struct {
	// GivenUp says that the message takes back the question with its id.
	GivenUp func(*Q) bool
	// Answer works on one question and returns the message that answers it. ctx ends when nobody waits
	// any more.
	Answer func(ctx context.Context, q *Q) *P
	// Failed makes the answer to a question whose Answer has panicked.
	Failed func(id uint64, text string) *P
}

// Serve serves the plugin's side of a session until it ends.
func Serve[Q, P any, M Question[Q]](rpc grpc.BidiStreamingServer[Q, P], h Handler[Q, P]) error {
	ctx, cancel := context.WithCancel(rpc.Context())
	s := &served[Q, P, M]{rpc: rpc, h: h, slots: make(chan struct{}, maxQuestions), under: make(map[uint64]context.CancelFunc)}
	defer s.wg.Wait()
	defer cancel()
	for {
		q, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.GivenUp(q) {
			s.end(M(q).GetId())
			continue
		}
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.begin(ctx, q)
	}
}

// served is a session on the plugin's side.
type served[Q, P any, M Question[Q]] struct {
	rpc   grpc.BidiStreamingServer[Q, P]
	h     Handler[Q, P]
	slots chan struct{}
	wg    sync.WaitGroup

	sending sync.Mutex // serializes rpc.Send

	mu    sync.Mutex // guards what follows
	under map[uint64]context.CancelFunc
}

func (s *served[Q, P, M]) begin(ctx context.Context, q *Q) {
	id := M(q).GetId()
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.under[id] = cancel
	s.mu.Unlock()
	s.wg.Go(func() {
		defer func() {
			<-s.slots
			s.end(id)
		}()
		a := s.answer(ctx, id, q)
		s.sending.Lock()
		defer s.sending.Unlock()
		_ = s.rpc.Send(a) // a broken session ends in Recv
	})
}

// answer asks the handler; its panic is an answer, too.
func (s *served[Q, P, M]) answer(ctx context.Context, id uint64, q *Q) (a *P) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", r, debug.Stack())
			a = s.h.Failed(id, fmt.Sprintf("panic: %v", r))
		}
	}()
	return s.h.Answer(ctx, q)
}

func (s *served[Q, P, M]) end(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel, ok := s.under[id]; ok {
		cancel()
		delete(s.under, id)
	}
}

// Within bounds ctx by a deadline in milliseconds, 0 for none.
func Within(ctx context.Context, ms uint32) (context.Context, context.CancelFunc) {
	if ms == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
}

// Remaining is the time until the context's deadline in milliseconds, at least 1; 0 without one.
func Remaining(ctx context.Context) uint32 {
	at, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return uint32(max(1, time.Until(at).Milliseconds()))
}
