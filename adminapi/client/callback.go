package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// CallbackState is a callback as it runs on one node.
type CallbackState struct {
	Node     string   `json:"node"`
	State    string   `json:"state,omitempty"` // running, starting, backoff, open, stopped
	Error    string   `json:"error,omitempty"` // the last one, or why the node did not answer
	Mark     uint64   `json:"mark"`            // everything before this position of the node's journal is in the sink
	Last     uint64   `json:"last"`            // newest position of the node's journal
	Dead     int      `json:"dead_letters"`    // records that the sink refused for good
	Restarts int      `json:"restarts"`
	Output   []string `json:"output,omitempty"` // the last lines that the plugin wrote
}

// CallbackStates are those of all nodes.
type CallbackStates struct {
	Items []CallbackState `json:"items"`
}

// DeadLetter is a record that a sink refused for good.
type DeadLetter struct {
	Node      string    `json:"node"`
	Position  uint64    `json:"position"` // in the node's journal
	RequestID string    `json:"request_id"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
}

// DeadLetters are those of all nodes.
type DeadLetters struct {
	Items  []DeadLetter `json:"items"`
	Errors []string     `json:"errors,omitempty"` // nodes that did not answer, and why
}

// DeadLettersChosen are the dead letters that something is done with.
type DeadLettersChosen struct {
	Node      string   `json:"node,omitempty" doc:"name or id; default: all nodes"`
	Positions []uint64 `json:"positions,omitempty" doc:"default: all"`
}

// DeadLettersDone says with how many something was done.
type DeadLettersDone struct {
	Count  int      `json:"count"`
	Errors []string `json:"errors,omitempty"` // nodes that did not answer, and why
}

// RedeliverFrom says from when on a callback is told again.
type RedeliverFrom struct {
	From string `json:"from" doc:"time in RFC 3339, or how long ago: 36h, 7d"`
}

// CallbackTested says what became of a test event.
type CallbackTested struct {
	Callback string `json:"callback"`
	Node     string `json:"node"` // that asked its process
	OK       bool   `json:"ok"`
	Error    string `json:"error,omitempty"`
	Reason   string `json:"reason,omitempty"` // of the error: not_running, credentials (the sink does not accept them), refused (the event, for good), failed
}

// The reasons of a CallbackTested.
const (
	CallbackNotRunning  = "not_running"
	CallbackCredentials = "credentials"
	CallbackRefused     = "refused"
	CallbackFailed      = "failed"
)

func (c *Client) callback(ctx context.Context, method, ref, what string, in, out any) error {
	return c.do(ctx, method, "callbacks/"+url.PathEscape(ref)+"/"+what, nil, in, out)
}

// CallbackStates tells how the callback runs on each node.
func (c *Client) CallbackStates(ctx context.Context, ref string) (out CallbackStates, err error) {
	return out, c.callback(ctx, http.MethodGet, ref, "state", nil, &out)
}

// TestCallback sends a test event to the callback's sink, from the node that answers.
func (c *Client) TestCallback(ctx context.Context, ref string) (out CallbackTested, err error) {
	return out, c.callback(ctx, http.MethodPost, ref, "test", nil, &out)
}

// DeadLetters are the records that the callback's sink refused for good.
func (c *Client) DeadLetters(ctx context.Context, ref string) (out DeadLetters, err error) {
	return out, c.callback(ctx, http.MethodGet, ref, "dead-letters", nil, &out)
}

// RetryDeadLetters brings dead letters to the sink again.
func (c *Client) RetryDeadLetters(ctx context.Context, ref string, chosen DeadLettersChosen) (out DeadLettersDone, err error) {
	return out, c.callback(ctx, http.MethodPost, ref, "dead-letters/retry", chosen, &out)
}

// DiscardDeadLetters forgets dead letters.
func (c *Client) DiscardDeadLetters(ctx context.Context, ref string, chosen DeadLettersChosen) (out DeadLettersDone, err error) {
	return out, c.callback(ctx, http.MethodPost, ref, "dead-letters/discard", chosen, &out)
}

// Redeliver has every node tell the callback again of what began at a time or later.
func (c *Client) Redeliver(ctx context.Context, ref string, from RedeliverFrom) (out Callback, err error) {
	return out, c.callback(ctx, http.MethodPost, ref, "redeliver", from, &out)
}
