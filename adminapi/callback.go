package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Callbacks asks the callbacks as they run.
type Callbacks interface {
	// Test sends a test event through the process on this node.
	Test(ctx context.Context, c *resource.Callback) client.CallbackTested
	// States tells how the callback runs on each node.
	States(ctx context.Context, c *resource.Callback) []client.CallbackState
	// DeadLetters are those of all nodes.
	DeadLetters(ctx context.Context, c *resource.Callback) client.DeadLetters
	// Retry and Discard say with how many of the chosen ones it was done.
	Retry(ctx context.Context, c *resource.Callback, chosen client.DeadLettersChosen) client.DeadLettersDone
	Discard(ctx context.Context, c *resource.Callback, chosen client.DeadLettersChosen) client.DeadLettersDone
}

type chosenInput struct {
	ID   string `path:"id" doc:"id or name"`
	Body client.DeadLettersChosen
}

type redeliverInput struct {
	ID   string `path:"id" doc:"id or name"`
	Body client.RedeliverFrom
}

// registerCallbacks registers what is asked of callbacks beside their records.
func (s *Server) registerCallbacks() {
	register(s, "get-callback-state", http.MethodGet, "/callbacks/{id}/state", "How a callback runs on each node",
		func(ctx context.Context, in *RefInput) (*bodyOutput[client.CallbackStates], error) {
			return askCallback(s, ctx, in.Ref, func(c *resource.Callback) client.CallbackStates {
				return client.CallbackStates{Items: s.cfg.Callbacks.States(ctx, c)}
			})
		})
	register(s, "test-callback", http.MethodPost, "/callbacks/{id}/test", "Send a test event through a callback, from the node that answers",
		func(ctx context.Context, in *RefInput) (*bodyOutput[client.CallbackTested], error) {
			return askCallback(s, ctx, in.Ref, func(c *resource.Callback) client.CallbackTested { return s.cfg.Callbacks.Test(ctx, c) })
		})
	register(s, "list-dead-letters", http.MethodGet, "/callbacks/{id}/dead-letters", "List the records that a callback's sink refused for good, of all nodes",
		func(ctx context.Context, in *RefInput) (*bodyOutput[client.DeadLetters], error) {
			return askCallback(s, ctx, in.Ref, func(c *resource.Callback) client.DeadLetters { return s.cfg.Callbacks.DeadLetters(ctx, c) })
		})
	register(s, "retry-dead-letters", http.MethodPost, "/callbacks/{id}/dead-letters/retry", "Bring dead letters to the sink again",
		func(ctx context.Context, in *chosenInput) (*bodyOutput[client.DeadLettersDone], error) {
			return askCallback(s, ctx, in.ID, func(c *resource.Callback) client.DeadLettersDone { return s.cfg.Callbacks.Retry(ctx, c, in.Body) })
		})
	register(s, "discard-dead-letters", http.MethodPost, "/callbacks/{id}/dead-letters/discard", "Forget dead letters",
		func(ctx context.Context, in *chosenInput) (*bodyOutput[client.DeadLettersDone], error) {
			return askCallback(s, ctx, in.ID, func(c *resource.Callback) client.DeadLettersDone { return s.cfg.Callbacks.Discard(ctx, c, in.Body) })
		})
	register(s, "redeliver-callback", http.MethodPost, "/callbacks/{id}/redeliver", "Tell a callback again of the requests since a time, on every node",
		s.redeliver)
}

// askCallback answers what ask says of the callback.
func askCallback[T any](s *Server, ctx context.Context, ref string, ask func(c *resource.Callback) T) (*bodyOutput[T], error) {
	c, err := s.rs.Callbacks.One(callerOf(ctx), ref)
	if err != nil {
		return nil, s.problem(err)
	}
	if s.cfg.Callbacks == nil {
		return nil, s.problem(&llm.Error{Kind: llm.Unavailable, Message: "No callback runs on this node."})
	}
	return &bodyOutput[T]{ask(c)}, nil
}

// redeliver writes the order into the record, where every node finds it, one that is down too.
func (s *Server) redeliver(ctx context.Context, in *redeliverInput) (*recordOutput[client.Callback], error) {
	now := s.cfg.Now()
	from, err := sinceOf(in.Body.From, now)
	if err != nil {
		return nil, s.problem(err)
	}
	doc := records.Document{}
	if err := doc.Set("redelivery", resource.Redelivery{From: resource.At(from), Asked: resource.At(now)}); err != nil {
		return nil, s.problem(err)
	}
	c, wr, err := s.rs.Callbacks.Patch(ctx, callerOf(ctx), in.ID, 0, doc)
	if err != nil {
		return nil, s.problem(err)
	}
	return answer(s, callbackView, c, wr, nil)
}

func sinceOf(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil && !at.After(now) {
		return at, nil
	}
	if ago, err := resource.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, &resource.Invalid{Field: "from", Reason: "is neither a past time such as 2026-03-01T12:00:00Z nor a duration such as 36h"}
}

// testCallback is what sends test events; nil: no callback runs on this node.
func (s *Server) testCallback() func(ctx context.Context, c *resource.Callback) client.CallbackTested {
	if s.cfg.Callbacks == nil {
		return nil
	}
	return s.cfg.Callbacks.Test
}
