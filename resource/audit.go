package resource

import "encoding/json"

// AuditEntry tells who changed what, or did what else an operator must know of. It is
// written by Apply in the transaction of the change, one for each accepted command of a
// person, and chained: Hash is the SHA-256 of Previous and of the entry's stored bytes.
type AuditEntry struct {
	Number    uint64          `json:"number"`          // 1, 2, … without gaps; the entry's id
	Index     uint64          `json:"index"`           // of the command in the log
	At        Time            `json:"at"`              // never before that of an earlier entry
	Since     Time            `json:"since,omitempty"` // of the first event, where Count has several
	Actor     string          `json:"actor"`           // "master", "key/ID", "file", "node/ID"; "" is not known
	For       string          `json:"for,omitempty"`   // whom the actor said to act for; nobody checked it
	Address   string          `json:"address,omitempty"`
	Action    string          `json:"action"` // "put_key", "block_key", "sign_in", …
	Kind      string          `json:"kind,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`    // of the record at that time
	Outcome   string          `json:"outcome,omitempty"` // "": done; else AuditFailed or AuditDenied
	Count     uint64          `json:"count,omitempty"`   // events that the entry stands for; 0: one
	Version   uint64          `json:"version,omitempty"` // that was replaced; 0: created
	Fields    []string        `json:"fields,omitempty"`  // that differ
	Before    json.RawMessage `json:"before,omitempty"`  // those fields before, or the deleted record; no secrets
	After     json.RawMessage `json:"after,omitempty"`   // those fields after, or the new record; no secrets
	RequestID string          `json:"request_id,omitempty"`
	Previous  Hash            `json:"previous"` // hash of the entry before; zeros for the first
	Hash      Hash            `json:"hash"`
}

// The outcomes of what was not done.
const (
	AuditFailed = "failed" // the credential was not accepted
	AuditDenied = "denied" // the credential may not do this
)

// AuditEvent is what somebody did without changing a record: a sign-in, a failure, an
// export. It becomes an AuditEntry.
type AuditEvent struct {
	At        Time   `json:"at,omitempty"` // of the first, where Count has several
	Actor     string `json:"actor,omitempty"`
	For       string `json:"for,omitempty"`
	Address   string `json:"address,omitempty"`
	Action    string `json:"action"`
	Kind      string `json:"kind,omitempty"`
	ID        string `json:"id,omitempty"`
	Outcome   string `json:"outcome,omitempty"`
	Count     uint64 `json:"count,omitempty"` // 0: one
	RequestID string `json:"request_id,omitempty"`
}

// maxAuditText is the most bytes of one text of an event.
const maxAuditText = 255

// Validate returns an *Invalid for the first wrong field.
func (e *AuditEvent) Validate() error {
	for _, f := range []struct{ name, v string }{
		{"action", e.Action},
		{"actor", e.Actor},
		{"for", e.For},
		{"address", e.Address},
		{"kind", e.Kind},
		{"id", e.ID},
		{"outcome", e.Outcome},
		{"request_id", e.RequestID},
	} {
		if len(f.v) > maxAuditText {
			return invalidf(f.name, "has more than %d bytes", maxAuditText)
		}
	}
	if e.Action == "" {
		return invalidf("action", "is missing")
	}
	return nil
}

// AuditAnchor stands for the entries up to Number, which are gone: it lets the rest of the
// chain be verified. The cluster's CA signs it.
type AuditAnchor struct {
	Cluster   string `json:"cluster"`
	Number    uint64 `json:"number"` // of the last entry that is gone
	Index     uint64 `json:"index"`  // of that entry
	At        Time   `json:"at"`     // of that entry
	Hash      Hash   `json:"hash"`   // of that entry
	SignedAt  Time   `json:"signed_at"`
	Signature []byte `json:"signature,omitempty"` // ECDSA with SHA-256, ASN.1
}
