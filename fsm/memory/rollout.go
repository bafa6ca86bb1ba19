package memory

import (
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/resource"
)

// The states of a rollout.
const (
	RolloutForward  = "rolling"      // one node after the other takes the new program
	RolloutDone     = "done"         // every node runs it
	RolloutBackward = "rolling_back" // one node after the other goes back to what it ran before
	RolloutReverted = "rolled_back"  // no node runs the new program any more
)

// The steps of a node in a rollout. A node that has taken none has "".
const (
	NodeStaged   = "staged"   // it has the program on its disk, checked
	NodeSwapping = "swapping" // it stops, to start the other program
	NodeUp       = "up"       // it runs the new program
	NodeGood     = "good"     // it was healthy with it for as long as was asked
	NodeBack     = "back"     // it runs again what it ran before
	NodeFailed   = "failed"   // the new program did not live there; it runs again what it ran before
)

// Rollout is a program on its way through the nodes.
type Rollout struct {
	ID       string        `json:"id"`
	Rev      uint64        `json:"rev"` // counts its changes
	State    string        `json:"state"`
	Version  string        `json:"version"`   // of the program
	Bundle   string        `json:"bundle"`    // SHA-256 of the manifest of the bundle
	Manifest []byte        `json:"manifest"`  // of the bundle, as it was signed: each node verifies it
	Signed   string        `json:"signature"` // of the manifest
	Signer   string        `json:"signer"`    // the publisher's key
	Programs []Program     `json:"programs"`
	Prices   *Content      `json:"prices,omitempty"`  // list prices, imported when every node runs the program
	Plugins  []Content     `json:"plugins,omitempty"` // bundles of plugins, of which Parts are the binaries
	Base     uint32        `json:"base"`              // the cluster's version when it began: while it has that, there is a way back
	Health   int64         `json:"health"`            // ns for which a node may be ill before all goes back
	Hold     int64         `json:"hold"`              // ns for which a node must be well before the next one's turn
	Began    resource.Time `json:"began"`
	Stepped  resource.Time `json:"stepped"` // when State or Turn came
	By       string        `json:"by"`
	Reason   string        `json:"reason,omitempty"` // why it goes back
	Turn     string        `json:"turn,omitempty"`   // id of the node whose turn it is
	Nodes    []RolloutNode `json:"nodes,omitempty"`  // by id

	Switches []PluginSwitch `json:"switches,omitempty"` // plugins that the bundle brings, for those that are registered
	Switched resource.Time  `json:"switched,omitempty"` // when their records were replaced; 0: they are as they were
}

// PluginSwitch is a plugin of a bundle.
type PluginSwitch struct {
	Name      string           `json:"name"`
	Kind      string           `json:"kind"`
	Manifest  string           `json:"manifest"` // byte by byte as it was signed
	Signature string           `json:"signature,omitempty"`
	Before    *resource.Plugin `json:"before,omitempty"` // the record that it replaced, to be put back; nil: it replaced none
}

// Program is the binary of one platform.
type Program struct {
	Platform string `json:"platform"` // "linux/amd64"
	Content
}

// Content is a file of a bundle, whose parts are blobs.
type Content struct {
	Name   string   `json:"name,omitempty"`
	SHA256 string   `json:"sha256"`
	Size   int64    `json:"size"`
	Parts  []string `json:"parts"` // digests of blobs, in order
}

// RolloutNode is how far a node is.
type RolloutNode struct {
	ID     string        `json:"id"`
	Step   string        `json:"step"`
	Since  resource.Time `json:"since"`
	Reason string        `json:"reason,omitempty"` // of NodeFailed
}

// Busy says that nodes take turns.
func (r *Rollout) Busy() bool { return r.State == RolloutForward || r.State == RolloutBackward }

// MayRevert refuses a way back that there is not; version is the cluster's.
func (r *Rollout) MayRevert(version uint32) error {
	if r.State != RolloutForward && r.State != RolloutDone {
		return fmt.Errorf("the rollout is %s already: %w", r.State, resource.ErrRefused)
	}
	if version != r.Base {
		return fmt.Errorf("the cluster's version was raised from %d to %d since the rollout began: the program of before cannot run it: %w", r.Base, version, resource.ErrRefused)
	}
	return nil
}

// Node returns how far a node is; one that has done nothing has the step "".
func (r *Rollout) Node(id string) RolloutNode {
	for _, n := range r.Nodes {
		if n.ID == id {
			return n
		}
	}
	return RolloutNode{ID: id}
}

// Swapped says that a node runs the new program, or may.
func (n RolloutNode) Swapped() bool {
	return slices.Contains([]string{NodeSwapping, NodeUp, NodeGood}, n.Step)
}

// For finds the program of a platform.
func (r *Rollout) For(platform string) (Program, bool) {
	for _, p := range r.Programs {
		if p.Platform == platform {
			return p, true
		}
	}
	return Program{}, false
}

// Blobs are the digests of all that the rollout brings.
func (r *Rollout) Blobs() []string {
	var out []string
	for _, p := range r.Programs {
		out = append(out, p.Parts...)
	}
	if r.Prices != nil {
		out = append(out, r.Prices.Parts...)
	}
	for _, p := range r.Plugins {
		out = append(out, p.Parts...)
	}
	return out
}
