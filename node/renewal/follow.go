package renewal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// follow brings this node in line with what the state says. It is harmless to repeat.
func (r *Renewal) follow(ctx context.Context, info *fsm.ClusterInfo) error {
	if err := r.followKEK(ctx, info); err != nil {
		return err
	}
	if err := r.OpenDEKs(info); err != nil {
		return err
	}
	if err := r.followCA(info); err != nil {
		return err
	}
	if err := r.followGossip(info); err != nil {
		return err
	}
	if err := r.keepValues(ctx, info); err != nil {
		return err
	}
	return r.forgetKEKs(ctx, info)
}

// OpenDEKs opens the data keys that are not open yet, and seals under the one that the state
// says.
func (r *Renewal) OpenDEKs(info *fsm.ClusterInfo) error {
	for _, d := range info.DEKs {
		if err := r.cfg.Keys.AddDEK(d.ID, d.Blob); err != nil {
			return fmt.Errorf("open data key %s: %w", d.ID, err)
		}
	}
	r.cfg.Keys.Use(info.ActiveDEK())
	return nil
}

// older says that the state does not know yet of the CA that vouches for this node, or does not use it yet. It is that of a snapshot from before an exchange of the
// CA, and the log that follows tells of that: who went by such a state would hang up on those who are to send it the log.
func older(info *fsm.ClusterInfo, ca []byte) bool {
	known := append([][]byte{info.CACert}, info.FormerCAs...)
	if rot := info.Rotation(memory.RotateCA); rot != nil {
		known = append(known, rot.OldCert)
	}
	return !slices.ContainsFunc(known, func(k []byte) bool { return bytes.Equal(k, ca) })
}

// followCA has the certificates that the state says.
func (r *Renewal) followCA(info *fsm.ClusterInfo) error {
	if older(info, r.cfg.Identity.Material().CA) {
		return nil
	}
	m := transport.Material{
		CA: info.CACert, Trusted: info.Trusted()[1:], Sealed: transport.Sealed{CAKey: info.CAKey, GossipKey: info.GossipKey},
	}
	if ca := info.Rotation(memory.RotateCA); ca != nil {
		m.OldCA, m.OldCAKey = ca.OldCert, ca.OldKey
	}
	changed, err := r.cfg.Identity.Adopt(m, r.cfg.Now(), r.openCA)
	if err != nil {
		return fmt.Errorf("take over the CA: %w", err)
	}
	if changed {
		r.cfg.Port.Reverify()
	}
	return nil
}

func (r *Renewal) openCA(box []byte) ([]byte, error) { return r.cfg.Ring.Unwrap(box, purposeCA) }

// followGossip has the gossip's keys as the state says.
func (r *Renewal) followGossip(info *fsm.ClusterInfo) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gossip == nil {
		return nil
	}
	var keys [][]byte
	for _, sealed := range info.GossipKeys() {
		key, err := r.cfg.Ring.Unwrap(sealed, purposeGossip)
		if err != nil {
			return fmt.Errorf("open gossip key: %w", err)
		}
		keys = append(keys, key)
	}
	all := string(bytes.Join(keys, nil))
	if all == r.keys {
		return nil
	}
	if err := r.gossip.SetKeys(keys); err != nil {
		return err
	}
	r.keys = all
	return nil
}

// note tells the cluster which steps this node has taken; what follow did before is enough
// for all of them, but for the nodes' certificates.
func (r *Renewal) note(ctx context.Context, info *fsm.ClusterInfo) error {
	if m, ok := r.cfg.State.Member(r.cfg.NodeID); !ok || m.Removed {
		return nil
	}
	for i := range info.Rotations {
		rot := &info.Rotations[i]
		if rot.Step == memory.StepDone || rot.Took(r.cfg.NodeID) {
			continue
		}
		if rot.Kind == memory.RotateCerts {
			if err := r.cfg.Identity.Renew(r.cfg.Now(), r.openCA); err != nil {
				return err
			}
			r.log.Info("renewed the node's certificate")
		}
		step := rot.Step
		if step == memory.StepOverlap {
			step = memory.StepUse
		}
		if err := r.proposeOwn(ctx, fsm.NoteRotation{Kind: rot.Kind, ID: rot.ID, Step: step, Node: r.cfg.NodeID}); err != nil && !errors.Is(err, resource.ErrNotFound) {
			return fmt.Errorf("note the step %s of %s: %w", step, rot.Kind, err)
		}
	}
	return nil
}

// proposeOwn commits a command of the node itself.
func (r *Renewal) proposeOwn(ctx context.Context, cmd fsm.Command) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := r.cfg.Cluster.Propose(ctx, fsm.Actor{Kind: "node", ID: r.cfg.NodeID}, "", cmd)
	return err
}
