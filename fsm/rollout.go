package fsm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

// Bounds of a rollout.
const (
	MaxRolloutWait  = time.Hour // for a node to be well
	maxRolloutFiles = 64
	maxReason       = 512
)

// Rollout is a program on its way through the nodes; package memory names its states and steps.
type Rollout = memory.Rollout

// Commands on the program that the nodes run.
type (
	// BeginRollout orders every node to take a program, one after the other. Of Rollout it
	// takes what the bundle says; the rest is the state machine's.
	BeginRollout struct {
		Rollout Rollout `json:"rollout"`
	}
	// NoteRollout says that a node has taken a step.
	NoteRollout struct {
		ID     string `json:"id"`
		Node   string `json:"node"`
		Step   string `json:"step"`
		Reason string `json:"reason,omitempty"`
	}
	// AdvanceRollout is the leader's: it gives the turn to a node, calls a node good, ends the
	// rollout, or turns it back. It is refused if the rollout is not as it read it.
	AdvanceRollout struct {
		ID     string `json:"id"`
		Read   uint64 `json:"read"`             // Rev that the leader saw
		State  string `json:"state"`            // from now on
		Turn   string `json:"turn,omitempty"`   // whose it is from now on
		Good   string `json:"good,omitempty"`   // the node that is well
		Reason string `json:"reason,omitempty"` // of RolloutBackward
	}
	// RevertRollout has every node go back to the program that it ran before.
	RevertRollout struct {
		ID     string `json:"id"`
		Reason string `json:"reason,omitempty"`
	}
)

// Apply implements Command.
func (c BeginRollout) Apply(tx *Tx) error {
	info, err := tx.rotating()
	if err != nil {
		return err
	}
	if old := info.Rollout; old != nil && old.Busy() {
		return fmt.Errorf("the rollout of version %s is %s: %w", old.Version, old.State, resource.ErrRefused)
	}
	if err := c.check(); err != nil {
		return err
	}
	r := c.Rollout
	if old := info.Rollout; old != nil {
		tx.closeWayBack(old)
	}
	r.Rev, r.State, r.Turn, r.Reason, r.Nodes = 1, memory.RolloutForward, "", "", nil
	r.Switched, r.Switches = 0, slices.Clone(r.Switches)
	for i := range r.Switches {
		r.Switches[i].Before = nil
	}
	r.Base = tx.fsmVersion()
	r.Began, r.Stepped, r.By = tx.Now, tx.Now, actorName(tx.Actor)
	info.Rollout = &r
	tx.putCluster(info)
	tx.note("rollout", r.ID, r.Version, 0, nil, nil)
	return nil
}

func (c BeginRollout) check() error {
	r := &c.Rollout
	switch {
	case r.ID == "" || len(r.ID) > 128 || strings.ContainsAny(r.ID, "/\x00"):
		return &resource.Invalid{Field: "id", Reason: "an id has 1 to 128 bytes and no slash"}
	case r.Version == "" || len(r.Version) > 128:
		return &resource.Invalid{Field: "version", Reason: "has 1 to 128 bytes"}
	case !resource.ValidDigest(r.Bundle):
		return &resource.Invalid{Field: "bundle", Reason: "is the SHA-256 of a manifest"}
	case r.Signer == "" || len(r.Signer) > 256:
		return &resource.Invalid{Field: "signer", Reason: "says who signed the bundle"}
	case len(r.Manifest) == 0 || len(r.Manifest) > 64<<10 || len(r.Signed) > 1<<10:
		return &resource.Invalid{Field: "manifest", Reason: "is the bundle's, of at most 64 KiB, with its signature"}
	}
	return c.checkRest()
}

func (c BeginRollout) checkRest() error {
	r := &c.Rollout
	if r.Health <= 0 || r.Health > int64(MaxRolloutWait) || r.Hold < 0 || r.Hold > r.Health {
		return &resource.Invalid{Field: "health", Reason: "is a time of up to an hour, and no shorter than the time to be well"}
	}
	if len(r.Programs) == 0 || len(r.Programs)+len(r.Plugins) > maxRolloutFiles {
		return &resource.Invalid{Field: "programs", Reason: fmt.Sprintf("a bundle has a program, and %d files at most", maxRolloutFiles)}
	}
	for i := range r.Programs {
		if p := &r.Programs[i]; p.Platform == "" || !resource.ValidDigest(p.SHA256) || p.Size <= 0 || len(p.Parts) == 0 {
			return &resource.Invalid{Field: "programs", Reason: "a program has a platform, a digest, a size and its parts"}
		}
	}
	return checkSwitches(r.Switches)
}

