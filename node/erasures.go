package node

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/erasure"
	"github.com/conclave-llm/conclave/resource"
)

// startErasures begins to forget people, which comes before serving.
func (n *Node) startErasures(context.Context) error {
	r := erasure.New(erasure.Config{
		NodeID: n.identity.NodeID, State: n.state, Propose: n.proposeOwn, Flush: n.flushTicks, CaughtUp: n.money.opened.Load,
		Member: n.isMember, Rows: n.rows, Journal: n.journal, Contents: n.contents, Erasers: []erasure.Eraser{keptOf{n.turns}, keptOf{n.artifacts}}, Logger: n.log,
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

// keptOf erases what a store keeps of a person: the stored turns, the files and batches.
type keptOf struct {
	store interface {
		Erase(ctx context.Context, whose resource.Owners) (int, error)
	}
}

// EraseOf implements erasure.Eraser.
func (k keptOf) EraseOf(ctx context.Context, kind, id string) (int, error) {
	return k.store.Erase(ctx, ownedBy(kind, id))
}

func ownedBy(kind, id string) resource.Owners {
	if kind == resource.HolderUser {
		return resource.Owners{UserID: id}
	}
	return resource.Owners{CustomerID: id}
}
