package fsm

import "github.com/conclave-llm/conclave/resource"

type (
	// ActAsFile lets the items after it write what the configuration file owns, and nothing
	// else: an admin applies the file in his own name.
	ActAsFile struct {
		File string `json:"file,omitempty"` // its name, for the dump of the log
	}
	// TakeOver lets the items after it replace the owner of a record by that of the put.
	TakeOver struct {
		Kind string `json:"kind"` // "key", "team", …
		ID   string `json:"id"`
	}
)

// Apply implements Command.
func (ActAsFile) Apply(tx *Tx) error {
	tx.asFile = true
	return nil
}

// Apply implements Command.
func (c TakeOver) Apply(tx *Tx) error {
	if c.Kind == "" || c.ID == "" {
		return &resource.Invalid{Field: "id", Reason: "kind and id of the record are needed"}
	}
	if tx.taken == nil {
		tx.taken = map[string]bool{}
	}
	tx.taken[c.Kind+"/"+c.ID] = true
	return nil
}
