package consensus

import (
	"crypto/rand"
	"fmt"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// What the KEK wraps beside the data keys, as Keeper's purposes.
const (
	PurposeCA     = "ca"
	PurposeGossip = "gossip"
)

// Founding is a new cluster that no node runs yet.
type Founding struct {
	Bootstrap fsm.Bootstrap // the first entry: for Config.Bootstrap
	GossipKey []byte

	ca     *transport.CA
	sealed transport.Sealed
}

// Found makes the identity and the secrets of a new cluster. masterHash is of the master
// key, zero for none; dek is a data key that keeper has wrapped already, under dekID.
func Found(keeper Keeper, masterHash resource.Hash, dekID string, dek []byte) (*Founding, error) {
	clusterID, err := transport.NewClusterID()
	if err != nil {
		return nil, err
	}
	ca, err := transport.NewCA(clusterID)
	if err != nil {
		return nil, err
	}
	key, err := ca.Key()
	if err != nil {
		return nil, err
	}
	f := &Founding{ca: ca, GossipKey: make([]byte, 32)}
	if _, err := rand.Read(f.GossipKey); err != nil {
		return nil, fmt.Errorf("make gossip key: %w", err)
	}
	if f.sealed.CAKey, err = keeper.Wrap(key, PurposeCA); err != nil {
		return nil, fmt.Errorf("seal CA key: %w", err)
	}
	if f.sealed.GossipKey, err = keeper.Wrap(f.GossipKey, PurposeGossip); err != nil {
		return nil, fmt.Errorf("seal gossip key: %w", err)
	}
	f.Bootstrap = fsm.Bootstrap{
		ClusterID: clusterID, MasterHash: masterHash, CACert: ca.Certificate(),
		CAKey: f.sealed.CAKey, GossipKey: f.sealed.GossipKey,
		DEKID: dekID, DEK: dek, KEKID: keeper.ID(), Version: fsm.Version,
	}
	return f, nil
}

// Identity makes the identity of one of the cluster's first nodes; it is not saved.
func (f *Founding) Identity(nodeID string) (*transport.Identity, error) {
	return f.ca.Issue(nodeID, f.sealed)
}

// GossipKey opens the gossip key that a node keeps with its identity.
func GossipKey(id *transport.Identity, keeper Keeper) ([]byte, error) {
	return keeper.Unwrap(id.Material().Sealed.GossipKey, PurposeGossip)
}
