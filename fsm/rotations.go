package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// MaxOverlap bounds for how long an old key is accepted.
const MaxOverlap = 30 * 24 * time.Hour

// Rotation is the exchange of one key of the cluster; package memory names the kinds and steps.
type Rotation = memory.Rotation

// Commands on the keys of the cluster itself.
type (
	// BeginRotation makes a new key known. What of it is in the entry is sealed under the
	// KEK; of a new KEK it has the name only.
	BeginRotation struct {
		Kind    string `json:"kind"`
		ID      string `json:"id"` // names the new key
		Cert    []byte `json:"cert,omitempty"`
		Key     []byte `json:"key,omitempty"`
		KEKID   string `json:"kek_id,omitempty"` // under which Key is sealed
		Overlap int64  `json:"overlap,omitempty"`
	}
	// NoteRotation says that a member has taken a step.
	NoteRotation struct {
		Kind string `json:"kind"`
		ID   string `json:"id"`
		Step string `json:"step"`
		Node string `json:"node"`
	}
	// AdvanceRotation goes from a step to the next one.
	AdvanceRotation struct {
		Kind  string `json:"kind"`
		ID    string `json:"id"`
		From  string `json:"from"`
		Wraps []Wrap `json:"wraps,omitempty"` // under the new KEK: of all that is sealed under the old one
	}
	// Wrap is a key of the cluster, sealed under a KEK for a purpose.
	Wrap struct {
		Old []byte `json:"old"` // what it replaces
		New []byte `json:"new"`
	}
	// Reseal puts secrets in the place of what they were: sealed anew under another data key, or what a sign-in
	// was renewed to. One that has changed meanwhile is left alone.
	Reseal struct {
		Items []Resealed `json:"items"`
	}
	// Resealed is one of them.
	Resealed struct {
		Kind   string           `json:"kind"`
		ID     string           `json:"id"`
		Field  string           `json:"field"`
		Old    []byte           `json:"old"` // the box that it replaces
		Sealed *resource.Sealed `json:"sealed"`
	}
)

// Apply implements Command.
func (c BeginRotation) Apply(tx *Tx) error {
	info, err := tx.rotating()
	if err != nil {
		return err
	}
	if err := c.check(info); err != nil {
		return err
	}
	r := Rotation{
		Kind: c.Kind, ID: c.ID, Step: memory.FirstStep(c.Kind), Began: tx.Now, Stepped: tx.Now, By: actorName(tx.Actor), Overlap: c.Overlap,
	}
	switch c.Kind {
	case memory.RotateDEK:
		info.DEKs = append(info.DEKs, WrappedDEK{ID: c.ID, KEKID: c.KEKID, Blob: c.Key})
	case memory.RotateCA, memory.RotateGossip:
		r.NewCert, r.NewKey = c.Cert, c.Key
	}
	info.Rotations = slices.DeleteFunc(info.Rotations, func(old Rotation) bool { return old.Kind == c.Kind })
	info.Rotations = append(info.Rotations, r)
	tx.putCluster(info)
	tx.note("rotation", c.Kind, "", 0, nil, nil)
	return nil
}

// check refuses what cannot begin now.
func (c BeginRotation) check(info *ClusterInfo) error {
	if err := info.MayRotate(c.Kind); err != nil {
		return err
	}
	needsKey := c.Kind == memory.RotateDEK || c.Kind == memory.RotateCA || c.Kind == memory.RotateGossip
	switch {
	case c.ID == "" || len(c.ID) > 128:
		return &resource.Invalid{Field: "id", Reason: "an id has 1 to 128 bytes"}
	case c.Overlap < 0 || c.Overlap > int64(MaxOverlap):
		return &resource.Invalid{Field: "overlap", Reason: "is a time of up to 30 days"}
	case needsKey != (len(c.Key) > 0), (c.Kind == memory.RotateCA) != (len(c.Cert) > 0):
		return &resource.Invalid{Field: "key", Reason: "is what is rotated, sealed"}
	case needsKey && c.KEKID != info.KEKID:
		return fmt.Errorf("the KEK has been exchanged meanwhile: %w", resource.ErrConflict)
	case c.Kind == memory.RotateKEK && c.ID == info.KEKID:
		return fmt.Errorf("the cluster has the KEK %s already: %w", c.ID, resource.ErrRefused)
	}
	return nil
}

// rotating reads the cluster's identity, whose slices may be changed.
func (tx *Tx) rotating() (*ClusterInfo, error) {
	info, ok := tx.cluster()
	if !ok {
		return nil, fmt.Errorf("there is no cluster: %w", resource.ErrRefused)
	}
	return info, nil
}

func (tx *Tx) putCluster(info *ClusterInfo) {
	b, err := codec.Marshal(info)
	if err != nil {
		overlay.Fail(err)
	}
	tx.put(store.Cluster, memory.InfoKey, b)
	tx.master = nil
}

