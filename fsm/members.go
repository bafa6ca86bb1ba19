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

// Apply implements Command. It also forgets tokens that have expired.
func (c PutJoinToken) Apply(tx *Tx) error {
	if c.Expires <= tx.Now {
		return &resource.Invalid{Field: "expires", Reason: "is not in the future"}
	}
	for _, k := range tx.scan(store.Tokens, nil) {
		if f, ok := tx.get(store.Tokens, k); ok && joinToken(f).Expires <= tx.Now {
			tx.delete(store.Tokens, k)
		}
	}
	if c.Replaces != "" {
		if err := tx.living(c.Replaces); err != nil {
			return err
		}
	}
	tx.put(store.Tokens, c.Hash[:], c.token(tx).Encode())
	tx.note("join_token", c.Hash.String()[:8], "", 0, nil, nil)
	return nil
}

// token is what the state keeps of the token.
func (c PutJoinToken) token(tx *Tx) memory.JoinToken {
	t := memory.JoinToken{Expires: c.Expires, Replaces: c.Replaces}
	if c.Listed {
		t.Created, t.By = tx.Now, actorName(tx.Actor)
	}
	return t
}

func joinToken(f frame.Value) memory.JoinToken {
	t, err := memory.ParseJoinToken(f.Payload)
	if err != nil {
		overlay.Fail(err)
	}
	return t
}

// Apply implements Command.
func (c DropJoinToken) Apply(tx *Tx) error {
	if _, ok := tx.get(store.Tokens, c.Hash[:]); !ok {
		return fmt.Errorf("join token %s is unknown, used or expired: %w", c.Hash.String()[:8], resource.ErrNotFound)
	}
	tx.delete(store.Tokens, c.Hash[:])
	tx.note("join_token", c.Hash.String()[:8], "", 0, nil, nil)
	return nil
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
	if m.Removed {
		return &resource.Invalid{Field: "removed", Reason: "is for RemoveMember to set"}
	}
	if v := tx.fsmVersion(); !m.Runs(v) {
		return fmt.Errorf("node %q runs the versions %s of the state machine, and the cluster has version %d: start it with a program that knows that one: %w", id, m.Range(), v, resource.ErrRefused)
	}
	old, f, known := load[resource.Member](tx, store.Members, id)
	m.Nonvoter, m.Drained, m.Quarantined = false, false, ""
	var before resource.Record
	switch {
	case known && old.Removed:
		return refuse(store.Members, id, resource.ErrDead)
	case known:
		before = old
		m.Nonvoter, m.Drained, m.Quarantined = old.Nonvoter, old.Drained, old.Quarantined
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
	t := joinToken(f)
	if t.Expires <= tx.Now {
		return fmt.Errorf("join token of member %q: %w", c.Member.ID, resource.ErrExpired)
	}
	if t.Replaces == "" || tx.living(t.Replaces) != nil {
		return nil
	}
	return tx.bury(t.Replaces)
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
	if err := tx.living(c.ID); err != nil {
		return err
	}
	return tx.bury(c.ID)
}

// living refuses a member that is unknown or removed.
func (tx *Tx) living(id string) error {
	m, _, ok := load[resource.Member](tx, store.Members, id)
	switch {
	case !ok:
		return refuse(store.Members, id, resource.ErrNotFound)
	case m.Removed:
		return refuse(store.Members, id, resource.ErrDead)
	}
	return nil
}

// bury turns a living member into its tombstone.
func (tx *Tx) bury(id string) error {
	m, f, _ := load[resource.Member](tx, store.Members, id)
	if err := tx.moveName(store.Members, id, m, nil); err != nil {
		return err
	}
	m.Removed = true
	tx.storeMember(m)
	if n, ok := tx.node(id); ok {
		n.Removed = true
		n.Retire(tx.Index)
		tx.putNode(id, n)
	}
	tx.note("member", id, m.Name, f.Version, audit.Flag("removed", false), audit.Flag("removed", true))
	return nil
}

// The marks of a member.
const (
	MarkNonvoter    = "nonvoter"
	MarkDrained     = "drained"
	MarkQuarantined = "quarantined"
)

// Apply implements Command.
func (c MarkMember) Apply(tx *Tx) error {
	if err := tx.living(c.ID); err != nil {
		return err
	}
	m, f, _ := load[resource.Member](tx, store.Members, c.ID)
	switch c.Mark {
	case MarkNonvoter:
		m.Nonvoter = !c.Off
	case MarkDrained:
		m.Drained = !c.Off
	case MarkQuarantined:
		if m.Quarantined = c.Reason; c.Off {
			m.Quarantined = ""
		} else if c.Reason == "" {
			return &resource.Invalid{Field: "reason", Reason: "says why the member is quarantined"}
		}
	default:
		return &resource.Invalid{Field: "mark", Reason: fmt.Sprintf("%q is not a mark of a member", c.Mark)}
	}
	tx.storeMember(m)
	tx.note("member", c.ID, m.Name, f.Version, audit.Flag(c.Mark, c.Off), audit.Flag(c.Mark, !c.Off))
	return nil
}

// Apply implements Command.
func (c SetVersion) Apply(tx *Tx) error {
	now := tx.fsmVersion()
	if c.Version <= now {
		return fmt.Errorf("the cluster has version %d of the state machine already: %w", now, resource.ErrRefused)
	}
	if info, ok := tx.cluster(); ok && info.Rollout != nil && info.Rollout.Busy() {
		return fmt.Errorf("the rollout of version %s is %s: a node may have to go back: %w", info.Rollout.Version, info.Rollout.State, resource.ErrRefused)
	}
	for _, k := range tx.scan(store.Members, nil) {
		m, _, ok := load[resource.Member](tx, store.Members, string(k))
		if ok && !m.Removed && !m.Runs(c.Version) {
			return fmt.Errorf("node %s (%s) runs the versions %s of the state machine, not %d: %w", m.Name, m.ID, m.Range(), c.Version, resource.ErrRefused)
		}
	}
	tx.setVersion(c.Version)
	tx.note("cluster_version", fmt.Sprint(c.Version), "", 0, nil, nil)
	return nil
}

func (tx *Tx) setVersion(v uint32) {
	tx.put(store.Cluster, memory.VersionKey, binary.BigEndian.AppendUint32(nil, v))
}
