package fsm

import (
	"fmt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// PutPrices puts the imported prices, all of them, in the place of those that its proposer
// read. A table without rows gives the built-in prices back. A node may propose it: the leader
// downloads prices where the settings say so.
type PutPrices struct {
	Prices Encoded[resource.PriceTable] `json:"prices"`
	Read   uint64                       `json:"read,omitempty"`
}

// Apply implements Command.
func (c PutPrices) Apply(tx *Tx) error {
	if n := len(c.Prices.Raw()); n > resource.MaxPriceTable+8192 {
		return &resource.Invalid{Field: "prices", Reason: fmt.Sprintf("%d bytes are too many", n)}
	}
	rec := c.Prices.Record()
	if rec == nil || rec.ID != resource.PriceTableID {
		return &resource.Invalid{Field: "prices.id", Reason: "is not " + resource.PriceTableID}
	}
	if err := tx.checkOwner(rec.Owner); err != nil {
		return err
	}
	old, f, _ := load[resource.PriceTable](tx, store.Prices, rec.ID)
	if err := tx.checkVersion(store.Prices, rec.ID, c.Read, f.Version); err != nil {
		return err
	}
	tx.putFrame(store.Prices, []byte(rec.ID), frame.Value{Version: tx.Index, Payload: c.Prices.Raw()})
	tx.wrote = true
	tx.notePrices(old, rec, f.Version)
	return nil
}

// notePrices tells of new prices in the audit log, whoever put them there, without their rows:
// the digest of the file stands for them.
func (tx *Tx) notePrices(old, rec *resource.PriceTable, replaced uint64) {
	e := audit.Entry{
		Actor: actorName(tx.Actor), For: tx.Actor.For, Address: tx.Actor.Address, Action: tx.kind.String(),
		Kind: store.Prices.Kind(), ID: rec.ID, Version: replaced, RequestID: tx.env.RequestID,
	}
	var before []byte
	if old != nil {
		before = withoutRows(old)
	}
	var err error
	if e.Fields, e.Before, e.After, err = audit.Diff(before, withoutRows(rec)); err != nil {
		overlay.Fail(err)
	}
	tx.record(e)
}

func withoutRows(t *resource.PriceTable) []byte {
	plain := *t
	plain.Rows, plain.Proposed = nil, nil
	b, err := codec.Marshal(plain)
	if err != nil {
		overlay.Fail(err)
	}
	return b
}
