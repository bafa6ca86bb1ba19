package fsm

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm/dedupe"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/progress"
	"github.com/conclave-llm/conclave/fsm/served"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/internal/fault"
	"github.com/conclave-llm/conclave/resource"
)

// Applied is what ApplyFuture.Response returns for a command.
type Applied struct {
	Result Result
	Err    error // a refusal; nothing was changed
}

// Apply implements raft.FSM.
func (f *FSM) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM: all entries in one transaction. Each response is
// an Applied.
func (f *FSM) ApplyBatch(logs []*raft.Log) []any {
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	out := make([]any, len(logs))
	if f.failed == nil && f.closed {
		f.failed = store.ErrClosed
	}
	if f.failed == nil {
		defer prometheus.NewTimer(f.metrics.Apply).ObserveDuration()
		if err := f.applyLocked(logs, out); err != nil {
			f.failed = err
			f.stop(err)
		}
	}
	if f.failed != nil {
		for i := range out {
			out[i] = Applied{Err: f.failed}
		}
	}
	return out
}

// StoreConfiguration implements raft.ConfigurationStore, so that a change of the cluster's
// configuration does not hold snapshots up.
func (f *FSM) StoreConfiguration(index uint64, _ raft.Configuration) {
	f.ApplyBatch([]*raft.Log{{Index: index, Term: f.progress.Position().Term, Type: raft.LogConfiguration}})
}

func (f *FSM) applyLocked(logs []*raft.Log, out []any) (err error) {
	b := &batch{
		f: f, pos: f.progress.Position(), base: new(overlay.Base),
		changed: map[store.Bucket]map[string][]byte{}, tables: map[string]bool{}, spent: map[string][]byte{},
	}
	if b.base.Tx, err = f.file.Begin(); err != nil {
		return fmt.Errorf("begin batch: %w", err)
	}
	defer func() {
		if r := recover(); r != nil {
			io, ok := r.(*overlay.Failure)
			if !ok {
				f.file.Doubt()
				panic(r)
			}
			err = errors.Join(fmt.Errorf("apply entry %d: %w", b.pos.Index, io.Err), b.base.Tx.Rollback())
		}
	}()
	var news *served.News
	err = store.Guard(func() (err error) {
		news, err = f.commit(b, logs, out)
		return err
	})
	if errors.Is(err, ErrDamaged) { // the transaction is open
		return errors.Join(fmt.Errorf("apply entry %d: %w", b.pos.Index, err), b.base.Tx.Rollback())
	}
	if err != nil {
		return err
	}
	f.publisher.Publish(news)
	if f.cfg.Watch != nil {
		f.cfg.Watch(Change{Index: b.pos.Index, Tables: b.tables, Leases: news.Leases, Soft: b.passed, Generation: b.pos.Generation})
	}
	f.progress.Move(b.pos, b.marks) // last: who waited for an index finds all of its effects
	return nil
}

// commit applies the entries and commits what they have changed. A damaged page is a panic or an error.
func (f *FSM) commit(b *batch, logs []*raft.Log, out []any) (*served.News, error) {
	for i, l := range logs {
		out[i] = f.entry(b, l)
	}
	if err := store.WritePosition(b.base.Tx, b.pos); err != nil {
		overlay.Fail(err)
	}
	news, err := f.publisher.Prepare(&served.Batch{Index: b.pos.Index, Tx: b.base.Tx, Changed: b.changed, Spent: b.spent})
	if err != nil {
		overlay.Fail(err)
	}
	fault.Point(fault.StateCommit)
	if err := b.base.Tx.Commit(); err != nil {
		return nil, fmt.Errorf("commit batch: %w", err)
	}
	fault.Point(fault.StateCommitted)
	return news, nil
}

