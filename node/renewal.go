package node

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/renewal"
	"github.com/conclave-llm/conclave/secret"
)

// The wait for the KEK of a cluster whose KEK was exchanged while this node was away.
const (
	kekWait  = 30 * time.Second
	kekPause = 200 * time.Millisecond
)

// startRenewal makes what exchanges the cluster's own keys.
func (n *Node) startRenewal() {
	id := n.identity
	n.renewal = renewal.New(renewal.Config{
		NodeID: id.NodeID, State: n.state, Cluster: n.consensus, Identity: id.Identity, Ring: id.kek, Files: id.files, Keys: n.keys,
		Port: n.port, Changed: n.identified, Grace: n.cfg.RenewalGrace, Logger: n.log,
	})
}

// openDEKs opens the data keys. One that this node's KEK does not open may be sealed under a KEK
// that another node has, or may be from a state that is still being rebuilt.
func (n *Node) openDEKs(ctx context.Context, info fsm.ClusterInfo) error {
	ctx, cancel := context.WithTimeout(ctx, kekWait)
	defer cancel()
	for {
		err := n.renewal.OpenDEKs(&info)
		if !errors.Is(err, secret.ErrWrongKey) {
			return err
		}
		ready := n.consensus.Ready()
		_, had := n.identity.kek.Find(info.KEKID)
		fetched := n.renewal.Fetch(ctx, info.KEKID)
		if had || ctx.Err() != nil || ready && fetched != nil {
			return refuse("%w", errors.Join(err, fetched))
		}
		select {
		case <-ctx.Done():
		case <-time.After(kekPause):
		}
		if now, ok := n.state.Cluster(); ok {
			info = now
		}
	}
}