// rollout finds the rollout that a command means, for it to be changed.
func (tx *Tx) rollout(id string) (*ClusterInfo, *Rollout, error) {
	info, err := tx.rotating()
	if err != nil {
		return nil, nil, err
	}
	if info.Rollout == nil || info.Rollout.ID != id {
		return nil, nil, fmt.Errorf("rollout %q: %w", id, resource.ErrNotFound)
	}
	return info, info.Rollout, nil
}

// step notes how far a node is.
func (tx *Tx) step(r *Rollout, node, step, reason string) {
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	r.Nodes = slices.DeleteFunc(r.Nodes, func(n memory.RolloutNode) bool { return n.ID == node })
	r.Nodes = append(r.Nodes, memory.RolloutNode{ID: node, Step: step, Since: tx.Now, Reason: reason})
	slices.SortFunc(r.Nodes, func(a, b memory.RolloutNode) int { return strings.Compare(a.ID, b.ID) })
}

// nodeSteps are those that a node says of itself.
var nodeSteps = []string{memory.NodeStaged, memory.NodeSwapping, memory.NodeUp, memory.NodeBack, memory.NodeFailed}

// Apply implements Command.
func (c NoteRollout) Apply(tx *Tx) error {
	if tx.Actor.ID != c.Node {
		return fmt.Errorf("step of node %q by node %q: %w", c.Node, tx.Actor.ID, resource.ErrForbidden)
	}
	if err := tx.living(c.Node); err != nil {
		return err
	}
	if !slices.Contains(nodeSteps, c.Step) {
		return &resource.Invalid{Field: "step", Reason: "is one of " + strings.Join(nodeSteps, ", ")}
	}
	info, r, err := tx.rollout(c.ID)
	if err != nil {
		return err
	}
	if c.Step == memory.NodeSwapping && r.Turn != c.Node {
		return fmt.Errorf("it is not the turn of node %q: %w", c.Node, resource.ErrConflict)
	}
	tx.step(r, c.Node, c.Step, c.Reason)
	r.Rev++
	tx.putCluster(info)
	return nil
}

// Apply implements Command.
func (c AdvanceRollout) Apply(tx *Tx) error {
	info, r, err := tx.rollout(c.ID)
	if err != nil {
		return err
	}
	if r.Rev != c.Read {
		return fmt.Errorf("the rollout has changed: %w", resource.ErrConflict)
	}
	if !r.Busy() || !allowedNext(r.State, c.State) {
		return fmt.Errorf("a rollout that is %s does not become %s: %w", r.State, c.State, resource.ErrRefused)
	}
	for _, id := range []string{c.Turn, c.Good} {
		if id == "" {
			continue
		}
		if err := tx.living(id); err != nil {
			return err
		}
	}
	if c.Good != "" {
		if r.Node(c.Good).Step != memory.NodeUp {
			return fmt.Errorf("node %q does not run the new program: %w", c.Good, resource.ErrRefused)
		}
		tx.step(r, c.Good, memory.NodeGood, "")
	}
	turned := r.State != c.State
	if turned && c.State == memory.RolloutBackward {
		if err := tx.restorePlugins(r); err != nil {
			return err
		}
	}
	r.State, r.Turn, r.Stepped = c.State, c.Turn, tx.Now
	if c.Reason != "" {
		r.Reason = c.Reason
	}
	r.Rev++
	tx.putCluster(info)
	if turned {
		tx.note("rollout", r.ID, r.Version, 0, nil, nil)
	}
	return nil
}

// allowedNext says which states a leader may bring a rollout to.
func allowedNext(from, to string) bool {
	if from == memory.RolloutForward {
		return to == memory.RolloutForward || to == memory.RolloutDone || to == memory.RolloutBackward
	}
	return to == memory.RolloutBackward || to == memory.RolloutReverted
}

// Apply implements Command.
func (c RevertRollout) Apply(tx *Tx) error {
	info, r, err := tx.rollout(c.ID)
	if err != nil {
		return err
	}
	if err := r.MayRevert(tx.fsmVersion()); err != nil {
		return err
	}
	if err := tx.restorePlugins(r); err != nil {
		return err
	}
	r.State, r.Turn, r.Stepped, r.Reason = memory.RolloutBackward, "", tx.Now, c.Reason
	if r.Reason == "" {
		r.Reason = "ordered by " + actorName(tx.Actor)
	}
	r.Rev++
	tx.putCluster(info)
	tx.note("rollout", r.ID, r.Version, 0, nil, nil)
	return nil
}
