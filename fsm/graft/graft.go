// Package graft makes the state that a restore installs: the records, budgets and totals of a
// backup, and of the cluster that it is restored into what a restore must never take back: who its
// nodes are, its identity and keys, its audit log, and that its clock and generation only rise.
package graft

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/store"
)

// Spend is what becomes of what was spent since the backup.
type Spend string

// The choices. The zero value is SpendReplay.
const (
	SpendReplay     Spend = "replay"       // the nodes send it again from their journals
	SpendAsOfBackup Spend = "as-of-backup" // it is forgotten, and no lease of then is presumed spent
)

// Revoked is what becomes of keys that were revoked since the backup.
type Revoked string

// The choices. The zero value refuses a backup with such keys.
const (
	RevokedBlock  Revoked = "block"  // they come back blocked
	RevokedRevive Revoked = "revive" // they are valid again, as in the backup
)

// Options say how a backup is put in the place of a state.
type Options struct {
	Foreign bool // it may be another cluster's
	Spend   Spend
	Revoked Revoked
	// Open checks that a data key of the backup can be opened, before anything is changed.
	Open func(memory.WrappedDEK) error
}

// Why a backup is refused.
var (
	// ErrForeign says that it is another cluster's.
	ErrForeign = errors.New("the backup is another cluster's")
	// ErrRevoked says that keys would be valid again that were revoked since.
	ErrRevoked = errors.New("keys that were revoked since the backup would be valid again")
	// ErrKey says that a data key of the backup does not open.
	ErrKey = errors.New("a data key of the backup does not open under this cluster's KEK")
)

// Check says whether the options allow what the report tells of.
func (o *Options) Check(r *Report) error {
	switch {
	case r.Foreign && !o.Foreign:
		return fmt.Errorf("%w: %s, and this one is %s", ErrForeign, r.BackupID, r.ClusterID)
	case r.RevokedCount > 0 && o.Revoked == "":
		return fmt.Errorf("%w: %d, such as %s", ErrRevoked, r.RevokedCount, r.Revoked[0])
	}
	return nil
}

// Keys checks that the data keys open which the state will have.
func (o *Options) Keys(backup, now *bolt.Tx) error {
	old, _, err := cluster(backup)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	info, _, err := cluster(now)
	if err != nil {
		return err
	}
	if o.Open == nil {
		return nil
	}
	for _, d := range merge(info.DEKs, old.DEKs) {
		if err := o.Open(d); err != nil {
			return fmt.Errorf("%w: data key %s is wrapped by %s: %w", ErrKey, d.ID, d.KEKID, err)
		}
	}
	return nil
}

// errNoCluster says that a state has no cluster.
var errNoCluster = errors.New("the state is of no cluster yet")

func cluster(tx *bolt.Tx) (*memory.ClusterInfo, uint32, error) {
	info, version, err := memory.ReadCluster(tx)
	if err == nil && info == nil {
		err = errNoCluster
	}
	return info, version, err
}

// merge puts data keys of the backup behind those of the cluster, whose wraps count: the KEK may
// have changed since.
func merge(now, old []memory.WrappedDEK) []memory.WrappedDEK {
	have := map[string]bool{}
	out := append([]memory.WrappedDEK(nil), now...)
	for _, d := range now {
		have[d.ID] = true
	}
	for _, d := range old {
		if !have[d.ID] {
			out = append(out, d)
		}
	}
	return out
}

// Onto turns the backup, in a transaction that writes it, into the state that takes the place of
// the present one. What Check and Keys refuse is refused.
func Onto(backup, now *bolt.Tx, o Options) error {
	r, err := Compare(backup, now)
	if err != nil {
		return err
	}
	if err := errors.Join(o.Check(r), o.Keys(backup, now)); err != nil {
		return err
	}
	e, err := edit(backup)
	if err != nil {
		return err
	}
	present, err := store.ReadPosition(now)
	if err != nil {
		return err
	}
	e.pos.At = max(e.pos.At, present.At)
	e.pos.Generation = max(e.pos.Generation, present.Generation) + 1
	e.index = max(e.pos.Index, present.Index)
	g := &graft{edit: e, now: now, foreign: r.Foreign, asOfBackup: o.Spend == SpendAsOfBackup}
	for _, step := range []func() error{g.identity, g.members, g.tokens, g.auditLog} {
		if err := step(); err != nil {
			return err
		}
	}
	if o.Revoked == RevokedBlock {
		if err := g.block(); err != nil {
			return err
		}
	}
	return e.done()
}

// graft is one state on its way.
type graft struct {
	edit       *editor
	now        *bolt.Tx
	foreign    bool
	asOfBackup bool
}

// identity keeps the cluster's, with the data keys that the backup needs.
func (g *graft) identity() error {
	old, oldVersion, err := cluster(g.edit.tx)
	if err != nil {
		return err
	}
	info, version, err := cluster(g.now)
	if err != nil {
		return err
	}
	info.DEKs = merge(info.DEKs, old.DEKs)
	if err := g.edit.putRecord(store.Cluster, memory.InfoKey, info); err != nil {
		return err
	}
	if version <= oldVersion {
		return nil
	}
	return g.edit.copy(store.Cluster, memory.VersionKey, g.now)
}

// tokens keeps the join tokens of now: one that was used since must not be good again.
func (g *graft) tokens() error { return g.edit.replace(store.Tokens, g.now) }

// auditLog keeps the log of now, which goes on where the backup's ended. Another cluster's comes
// with its records.
func (g *graft) auditLog() error {
	old, err := audit.HeadOf(g.edit.tx)
	if err != nil {
		return err
	}
	head, err := audit.HeadOf(g.now)
	if err != nil {
		return err
	}
	if g.foreign || head.Number < old.Number {
		return nil
	}
	for _, b := range []store.Bucket{store.Audit, store.AuditBlocks, store.AuditMarks} {
		if err := g.edit.replace(b, g.now); err != nil {
			return err
		}
	}
	return nil
}
