package renewal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	methodHere  = "renewal/here"
	hereWait    = time.Second
	resealBatch = 200 // secrets in one entry
)

// lead goes on to the next step where the last one is taken.
func (r *Renewal) lead(ctx context.Context, info *fsm.ClusterInfo) error {
	for i := range info.Rotations {
		rot := &info.Rotations[i]
		if rot.Step == memory.StepDone || !r.taken(ctx, rot) {
			continue
		}
		cmd := fsm.AdvanceRotation{Kind: rot.Kind, ID: rot.ID, From: rot.Step}
		var err error
		switch {
		case rot.Kind == memory.RotateDEK && rot.Step == memory.StepUse:
			err = r.reseal(ctx, info.ActiveDEK())
		case rot.Kind == memory.RotateKEK && rot.Step == memory.StepInstall:
			cmd.Wraps, err = r.rewrap(info, rot.ID)
		}
		if err != nil {
			return fmt.Errorf("rotate %s: %w", rot.Kind, err)
		}
		if err := r.proposeOwn(ctx, cmd); err != nil {
			return fmt.Errorf("go on with the rotation of %s: %w", rot.Kind, err)
		}
		r.log.Info("a step of a rotation is taken", "kind", rot.Kind, "step", rot.Step)
	}
	return nil
}

// taken says that every member has taken the step, but for those that are out of reach and
// have been waited for.
func (r *Renewal) taken(ctx context.Context, rot *fsm.Rotation) bool {
	waiting := r.waiting(rot)
	now := r.cfg.Now()
	switch {
	case len(waiting) == 0:
		return true
	case rot.Step == memory.StepOverlap:
		return now.After(rot.Stepped.Std().Add(time.Duration(rot.Overlap)))
	case now.Before(rot.Stepped.Std().Add(r.cfg.Grace)):
		return false
	default:
		return !r.anyHere(ctx, waiting)
	}
}

// waiting lists the members that have not taken the step.
func (r *Renewal) waiting(rot *fsm.Rotation) (ids []string) {
	for _, m := range r.cfg.State.Catalog().Tables().Members {
		if !m.Removed && !rot.Took(m.ID) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// anyHere says whether one of the nodes answers.
func (r *Renewal) anyHere(ctx context.Context, ids []string) bool {
	ctx, cancel := context.WithTimeout(ctx, hereWait)
	defer cancel()
	here := make(chan struct{}, len(ids))
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			if id == r.cfg.NodeID {
				here <- struct{}{}
			} else if _, err := r.cfg.Cluster.Call(ctx, id, methodHere, nil); err == nil {
				here <- struct{}{}
			}
		})
	}
	wg.Wait()
	return len(here) > 0
}

// rewrap seals every key of the cluster under the new KEK.
func (r *Renewal) rewrap(info *fsm.ClusterInfo, kekID string) ([]fsm.Wrap, error) {
	next, ok := r.cfg.Ring.Find(kekID)
	if !ok {
		return nil, fmt.Errorf("this leader lacks the KEK %s", kekID)
	}
	boxes := map[string][][]byte{purposeCA: {info.CAKey}, purposeGossip: {info.GossipKey}}
	for _, d := range info.DEKs {
		boxes["dek/"+d.ID] = [][]byte{d.Blob}
	}
	for i := range info.Rotations {
		purpose := map[string]string{memory.RotateCA: purposeCA, memory.RotateGossip: purposeGossip}[info.Rotations[i].Kind]
		boxes[purpose] = append(boxes[purpose], info.Rotations[i].NewKey, info.Rotations[i].OldKey)
	}
	var out []fsm.Wrap
	for purpose, list := range boxes {
		for _, box := range list {
			if len(box) == 0 {
				continue
			}
			plain, err := r.cfg.Ring.Unwrap(box, purpose)
			if err != nil {
				return nil, err
			}
			w := fsm.Wrap{Old: box}
			if w.New, err = next.Wrap(plain, purpose); err != nil {
				return nil, err
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// reseal seals every secret that is under another data key under the one with the id. It
// returns when none is left.
func (r *Renewal) reseal(ctx context.Context, dek string) error {
	for {
		items, err := r.stale(dek)
		if err != nil || len(items) == 0 {
			return err
		}
		for len(items) > 0 {
			n := min(len(items), resealBatch)
			if err := r.proposeOwn(ctx, fsm.Reseal{Items: items[:n]}); err != nil {
				return fmt.Errorf("seal %d secrets anew: %w", n, err)
			}
			items = items[n:]
		}
	}
}

// stale seals anew what is under another data key.
func (r *Renewal) stale(dek string) (items []fsm.Resealed, err error) {
	r.cfg.State.EachSealed(func(rec fsm.SealedRecord) bool {
		rec.EachSealed(func(field string, s *resource.Sealed) *resource.Sealed {
			if err != nil || s.DEK == dek {
				return s
			}
			var text secret.Text
			if text, err = r.cfg.Keys.Open(s, rec.Kind, rec.ID, field); err != nil {
				return s
			}
			it := fsm.Resealed{Kind: rec.Kind, ID: rec.ID, Field: field, Old: s.Box}
			if it.Sealed, err = r.cfg.Keys.Seal(text, rec.Kind, rec.ID, field); err == nil {
				it.Sealed.SignIn, it.Sealed.Given = s.SignIn, s.Given
				items = append(items, it)
			}
			return s
		})
		return err == nil
	})
	return items, err
}
