package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/relation"
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
	b, err := codec.Marshal(info)
	if err != nil {
		overlay.Fail(err)
	}
	tx.put(store.Cluster, memory.InfoKey, b)
	return nil
}

// Apply implements Command. It also forgets tokens that have expired.
func (c PutJoinToken) Apply(tx *Tx) error {
	if c.Expires <= tx.Now {
		return &resource.Invalid{Field: "expires", Reason: "is not in the future"}
	}
	for _, k := range tx.scan(store.Tokens, nil) {
		if f, ok := tx.get(store.Tokens, k); ok && tokenExpiry(f) <= tx.Now {
			tx.delete(store.Tokens, k)
		}
	}
	tx.put(store.Tokens, c.Hash[:], binary.BigEndian.AppendUint64(nil, uint64(c.Expires)))
	tx.note("join_token", c.Hash.String()[:8], "", 0, nil, nil)
	return nil
}

func tokenExpiry(f frame.Value) resource.Time {
	if len(f.Payload) != 8 {
		overlay.Fail(fmt.Errorf("join token of %d bytes: %w", len(f.Payload), frame.ErrDamaged))
	}
	return resource.Time(binary.BigEndian.Uint64(f.Payload))
}

// Apply implements Command.
func (c RegisterMember) Apply(tx *Tx) error {
	m := c.Member
	id := m.ID
	if err := m.Validate(); err != nil {
		return err
	}
	if !relation.ValidID(store.Members, id) {
		return &resource.Invalid{Field: "id", Reason: "an id has 1 to 128 bytes and no slash"}
	}
	if c.Member.Removed {
		return &resource.Invalid{Field: "removed", Reason: "is for RemoveMember to set"}
	}
	old, f, known := load[resource.Member](tx, store.Members, id)
	var before resource.Record
	switch {
	case known && old.Removed:
		return refuse(store.Members, id, resource.ErrDead)
	case known:
		before = old
	default:
		if err := tx.admit(c); err != nil {
			return err
		}
		tx.putNode(id, &money.Node{Ordinal: tx.allNodes().NextOrdinal(), Generation: tx.b.pos.Generation})
	}
	if err := tx.moveName(store.Members, id, before, &m); err != nil {
		return err
	}
	tx.storeMember(&m)
	tx.raiseVersion()
	tx.note("member", id, m.Name, f.Version, nil, nil)
	return nil
}

// admit consumes a new member's token. Without a token a member may come while the table
// is empty, or register itself: the transport lets only holders of a certificate of the
// cluster in, and a certificate is the price of a token.
func (tx *Tx) admit(c RegisterMember) error {
	if c.Token == (resource.Hash{}) {
		own := tx.Actor.Kind == actorNode && tx.Actor.ID == c.Member.ID
		if own || tx.Actor.Kind == actorMaster || len(tx.allNodes()) == 0 {
			return nil
		}
		return fmt.Errorf("member %q has no token: %w", c.Member.ID, resource.ErrForbidden)
	}
	f, ok := tx.get(store.Tokens, c.Token[:])
	if !ok {
		return fmt.Errorf("join token of member %q is unknown or used: %w", c.Member.ID, resource.ErrForbidden)
	}
	tx.delete(store.Tokens, c.Token[:])
	if tokenExpiry(f) <= tx.Now {
		return fmt.Errorf("join token of member %q: %w", c.Member.ID, resource.ErrExpired)
	}
	return nil
}

func (tx *Tx) storeMember(m *resource.Member) {
	b, err := codec.Marshal(m)
	if err != nil {
		overlay.Fail(err)
	}
	tx.put(store.Members, []byte(m.ID), b)
	tx.wrote = true
}

// Apply implements Command.
func (c RemoveMember) Apply(tx *Tx) error {
	m, f, ok := load[resource.Member](tx, store.Members, c.ID)
	if !ok {
		return refuse(store.Members, c.ID, resource.ErrNotFound)
	}
	if m.Removed {
		return refuse(store.Members, c.ID, resource.ErrDead)
	}
	if err := tx.moveName(store.Members, c.ID, m, nil); err != nil {
		return err
	}
	m.Removed = true
	tx.storeMember(m)
	if n, ok := tx.node(c.ID); ok {
		n.Removed = true
		n.Retire(tx.Index)
		tx.putNode(c.ID, n)
	}
	tx.raiseVersion()
	tx.note("member", c.ID, m.Name, f.Version, audit.Flag("removed", false), audit.Flag("removed", true))
	return nil
}

// raiseVersion lets entries use what every member knows. It never lowers the version.
func (tx *Tx) raiseVersion() {
	lowest := uint32(0)
	for _, k := range tx.scan(store.Members, nil) {
		m, _, ok := load[resource.Member](tx, store.Members, string(k))
		if ok && !m.Removed && (lowest == 0 || m.FSMVersion < lowest) {
			lowest = max(1, m.FSMVersion)
		}
	}
	if lowest > tx.fsmVersion() {
		tx.put(store.Cluster, memory.VersionKey, binary.BigEndian.AppendUint32(nil, lowest))
	}
}

// Apply implements Command.
func (c OpenEpoch) Apply(tx *Tx) error {
	n, err := tx.own(c.Node)
	if err != nil {
		return err
	}
	n.Start(tx.Index, tx.b.pos.Generation)
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
