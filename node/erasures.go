package node

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/erasure"
)

// startErasures begins to forget people, which comes before serving.
func (n *Node) startErasures(context.Context) error {
	r := erasure.New(erasure.Config{
		NodeID: n.identity.NodeID, State: n.state, Propose: n.proposeOwn, Flush: n.flushTicks, CaughtUp: n.money.opened.Load,
		Member: n.isMember, Rows: n.rows, Journal: n.journal, Contents: n.contents, Erasers: n.erasers, Logger: n.log,
	})
	n.erasures.Store(r)
	n.consensus.Handle(requestlog.Method, func(ctx context.Context, from string, body []byte) ([]byte, error) {
		if r.Blocked() {
			return nil, errErasing
		}
		return n.all.Serve(ctx, from, body)
	})
	n.wg.Go(func() { r.Run(n.ctx) })
	return nil
}

var errErasing = errors.New("the node forgets people who were erased while it was down")

func (n *Node) flushTicks(ctx context.Context) error {
	if !n.money.opened.Load() {
		return errors.New("the node has no epoch yet")
	}
	return n.money.ticker.Flush(ctx)
}

// erasing returns an error while people must be forgotten before anything is served.
func (n *Node) erasing() error {
	if r := n.erasures.Load(); r != nil && r.Blocked() {
		return &llm.Error{Kind: llm.Unavailable, Code: "erasing", Message: "This node " + errErasing.Error()[len("the node "):] + ". Ask another node.", RetryAfter: time.Second}
	}
	return nil
}
