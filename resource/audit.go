package resource

// AuditEntry tells who changed what. It is written by Apply in the transaction of the
// change, one for each accepted command of a person.
type AuditEntry struct {
	Index     uint64   `json:"index"` // of the command in the log
	At        Time     `json:"at"`
	Actor     string   `json:"actor"`  // "master", "key/ID", "file", "node/ID"
	Action    string   `json:"action"` // "put_key", "block_key", …
	Kind      string   `json:"kind"`
	ID        string   `json:"id"`
	Version   uint64   `json:"version,omitempty"` // that was replaced; 0: created
	Fields    []string `json:"fields,omitempty"`  // that differ, without their values
	RequestID string   `json:"request_id,omitempty"`
}
