package fsm

import (
	"errors"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/overlay"
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
	err := audit.Prune(rows{tx}, *tx.b.auditHead(), c.Anchor)
	if errors.Is(err, frame.ErrDamaged) {
		overlay.Fail(err)
	}
	if err != nil {
		return err
	}
	tx.record(audit.Entry{Actor: actorName(tx.Actor), Action: tx.kind.String(), Kind: "audit", ID: audit.ID(c.Anchor.Number)})
	return nil
}

// Apply implements Command.
func (c MarkAudit) Apply(tx *Tx) error { return audit.Mark(rows{tx}, c.Sink, c.Number) }

// note adds an entry for a change by a person, or by a node whose command is told; before and after are the
// record's bytes, nil if it is not there.
func (tx *Tx) note(kind, id, name string, replaced uint64, before, after []byte) {
	if tx.Actor.Kind == actorNode && !tx.told {
		return
	}
	e := audit.Entry{
		Actor: actorName(tx.Actor), For: tx.Actor.For, Address: tx.Actor.Address, Action: tx.kind.String(),
		Kind: kind, ID: id, Name: name, Version: replaced, RequestID: tx.env.RequestID,
	}
	if before != nil || after != nil {
		var err error
		if e.Fields, e.Before, e.After, err = audit.Diff(before, after); err != nil {
			overlay.Fail(err)
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
	h, err := audit.Append(rows{tx}, *tx.b.auditHead(), tx.audits)
	if err != nil {
		overlay.Fail(err)
	}
	tx.b.audited = &h
}

// auditHead is the newest audit entry of the batch.
func (b *batch) auditHead() *audit.Head {
	if b.audited == nil {
		h, err := audit.HeadOf(b.base.Tx)
		if err != nil {
			overlay.Fail(err)
		}
		b.audited = &h
	}
	return b.audited
}

// AuditQuery selects audit entries, the newest first. Zero fields select all.
type AuditQuery = audit.Query
