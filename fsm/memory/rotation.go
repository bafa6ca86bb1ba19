package memory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// The keys of the cluster that are rotated.
const (
	RotateKEK    = "kek"        // what wraps the others, outside of this state
	RotateDEK    = "dek"        // what secrets are sealed under
	RotateCA     = "ca"         // who vouches for the nodes
	RotateGossip = "gossip"     // what gossip is encrypted with
	RotateCerts  = "node-certs" // the nodes' certificates
)

// RotationKinds are all of them.
var RotationKinds = []string{RotateKEK, RotateDEK, RotateCA, RotateGossip, RotateCerts}

// The steps of a rotation, in order. Each is taken by every member; a member that is away
// takes them when it is back.
const (
	StepInstall = "install" // have the new key, go on using the old one
	StepUse     = "use"     // use the new key, go on accepting the old one
	StepOverlap = "overlap" // as before, for those who were away
	StepDone    = "done"    // the old key is good for nothing any more
)

// FirstStep is the step at which a rotation of the kind begins.
func FirstStep(kind string) string {
	if kind == RotateCerts {
		return StepUse // there is nothing to install before
	}
	return StepInstall
}

// Rotation is the exchange of one key of the cluster: the newest of its kind.
type Rotation struct {
	Kind    string        `json:"kind"`
	ID      string        `json:"id"` // names the new key
	Step    string        `json:"step"`
	Began   resource.Time `json:"began"`
	Stepped resource.Time `json:"stepped"` // when it came to Step
	By      string        `json:"by"`
	Overlap int64         `json:"overlap,omitempty"` // ns; how long the old key is accepted for those who are away

	NewCert []byte `json:"new_cert,omitempty"` // of the CA, until it is used
	NewKey  []byte `json:"new_key,omitempty"`  // sealed under the KEK, until it is used
	OldCert []byte `json:"old_cert,omitempty"` // until the end
	OldKey  []byte `json:"old_key,omitempty"`  // sealed under the KEK, until the end

	Nodes []RotationNode `json:"nodes,omitempty"` // by id
	Late  []string       `json:"late,omitempty"`  // ids of members that had not taken a step when the next one began
}

// RotationNode is the last step that a member has taken.
type RotationNode struct {
	ID   string `json:"id"`
	Step string `json:"step"`
}

// Busy says that the members are taking steps: nothing else may be rotated.
func (r *Rotation) Busy() bool { return r.Step == StepInstall || r.Step == StepUse }

// Took says that a member has taken the current step. The overlap and the end ask for
// nothing more than that the new key is used.
func (r *Rotation) Took(node string) bool {
	for _, n := range r.Nodes {
		if n.ID == node {
			return n.Step == StepUse || n.Step == r.Step
		}
	}
	return false
}

// Rotation returns the newest rotation of a kind, nil if there was none.
func (c *ClusterInfo) Rotation(kind string) *Rotation {
	for i := range c.Rotations {
		if c.Rotations[i].Kind == kind {
			return &c.Rotations[i]
		}
	}
	return nil
}

// MayRotate refuses a kind of key that cannot be rotated now: one rotation at a time.
func (c *ClusterInfo) MayRotate(kind string) error {
	if !slices.Contains(RotationKinds, kind) {
		return &resource.Invalid{Field: "kind", Reason: "is one of " + strings.Join(RotationKinds, ", ")}
	}
	for i := range c.Rotations {
		r := &c.Rotations[i]
		if r.Busy() {
			return fmt.Errorf("the rotation of %s is at the step %s: %w", r.Kind, r.Step, resource.ErrRefused)
		}
		if r.Kind == kind && r.Step == StepOverlap {
			return fmt.Errorf("the old key of the last rotation of %s is accepted for the sake of members that are away; wait for them or remove them: %w", r.Kind, resource.ErrRefused)
		}
	}
	return nil
}

// Trusted are the certificates of the CAs that a peer's certificate may come from, the one
// that signs first.
func (c *ClusterInfo) Trusted() [][]byte {
	out := [][]byte{c.CACert}
	r := c.Rotation(RotateCA)
	if r == nil {
		return out
	}
	for _, cert := range [][]byte{r.NewCert, r.OldCert} {
		if len(cert) > 0 {
			out = append(out, cert)
		}
	}
	return out
}

// GossipKeys are the sealed keys that a packet may be encrypted with, the one for new
// packets first.
func (c *ClusterInfo) GossipKeys() [][]byte {
	out := [][]byte{c.GossipKey}
	r := c.Rotation(RotateGossip)
	if r == nil {
		return out
	}
	for _, key := range [][]byte{r.NewKey, r.OldKey} {
		if len(key) > 0 {
			out = append(out, key)
		}
	}
	return out
}

// ActiveDEK is the id of the data key for new secrets: the newest that all members have.
func (c *ClusterInfo) ActiveDEK() string {
	n := len(c.DEKs)
	if r := c.Rotation(RotateDEK); r != nil && r.Step == StepInstall {
		n--
	}
	if n < 1 {
		return ""
	}
	return c.DEKs[n-1].ID
}
