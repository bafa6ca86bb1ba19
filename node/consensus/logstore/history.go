package logstore

import "github.com/hashicorp/raft"

// History is what the log and the snapshots have together. It implements gate.History.
type History struct {
	Log       *Store
	Snapshots *Snapshots
}

// Covered implements gate.History. Where the log has the entry, as nearly always, the disk is not
// asked.
func (h History) Covered(at uint64) uint64 {
	if first, _ := h.Log.log.Bounds(); first != 0 && first <= at {
		return 0
	}
	newest, _, err := h.Snapshots.Bounds()
	if err != nil || at > newest {
		return 0
	}
	return newest
}

// Has implements gate.History.
func (h History) Has(index, term uint64) bool {
	var l raft.Log
	return h.Log.GetLog(index, &l) == nil && l.Term == term
}
