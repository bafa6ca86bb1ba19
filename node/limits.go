package node

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/conclave-llm/conclave/proxy/ratelimit"
)

const (
	methodLimit = "limit"         // the question what a node has left of a limit
	dirLimits   = "limits"        // what was admitted in the last minutes, for the next start
	lateAtMost  = 5 * time.Second // for an answer that no request waits for any more
)

// limitPeers carries what the nodes' limiters tell each other: frames over quota streams,
// questions over RPC.
type limitPeers struct{ n *Node }

// Send implements ratelimit.Peers.
func (p limitPeers) Send(node string, frame []byte) {
	if q := p.n.quota; q != nil {
		q.Send(node, frame)
	}
}

// Ask implements ratelimit.Peers.
func (p limitPeers) Ask(ctx context.Context, node string, question []byte, late func([]byte)) ([]byte, error) {
	type reply struct {
		answer []byte
		err    error
	}
	came := make(chan reply)
	go func() {
		patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateAtMost)
		defer cancel()
		b, err := p.n.consensus.Call(patient, node, methodLimit, question)
		select {
		case came <- reply{b, err}:
		case <-ctx.Done():
			if err == nil {
				late(b)
			}
		}
	}()
	select {
	case r := <-came:
		return r.answer, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startLimits begins to count limits together with the other nodes.
func (n *Node) startLimits() error {
	tape, err := ratelimit.OpenTape(filepath.Join(n.cfg.DataDir, dirLimits))
	if err != nil {
		return fmt.Errorf("open tape of the limits: %w", err)
	}
	n.tape = tape
	n.limits = ratelimit.New(ratelimit.Config{
		NodeID: n.identity.NodeID, Members: n.memberIDs, Peers: limitPeers{n}, Tape: tape, Registerer: n.registry,
	})
	n.consensus.Handle(methodLimit, func(_ context.Context, peer string, question []byte) ([]byte, error) {
		return n.limits.Answer(peer, question)
	})
	n.quota = startQuota(n.port, n.address, func(from string, frame []byte) {
		if err := n.limits.Receive(from, frame); err != nil {
			n.log.Warn("frame of the limits is unreadable", "peer", from, "error", err)
		}
	}, n.log)
	n.limits.Start()
	return nil
}

// memberIDs are the ids of all members, this node's too.
func (n *Node) memberIDs() []string {
	var out []string
	for _, m := range n.living() {
		out = append(out, m.ID)
	}
	return out
}
