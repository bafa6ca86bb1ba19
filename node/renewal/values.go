package renewal

import (
	"context"
	"fmt"

	"github.com/conclave-llm/conclave/fsm"
)

const methodValues = "renewal/values" // asks for the keys of sealed values that a node has kept

// keepValues keeps the keys of what was sealed for this node's environment and file under the KEKs that it is about to forget, and
// once after a start those that the others have kept: this node may have been away when they were.
func (r *Renewal) keepValues(ctx context.Context, info *fsm.ClusterInfo) error {
	if r.cfg.Values == "" || r.cfg.Ring.ID() != info.KEKID {
		return nil
	}
	r.mu.Lock()
	asked, kept := r.asked, r.kept
	r.mu.Unlock()
	now := r.cfg.Ring.IDs()
	if asked && kept == now {
		return nil
	}
	var theirs string
	if !asked {
		theirs = r.askValues(ctx)
	}
	if err := r.cfg.Values.Keep(r.cfg.Ring, theirs); err != nil {
		return fmt.Errorf("keep what opens sealed values: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.kept = true, now
	return nil
}

// askValues gives what the other members have kept, of those that answer.
func (r *Renewal) askValues(ctx context.Context) (all string) {
	for _, m := range r.cfg.State.Catalog().Tables().Members {
		if m.Removed || m.ID == r.cfg.NodeID {
			continue
		}
		wait, cancel := context.WithTimeout(ctx, hereWait)
		b, err := r.cfg.Cluster.Call(wait, m.ID, methodValues, nil)
		cancel()
		if err == nil { // a node of an older program knows of none
			all += string(b) + "\n"
		}
	}
	return all
}

// onValues answers askValues. The keys are wrapped by the KEK, which every member has.
func (r *Renewal) onValues(context.Context, string, []byte) ([]byte, error) {
	text, err := r.cfg.Values.Export()
	return []byte(text), err
}
