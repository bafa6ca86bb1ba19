package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
		Values: secret.Kept(n.cfg.DataDir), Port: n.port, Changed: n.identified, Grace: n.cfg.RenewalGrace, Logger: n.log,
	})
}

// oldSeals names the values of this node's environment and file that were sealed under a KEK which was exchanged; "" for none.
func (n *Node) oldSeals() string {
	now := n.identity.kek.ID()
	var names []string
	for name, kek := range n.cfg.SealedUnder {
		if kek != now {
			names = append(names, fmt.Sprintf("%s (%s)", name, kek))
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return "sealed under a KEK that was exchanged, to be sealed again with conclave secret seal: " + strings.Join(names, ", ")
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
