package live

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/node/backup/archive"
)

// keepState keeps the state in the report, as a backup that a node makes. It runs the program that judges the report: another one may
// write what is the same in other bytes.
func (r *run) keepState(ctx context.Context) error {
	n := slices.IndexFunc(r.c.hosts, func(h *host) bool { return h.program == r.cfg.Program })
	if n < 0 {
		n = 0
		if err := r.changeProgram(ctx, &fault{Nodes: []int{n}}); err != nil {
			return err
		}
		if err := r.c.awaitReady(ctx, readyWait, n); err != nil {
			return err
		}
	}
	return r.c.operate(ctx, n, "snapshot", "save", filepath.Join(r.cfg.Dir, fileSnapshot))
}

// state is what a backup has, restored without a cluster.
type state struct {
	Same    bool // the snapshot of what was restored from it has its bytes
	Audit   audit.Verdict
	changes map[string]int // of each key, that the audit log tells of
}

// readState restores a backup aside, makes a snapshot of that and compares both, and reads the audit log.
func readState(path string) (s state, err error) {
	dir, err := os.MkdirTemp("", "conclave-torture-check-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer func() { _ = f.Close() }()
	a, err := archive.NewReader(f)
	if err != nil {
		return s, err
	}
	body, err := a.Snapshot()
	if err != nil {
		return s, err
	}
	m, err := fsm.Open(fsm.Config{Dir: dir, NodeID: "check"})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	before, after := sha256.New(), sha256.New()
	if err := m.Restore(io.NopCloser(io.TeeReader(body, before))); err != nil {
		return s, err
	}
	if err := m.Scrub(); err != nil {
		return s, err
	}
	snap, err := m.Snapshot()
	if err != nil {
		return s, err
	}
	defer snap.Release()
	if err := snap.Persist(sink{after}); err != nil {
		return s, err
	}
	s.Same = bytes.Equal(before.Sum(nil), after.Sum(nil))
	s.changes = changes(m)
	s.Audit, err = chain(m)
	return s, err
}

// sink takes a snapshot.
type sink struct{ io.Writer }

// ID implements raft.SnapshotSink.
func (sink) ID() string { return "" }

// Close implements raft.SnapshotSink.
func (sink) Close() error { return nil }

// Cancel implements raft.SnapshotSink.
func (sink) Cancel() error { return nil }

// auditPage is how many entries are read at once.
const auditPage = 500

// chain verifies the audit log.
func chain(m *fsm.FSM) (audit.Verdict, error) {
	v := &audit.Verifier{}
	for from := uint64(1); ; {
		links := m.AuditLinks(from, auditPage)
		if len(links) == 0 {
			return v.Finish()
		}
		for _, l := range links {
			if err := v.Add(l); err != nil {
				return audit.Verdict{}, err
			}
		}
		from = links[len(links)-1].Number + 1
	}
}

// changes counts what the audit log tells of each key.
func changes(m *fsm.FSM) map[string]int {
	n := map[string]int{}
	for cursor := ""; ; {
		p := m.AuditPage(audit.Query{Kind: "key", Limit: auditPage, Cursor: cursor, Oldest: true})
		for _, e := range p.Items {
			if e.Outcome == "" {
				n[e.ID]++
			}
		}
		if cursor = p.Next; cursor == "" {
			return n
		}
	}
}

// checkState asks of the state that the run ended with whether it survives a backup, and whether the audit log has all that was
// acknowledged, also what came before a restore.
func (r *report) checkState(v *Verdict) {
	if r.stateErr != nil {
		v.broken("I10: the state that was kept cannot be restored: %v", r.stateErr)
		return
	}
	if !r.state.Same {
		v.broken("I10: a snapshot of the restored state has other bytes than the one that it was restored from")
	}
	done := map[string]int{}
	for _, o := range r.history {
		if o.Seen == "done" {
			done[o.Key]++
		}
	}
	for key, n := range done {
		if got := r.state.changes[key]; got < n {
			v.broken("I11: %d changes of key %s were acknowledged, and the audit log has %d", n, key, got)
		}
	}
	for _, n := range r.ledger {
		if r.state.Audit.Last < n.Audit.Last {
			v.broken("I10: the audit log of the kept state ends at entry %d, and that of node %s at %d", r.state.Audit.Last, n.Node, n.Audit.Last)
		}
	}
	for _, o := range r.restores {
		for _, text := range o.check(r.name) {
			v.broken("%s", text)
		}
	}
	v.Restores = len(r.restores)
}

// readSnapshot is readState for a report: what is wrong with the state is a broken promise, unless it is not there.
func (r *report) readSnapshot(dir string) error {
	path := filepath.Join(dir, fileSnapshot)
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("read the report's state: %w", err)
	}
	r.state, r.stateErr = readState(path)
	return nil
}