// rotation finds the rotation that a command means.
func (tx *Tx) rotation(kind, id string) (*ClusterInfo, *Rotation, error) {
	info, err := tx.rotating()
	if err != nil {
		return nil, nil, err
	}
	r := info.Rotation(kind)
	if r == nil || r.ID != id {
		return nil, nil, fmt.Errorf("rotation %s of %s: %w", id, kind, resource.ErrNotFound)
	}
	return info, r, nil
}

// Apply implements Command.
func (c NoteRotation) Apply(tx *Tx) error {
	if tx.Actor.ID != c.Node {
		return fmt.Errorf("step of node %q by node %q: %w", c.Node, tx.Actor.ID, resource.ErrForbidden)
	}
	if err := tx.living(c.Node); err != nil {
		return err
	}
	if c.Step != memory.StepInstall && c.Step != memory.StepUse {
		return &resource.Invalid{Field: "step", Reason: "is install or use"}
	}
	info, r, err := tx.rotation(c.Kind, c.ID)
	if err != nil {
		return err
	}
	r.Nodes = slices.DeleteFunc(r.Nodes, func(n memory.RotationNode) bool { return n.ID == c.Node })
	r.Nodes = append(r.Nodes, memory.RotationNode{ID: c.Node, Step: c.Step})
	slices.SortFunc(r.Nodes, func(a, b memory.RotationNode) int { return strings.Compare(a.ID, b.ID) })
	tx.putCluster(info)
	return nil
}

// Apply implements Command.
func (c AdvanceRotation) Apply(tx *Tx) error {
	info, r, err := tx.rotation(c.Kind, c.ID)
	if err != nil {
		return err
	}
	if r.Step != c.From {
		return fmt.Errorf("the rotation of %s is at the step %s: %w", c.Kind, r.Step, resource.ErrConflict)
	}
	members, late := tx.laggards(r)
	if r.Busy() && 2*(members-len(late)) <= members {
		return fmt.Errorf("%d of %d members have taken the step %s, which are too few to go on: %w", members-len(late), members, r.Step, resource.ErrRefused)
	}
	switch r.Step {
	case memory.StepInstall:
		if err := c.use(info, r); err != nil {
			return err
		}
		r.Step = memory.StepUse
	case memory.StepUse:
		r.Step = memory.StepDone
		if r.Overlap > 0 && len(late) > 0 {
			r.Step = memory.StepOverlap
		}
	case memory.StepOverlap:
		r.Step = memory.StepDone
	default:
		return fmt.Errorf("the rotation of %s is over: %w", c.Kind, resource.ErrRefused)
	}
	if r.Step == memory.StepDone && len(r.OldCert) > 0 {
		info.FormerCAs = append(info.FormerCAs, r.OldCert)
	}
	if r.Step == memory.StepDone {
		r.OldCert, r.OldKey = nil, nil
	}
	r.Stepped, r.Late = tx.Now, late
	tx.putCluster(info)
	tx.note("rotation", c.Kind, "", 0, nil, nil)
	return nil
}

// laggards counts the members and lists those that have not taken the current step.
func (tx *Tx) laggards(r *Rotation) (members int, late []string) {
	for _, k := range tx.scan(store.Members, nil) {
		m, _, ok := load[resource.Member](tx, store.Members, string(k))
		if !ok || m.Removed {
			continue
		}
		members++
		if !r.Took(m.ID) {
			late = append(late, m.ID)
		}
	}
	return members, late
}

// use puts the new key in the place of the old one.
func (c AdvanceRotation) use(info *ClusterInfo, r *Rotation) error {
	switch r.Kind {
	case memory.RotateCA:
		r.OldCert, r.OldKey = info.CACert, info.CAKey
		info.CACert, info.CAKey = r.NewCert, r.NewKey
	case memory.RotateGossip:
		r.OldKey, info.GossipKey = info.GossipKey, r.NewKey
	case memory.RotateKEK:
		return c.rewrap(info, r.ID)
	}
	r.NewCert, r.NewKey = nil, nil
	return nil
}

// rewrap replaces everything that is sealed under the KEK, or nothing.
func (c AdvanceRotation) rewrap(info *ClusterInfo, kekID string) error {
	boxes := []*[]byte{&info.CAKey, &info.GossipKey}
	for i := range info.DEKs {
		boxes = append(boxes, &info.DEKs[i].Blob)
	}
	for i := range info.Rotations {
		boxes = append(boxes, &info.Rotations[i].NewKey, &info.Rotations[i].OldKey)
	}
	for _, box := range boxes {
		if len(*box) == 0 {
			continue
		}
		i := slices.IndexFunc(c.Wraps, func(w Wrap) bool { return bytes.Equal(w.Old, *box) && len(w.New) > 0 })
		if i < 0 {
			return fmt.Errorf("a key of the cluster is not among those that are wrapped anew: %w", resource.ErrConflict)
		}
		*box = c.Wraps[i].New
	}
	for i := range info.DEKs {
		info.DEKs[i].KEKID = kekID
	}
	info.KEKID = kekID
	return nil
}
