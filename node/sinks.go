package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/resource"
)

const (
	sinksMethod  = "callbacks/ask"
	sinksTimeout = 5 * time.Second  // for all nodes to answer
	testTimeout  = 15 * time.Second // of a test event
)

// What a node is asked of a callback.
const (
	askState   = "state"
	askLetters = "letters"
	askRetry   = "retry"
	askDiscard = "discard"
)

// sinkQuestion is asked of a node about one callback.
type sinkQuestion struct {
	What      string   `json:"what"`
	Callback  string   `json:"callback"` // name
	Positions []uint64 `json:"positions,omitempty"`
}

// sinkAnswer is what a node says.
type sinkAnswer struct {
	State   client.CallbackState `json:"state,omitzero"`
	Letters []client.DeadLetter  `json:"letters,omitempty"`
	Count   int                  `json:"count,omitempty"`
}

// sinks tells the admin API of callbacks as they run.
type sinks struct{ n *Node }

// serveSinks answers another node's question.
func (n *Node) serveSinks(_ context.Context, _ string, body []byte) ([]byte, error) {
	var q sinkQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("read question about a callback: %w", err)
	}
	a, err := n.answerSink(&q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

func (n *Node) answerSink(q *sinkQuestion) (a sinkAnswer, err error) {
	queue, ok := n.plugins.Sink(q.Callback)
	if !ok {
		return a, fmt.Errorf("callback %s is not configured on %s yet", q.Callback, n.cfg.Name)
	}
	switch q.What {
	case askState:
		a.State = client.CallbackState{Node: n.cfg.Name, Mark: queue.Mark(), Last: n.journal.Last(), Dead: len(queue.DeadLetters())}
		for _, s := range n.plugins.Status() {
			if s.Kind == plugins.KindCallback && s.Name == q.Callback {
				a.State.State, a.State.Error, a.State.Restarts, a.State.Output = string(s.State), s.Error, s.Restarts, s.Output
			}
		}
	case askLetters:
		for _, l := range queue.DeadLetters() {
			a.Letters = append(a.Letters, client.DeadLetter{Node: n.cfg.Name, Position: l.Position, RequestID: l.RequestID, Reason: l.Reason, At: l.At})
		}
	case askRetry:
		a.Count = queue.Retry(q.Positions)
	case askDiscard:
		a.Count, err = queue.Discard(q.Positions)
	default:
		err = fmt.Errorf("question %q about a callback is not known", q.What)
	}
	return a, err
}

// ask asks all nodes, or the one with the name or id, in the order of their names.
func (s sinks) ask(ctx context.Context, q sinkQuestion, only string, each func(node string, a *sinkAnswer, err error)) {
	ctx, cancel := context.WithTimeout(ctx, sinksTimeout)
	defer cancel()
	living := slices.DeleteFunc(s.n.living(), func(m *resource.Member) bool { return only != "" && only != m.ID && only != m.Name })
	slices.SortFunc(living, func(a, b *resource.Member) int { return cmp.Compare(a.Name, b.Name) })
	answers, errs := make([]sinkAnswer, len(living)), make([]error, len(living))
	var wg sync.WaitGroup
	for i, m := range living {
		wg.Go(func() { answers[i], errs[i] = s.askOne(ctx, m.ID, &q) })
	}
	wg.Wait()
	for i, m := range living {
		each(m.Name, &answers[i], errs[i])
	}
	if len(living) == 0 {
		each(only, &sinkAnswer{}, fmt.Errorf("there is no node %q", only))
	}
}

func (s sinks) askOne(ctx context.Context, id string, q *sinkQuestion) (a sinkAnswer, err error) {
	if id == s.n.identity.NodeID {
		return s.n.answerSink(q)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	if body, err = s.n.consensus.Call(ctx, id, sinksMethod, body); err != nil {
		return a, err
	}
	return a, json.Unmarshal(body, &a)
}

// Test implements adminapi.Callbacks.
func (s sinks) Test(ctx context.Context, c *resource.Callback) client.CallbackTested {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	out := client.CallbackTested{Callback: c.Name, Node: s.n.cfg.Name}
	if err := s.n.plugins.TestSink(ctx, c.Name, s.n.identity.NodeID); err != nil {
		out.Error, out.Reason = err.Error(), whyUntested(err)
		return out
	}
	out.OK = true
	return out
}

// whyUntested is the reason of a test event that a sink did not take.
func whyUntested(err error) string {
	if _, refused := errors.AsType[*callback.Refused](err); refused {
		return client.CallbackRefused
	}
	switch {
	case errors.Is(err, callback.ErrNotRunning):
		return client.CallbackNotRunning
	case errors.Is(err, callback.ErrDenied):
		return client.CallbackCredentials
	}
	return client.CallbackFailed
}

// States implements adminapi.Callbacks.
func (s sinks) States(ctx context.Context, c *resource.Callback) (all []client.CallbackState) {
	s.ask(ctx, sinkQuestion{What: askState, Callback: c.Name}, "", func(node string, a *sinkAnswer, err error) {
		if err != nil {
			a.State = client.CallbackState{Node: node, Error: err.Error()}
		}
		all = append(all, a.State)
	})
	return all
}

// DeadLetters implements adminapi.Callbacks.
func (s sinks) DeadLetters(ctx context.Context, c *resource.Callback) client.DeadLetters {
	out := client.DeadLetters{Items: []client.DeadLetter{}}
	s.ask(ctx, sinkQuestion{What: askLetters, Callback: c.Name}, "", func(node string, a *sinkAnswer, err error) {
		out.Items = append(out.Items, a.Letters...)
		if err != nil {
			out.Errors = append(out.Errors, node+": "+err.Error())
		}
	})
	return out
}

// Retry implements adminapi.Callbacks.
func (s sinks) Retry(ctx context.Context, c *resource.Callback, chosen client.DeadLettersChosen) client.DeadLettersDone {
	return s.do(ctx, askRetry, c, &chosen)
}

// Discard implements adminapi.Callbacks.
func (s sinks) Discard(ctx context.Context, c *resource.Callback, chosen client.DeadLettersChosen) client.DeadLettersDone {
	return s.do(ctx, askDiscard, c, &chosen)
}

func (s sinks) do(ctx context.Context, what string, c *resource.Callback, chosen *client.DeadLettersChosen) (out client.DeadLettersDone) {
	q := sinkQuestion{What: what, Callback: c.Name, Positions: chosen.Positions}
	s.ask(ctx, q, chosen.Node, func(node string, a *sinkAnswer, err error) {
		out.Count += a.Count
		if err != nil {
			out.Errors = append(out.Errors, node+": "+err.Error())
		}
	})
	return out
}
