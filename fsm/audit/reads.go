package audit

import (
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/resource"
)

// Reads reads the log of a file. It may be used concurrently.
type Reads struct {
	view func(func(*bolt.Tx) error) // runs a short read, and deals with its error
}

// NewReads makes Reads of what view runs on.
func NewReads(view func(func(*bolt.Tx) error)) Reads { return Reads{view} }

// AuditPage answers a query. It reads the file.
func (r Reads) AuditPage(q Query) (p Page) {
	r.view(func(tx *bolt.Tx) (err error) {
		p, err = Find(tx, q)
		return err
	})
	return p
}

// Audit returns a page of audit entries and the cursor of the next, "" after the last. It
// reads the file.
func (r Reads) Audit(q Query) (items []resource.AuditEntry, next string) {
	p := r.AuditPage(q)
	return p.Items, p.Next
}

// AuditEntry returns the entry with the number. It reads the file.
func (r Reads) AuditEntry(number uint64) (e resource.AuditEntry, ok bool) {
	r.view(func(tx *bolt.Tx) (err error) {
		e, ok, err = One(tx, number)
		return err
	})
	return e, ok
}

// AuditLinks returns at most limit entries from the number on, as the chain needs them. It
// reads the file.
func (r Reads) AuditLinks(from uint64, limit int) (lines []Line) {
	r.view(func(tx *bolt.Tx) (err error) {
		lines, err = Links(tx, from, limit)
		return err
	})
	return lines
}

// AuditExtent says what is there of the audit log. It reads the file.
func (r Reads) AuditExtent() (x Extent) {
	r.view(func(tx *bolt.Tx) (err error) {
		x, err = ExtentOf(tx)
		return err
	})
	return x
}
