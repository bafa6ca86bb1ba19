// Package roster remembers where the nodes were last seen.
package roster

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// file is in the data folder: id → address.
const file = "members.json"

// Hint is an address that a node told itself: by its certificate it was that node.
type Hint struct {
	Addr  string `json:"addr"`
	Since int64  `json:"since"` // Unix nanoseconds of the node's start, by its own clock: newer wins
	table string // its address in the table of members when it told so; another one there is newer
}

// Roster is where the nodes were last seen, which may be newer than the table of members: after
// a move nobody can write that table until the nodes have found each other again.
type Roster struct {
	path string

	mu    sync.Mutex // guards hints, saved
	hints map[string]Hint
	saved map[string]string // what the file has
}

// New reads what was known at the last run; a file that cannot be read is no loss.
func New(dir string) *Roster {
	r := &Roster{path: filepath.Join(dir, file), hints: map[string]Hint{}, saved: map[string]string{}}
	if b, err := os.ReadFile(r.path); err == nil {
		_ = json.Unmarshal(b, &r.saved) // made anew when it changes
	}
	return r
}

// At is where a node said that it is, if its address in the table is still the one of then.
func (r *Roster) At(id, table string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.hints[id]
	return h.Addr, ok && h.table == table
}

// Last is where a node was at the last run.
func (r *Roster) Last(id string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.saved[id]
	return a, ok
}

// Learn takes in what somebody told; table gives a node's address in the table of members.
func (r *Roster) Learn(told map[string]Hint, table func(id string) string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, h := range told {
		if old, ok := r.hints[id]; ok && old.Since >= h.Since && old.table == table(id) {
			continue
		}
		h.table = table(id)
		r.hints[id] = h
	}
}

// Known are all hints.
func (r *Roster) Known() map[string]Hint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.hints)
}

// Keep writes the file if the addresses have changed.
func (r *Roster) Keep(addrs map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(addrs) == 0 || maps.Equal(addrs, r.saved) {
		return nil
	}
	b, err := json.Marshal(addrs)
	if err != nil {
		return err
	}
	tmp := r.path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("keep the addresses of the nodes: %w", err)
	}
	if err := os.Rename(tmp, r.path); err != nil {
		return fmt.Errorf("keep the addresses of the nodes: %w", err)
	}
	r.saved = addrs
	return nil
}

// Nodes are the ids of all nodes that it knows of.
func (r *Roster) Nodes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[string]bool{}
	for id := range r.hints {
		ids[id] = true
	}
	for id := range r.saved {
		ids[id] = true
	}
	return slices.Sorted(maps.Keys(ids))
}
