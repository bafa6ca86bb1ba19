package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Kinds of actors.
const (
	actorMaster = "master"
	actorKey    = "key"
	actorNode   = "node"
	actorFile   = "file"
)

// ClusterInfo is the identity of the cluster and its secrets, as sealed.
type ClusterInfo = memory.ClusterInfo

// WrappedDEK is a data key, wrapped by the KEK that KEKID names.
type WrappedDEK = memory.WrappedDEK

// authorize checks the actor's credential as it is in this state, not as the proposer saw
// it: a revoked admin must not act through a node that lags.
func (tx *Tx) authorize(r *row) error {
	a := tx.Actor
	switch a.Kind {
	case actorMaster, actorFile:
		if r.who&byAdmin != 0 {
			return nil
		}
	case actorNode:
		if r.who&byNode != 0 {
			return tx.checkNode(a.ID)
		}
	case actorKey:
		if r.who&byAdmin != 0 {
			return tx.checkKey(a)
		}
	}
	return fmt.Errorf("%s by %s: %w", r.name, actorName(a), resource.ErrForbidden)
}

func (tx *Tx) checkKey(a Actor) error {
	k, _, ok := load[resource.Key](tx, store.Keys, a.ID)
	switch {
	case !ok, k.Blocked, k.ExpiredAt(tx.Now), k.Version != a.Version:
		return fmt.Errorf("key %q was revoked or changed: %w", a.ID, resource.ErrForbidden)
	case k.TeamID != "":
		if f, ok := tx.get(store.Teams, []byte(k.TeamID)); !ok || f.Flags&frame.FlagBlocked != 0 {
			return fmt.Errorf("team of key %q is blocked: %w", a.ID, resource.ErrForbidden)
		}
	}
	if kind := tx.lapsed(k); kind != "" {
		return fmt.Errorf("%s of key %q has expired: %w", kind, a.ID, resource.ErrForbidden)
	}
	if k.Role == resource.RoleAdmin {
		return nil
	}
	return tx.personOf(k)
}

// checkNode refuses a removed member. One that is not there yet may register itself.
func (tx *Tx) checkNode(id string) error {
	if n, ok := tx.node(id); ok && n.Removed {
		return fmt.Errorf("node %q was removed: %w", id, resource.ErrForbidden)
	}
	return nil
}

func (tx *Tx) cluster() (*ClusterInfo, bool) {
	f, ok := tx.get(store.Cluster, memory.InfoKey)
	if !ok {
		return nil, false
	}
	info := new(ClusterInfo)
	if err := codec.Unmarshal(f.Payload, info); err != nil {
		overlay.Fail(err)
	}
	return info, true
}

func (tx *Tx) fsmVersion() uint32 {
	f, ok := tx.get(store.Cluster, memory.VersionKey)
	if !ok || len(f.Payload) != 4 {
		return 1
	}
	return binary.BigEndian.Uint32(f.Payload)
}

// Apply implements Command.
func (c Bootstrap) Apply(tx *Tx) error {
	if _, ok := tx.cluster(); ok {
		return fmt.Errorf("bootstrap: there is a cluster: %w", resource.ErrRefused)
	}
	if c.ClusterID == "" || len(c.ClusterID) > store.MaxClusterID {
		return &resource.Invalid{Field: "cluster_id", Reason: fmt.Sprintf("has 1 to %d bytes", store.MaxClusterID)}
	}
	info := ClusterInfo{
		ClusterID: c.ClusterID, MasterHash: c.MasterHash, CACert: c.CACert, CAKey: c.CAKey,
		GossipKey: c.GossipKey, KEKID: c.KEKID,
		DEKs: []WrappedDEK{{ID: c.DEKID, KEKID: c.KEKID, Blob: c.DEK}},
	}
	tx.putCluster(&info)
	if c.Version > 1 {
		tx.setVersion(c.Version)
	}
	return nil
}

// Apply implements Command.
func (c OpenEpoch) Apply(tx *Tx) error {
	n, err := tx.own(c.Node)
	if err != nil {
		return err
	}
	if c.After != 0 && c.After != n.Epoch {
		return fmt.Errorf("node %q is in epoch %d, and not in %d: %w", c.Node, n.Epoch, c.After, resource.ErrConflict)
	}
	n.Start(tx.Index, tx.b.pos.Generation, c.Life)
	tx.putNode(c.Node, n)
	tx.epoch = true
	return nil
}

// Apply implements Command.
func (c CloseEpoch) Apply(tx *Tx) error {
	n, err := tx.own(c.Node)
	if err != nil {
		return err
	}
	if n.OldEpoch(c.Epoch) == nil {
		return fmt.Errorf("epoch %d of node %q: %w", c.Epoch, c.Node, resource.ErrNotFound)
	}
	if c.By != 0 && c.By != n.Epoch { // since then a backup was restored that lacks what was settled
		return fmt.Errorf("epoch %d of node %q was settled by epoch %d, and %d runs: %w", c.Epoch, c.Node, c.By, n.Epoch, resource.ErrConflict)
	}
	if c.Whole {
		n.Drop(c.Epoch, tx.b.pos.Generation)
	} else {
		n.Keep(c.Epoch, tx.b.pos.Generation)
	}
	tx.putNode(c.Node, n)
	tx.epoch = true
	return nil
}

// own returns the state of a node that speaks for itself.
func (tx *Tx) own(id string) (*money.Node, error) {
	if tx.Actor.ID != id {
		return nil, fmt.Errorf("epoch of node %q by node %q: %w", id, tx.Actor.ID, resource.ErrForbidden)
	}
	n, ok := tx.node(id)
	if !ok {
		return nil, fmt.Errorf("node %q is not registered: %w", id, resource.ErrForbidden)
	}
	return n, nil
}
