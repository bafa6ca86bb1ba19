package fsm

import (
	"errors"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// maxEvents is how many events one NoteEvents holds at most.
const maxEvents = 256

// Commands on the audit log itself.
type (
	// NoteEvents adds entries for what people did without changing a record.
	NoteEvents struct {
		Events []resource.AuditEvent `json:"events"`
	}
	// PruneAudit deletes the entries up to the anchor's, which the proposer has signed.
	PruneAudit struct {
		Anchor resource.AuditAnchor `json:"anchor"`
	}
	// MarkAudit notes up to which entry a sink has everything; 0 forgets the sink.
	MarkAudit struct {
		Sink   string `json:"sink"`
		Number uint64 `json:"number,omitempty"`
	}
)

// Apply implements Command.
func (c NoteEvents) Apply(tx *Tx) error {
	if len(c.Events) == 0 || len(c.Events) > maxEvents {
		return &resource.Invalid{Field: "events", Reason: "are none, or too many for one command"}
	}
	for _, e := range c.Events {
		if err := e.Validate(); err != nil {
			return err
		}
		tx.record(audit.EntryOf(e))
	}
	return nil
}

// Apply implements Command. That entries were pruned is an entry, too.
func (c PruneAudit) Apply(tx *Tx) error {
	err := audit.Prune(auditRows{tx}, *tx.b.auditHead(), c.Anchor)
	if errors.Is(err, frame.ErrDamaged) {
		fail(err)
	}
	if err != nil {
		return err
	}
	tx.record(audit.Entry{Actor: actorName(tx.Actor), Action: tx.kind.String(), Kind: "audit", ID: audit.ID(c.Anchor.Number)})
	return nil
}

// Apply implements Command.
func (c MarkAudit) Apply(tx *Tx) error { return audit.Mark(auditRows{tx}, c.Sink, c.Number) }

// note adds an entry for a change by a person; before and after are the record's bytes, nil
// if it is not there.
func (tx *Tx) note(kind, id, name string, replaced uint64, before, after []byte) {
	if tx.Actor.Kind == actorNode {
		return
	}
	e := audit.Entry{
		Actor: actorName(tx.Actor), For: tx.Actor.For, Address: tx.Actor.Address, Action: tx.kind.String(),
		Kind: kind, ID: id, Name: name, Version: replaced, RequestID: tx.env.RequestID,
	}
	if before != nil || after != nil {
		var err error
		if e.Fields, e.Before, e.After, err = audit.Diff(before, after); err != nil {
			fail(err)
		}
	}
	tx.record(e)
}

// record adds an entry to those of the command.
func (tx *Tx) record(e audit.Entry) {
	e.Index, e.At = tx.Index, tx.Now
	tx.audits = append(tx.audits, e)
}

// putAudits stores the command's entries.
func (tx *Tx) putAudits() {
	if len(tx.audits) == 0 {
		return
	}
	h, err := audit.Append(auditRows{tx}, *tx.b.auditHead(), tx.audits)
	if err != nil {
		fail(err)
	}
	tx.b.audited = &h
}

// auditHead is the newest audit entry of the batch.
func (b *batch) auditHead() *audit.Head {
	if b.audited == nil {
		h, err := audit.HeadOf(b.tx)
		if err != nil {
			fail(err)
		}
		b.audited = &h
	}
	return b.audited
}

// auditRows is a transaction as package audit takes it.
type auditRows struct{ tx *Tx }

func (r auditRows) Value(b store.Bucket, key []byte) (frame.Value, bool) { return r.tx.get(b, key) }

func (r auditRows) Put(b store.Bucket, key, payload []byte) { r.tx.put(b, key, payload) }

func (r auditRows) Delete(b store.Bucket, key []byte) { r.tx.delete(b, key) }

// AuditQuery selects audit entries, the newest first. Zero fields select all.
type AuditQuery = audit.Query

// AuditPage answers a query. It reads the file.
func (f *FSM) AuditPage(q AuditQuery) (p audit.Page) {
	f.view(func(tx *bolt.Tx) (err error) {
		p, err = audit.Find(tx, q)
		return err
	})
	return p
}

// Audit returns a page of audit entries and the cursor of the next, "" after the last. It
// reads the file.
func (f *FSM) Audit(q AuditQuery) (items []resource.AuditEntry, next string) {
	p := f.AuditPage(q)
	return p.Items, p.Next
}

// AuditEntry returns the entry with the number. It reads the file.
func (f *FSM) AuditEntry(number uint64) (e resource.AuditEntry, ok bool) {
	f.view(func(tx *bolt.Tx) (err error) {
		e, ok, err = audit.One(tx, number)
		return err
	})
	return e, ok
}

// AuditLinks returns at most limit entries from the number on, as the chain needs them. It
// reads the file.
func (f *FSM) AuditLinks(from uint64, limit int) (lines []audit.Line) {
	f.view(func(tx *bolt.Tx) (err error) {
		lines, err = audit.Links(tx, from, limit)
		return err
	})
	return lines
}

// AuditExtent says what is there of the audit log. It reads the file.
func (f *FSM) AuditExtent() (x audit.Extent) {
	f.view(func(tx *bolt.Tx) (err error) {
		x, err = audit.ExtentOf(tx)
		return err
	})
	return x
}