// entry applies one entry of the log. One that the file has already is skipped: the newest of those must be
// the one that was applied, and then, as logs are, all before it are.
func (f *FSM) entry(b *batch, l *raft.Log) Applied {
	if l.Index <= b.pos.Index {
		if l.Index == b.pos.Index && l.Term != b.pos.Term {
			overlay.Fail(fmt.Errorf("the log has an entry of term %d where the state has one of term %d: %w", l.Term, b.pos.Term, ErrDamaged))
		}
		return Applied{Result: Result{Index: l.Index, Generation: b.pos.Generation}}
	}
	b.pos.Index, b.pos.Term = l.Index, l.Term
	var a Applied
	if l.Type == raft.LogCommand {
		a = f.command(b, l.Data)
		f.metrics.Count(a.Err)
	}
	b.marks = append(b.marks, progress.Mark{Index: l.Index, Hash: b.pos.Hash})
	return a
}

func (f *FSM) command(b *batch, data []byte) Applied {
	env, kind, cmd, err := f.expected.decode(data)
	if err != nil {
		overlay.Fail(&unfit{err})
	}
	r, _ := lookup(kind)
	if env.FSMVersion > f.cfg.FSMVersion || r.since > f.cfg.FSMVersion {
		overlay.Fail(&unfit{fmt.Errorf("%s asks for version %d, this node knows %d", kind, max(env.FSMVersion, r.since), f.cfg.FSMVersion)})
	}
	b.pos.At = max(b.pos.At, env.At)
	tx := f.tx
	if tx == nil {
		tx = new(Tx)
		f.tx = tx
	}
	tx.writes.Clear()
	*tx = Tx{
		Now: b.pos.At, Index: b.pos.Index, Actor: env.Actor, b: b, env: &env, kind: kind,
		writes: tx.writes, audits: tx.audits[:0],
	}
	once := kind != KindTickGroup && env.CommandID != [16]byte{} // ticks have a sequence of their own
	if once {
		if a, done := tx.seen(); done {
			return a
		}
	}
	a := tx.run(r, cmd)
	if once {
		tx.remember(a)
	}
	tx.writes.Flush(b.base, &b.pos.Hash, b.remember)
	return a
}

// run applies the command to the overlay, which stays empty if the command is refused.
func (tx *Tx) run(r *row, cmd Command) Applied {
	err := tx.permitted(r)
	if err == nil {
		err = tx.checkDelegate(cmd)
	}
	if err == nil {
		err = cmd.Apply(tx)
	}
	res := Result{Index: tx.Index, Generation: tx.b.pos.Generation}
	if err != nil {
		tx.reset()
		return Applied{Result: res, Err: err}
	}
	if tx.wrote {
		res.Version = tx.Index
	}
	if tx.epoch {
		tx.b.tables["epoch"] = true
	}
	tx.putAudits()
	tx.b.passed = append(tx.b.passed, tx.passed...)
	return Applied{Result: res}
}

func (tx *Tx) permitted(r *row) error {
	if v := tx.fsmVersion(); tx.env.FSMVersion > v || r.since > v {
		return fmt.Errorf("%s waits until every member knows version %d: %w", r.name, max(tx.env.FSMVersion, r.since), resource.ErrRefused)
	}
	if r.kind != KindTickGroup && tx.env.ReadIndex+dedupe.Window < tx.Index {
		return fmt.Errorf("%s was proposed at index %d: %w", r.name, tx.env.ReadIndex, resource.ErrExpired)
	}
	return tx.authorize(r)
}

// seen finds the outcome of an earlier try of the same command.
func (tx *Tx) seen() (Applied, bool) {
	o, ok, err := dedupe.Seen(rows{tx}, tx.env.CommandID[:], tx.Index)
	if err != nil {
		overlay.Fail(err)
	}
	if o.Err != nil {
		o.Err = tx.b.f.refusals.Said(tx.env.CommandID, o.Err)
	}
	return Applied{Result: Result{Index: o.Index, Generation: o.Generation, Version: o.Version}, Err: o.Err}, ok
}

// remember keeps the command's outcome.
func (tx *Tx) remember(a Applied) {
	if a.Err != nil {
		tx.b.f.refusals.Add(tx.env.CommandID, a.Err)
	}
	o := dedupe.Outcome{Generation: a.Result.Generation, Version: a.Result.Version, Err: a.Err}
	if err := dedupe.Remember(rows{tx}, tx.b.base.Bucket(store.DedupeOrder).Cursor(), tx.env.CommandID[:], tx.Index, o); err != nil {
		overlay.Fail(err)
	}
}
