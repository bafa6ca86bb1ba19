package rollout

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/node/versions"
)

// follow does what this node has to do.
func (r *Runner) follow(ctx context.Context, now *fsm.Rollout) error {
	me := now.Node(r.cfg.NodeID)
	p, err := r.target(now)
	if err != nil {
		if me.Step == "" && now.State == memory.RolloutForward {
			return r.note(ctx, now, memory.NodeFailed, err.Error())
		}
		return nil
	}
	runs := r.cfg.Running == p.SHA256
	switch {
	case now.State == memory.RolloutBackward:
		return r.back(ctx, now, me, runs)
	case now.State != memory.RolloutForward && now.State != memory.RolloutDone:
		return nil
	case me.Swapped() && runs:
		return r.running(ctx, now, me)
	case now.State == memory.RolloutDone:
		return nil
	case me.Step == "":
		return r.stage(ctx, now, p)
	case me.Step == memory.NodeStaged && now.Turn == r.cfg.NodeID:
		return r.swap(ctx, now, p, runs)
	case me.Swapped():
		return r.fallen(ctx, now)
	}
	return nil
}

// running is what a node does that runs the new program.
func (r *Runner) running(ctx context.Context, now *fsm.Rollout, me memory.RolloutNode) error {
	switch me.Step {
	case memory.NodeSwapping:
		return r.note(ctx, now, memory.NodeUp, "")
	case memory.NodeGood:
		if !r.onTrial(now) {
			return nil
		}
		if err := r.cfg.Versions.Confirm(now.ID, r.cfg.Base); err != nil {
			return err
		}
		r.log.Info("the new program is this node's from now on", "version", now.Version)
	}
	return nil
}

func (r *Runner) onTrial(now *fsm.Rollout) bool {
	st, err := r.cfg.Versions.State()
	return err == nil && st.Trial != nil && st.Trial.Rollout == now.ID
}

// stage has the program on this node's disk.
func (r *Runner) stage(ctx context.Context, now *fsm.Rollout, p memory.Program) error {
	st, err := r.cfg.Versions.State()
	if err == nil && st.Trial != nil && st.Trial.Program == r.cfg.Running { // the last one ended well before this node wrote that down
		err = r.cfg.Versions.Confirm(st.Trial.Rollout, r.cfg.Base)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stageWait)
	defer cancel()
	if err := r.cfg.Versions.Add(p.SHA256, p.Size, &parts{ctx: ctx, blobs: r.cfg.Blobs, left: p.Parts}); err != nil {
		return fmt.Errorf("fetch the program of version %s: %w", now.Version, err)
	}
	return r.note(ctx, now, memory.NodeStaged, "")
}

// swap stops this node, to start the new program.
func (r *Runner) swap(ctx context.Context, now *fsm.Rollout, p memory.Program, runs bool) error {
	if runs {
		if err := r.note(ctx, now, memory.NodeSwapping, ""); err != nil {
			return err
		}
		return r.note(ctx, now, memory.NodeUp, "")
	}
	if err := r.cfg.Versions.Check(p.SHA256); err != nil {
		return r.note(ctx, now, memory.NodeFailed, err.Error())
	}
	r.asked = now.ID + " forward"
	if err := r.note(ctx, now, memory.NodeSwapping, ""); err != nil {
		return err
	}
	r.cfg.Swap(Swap{Trial: &versions.Trial{
		Program: p.SHA256, Rollout: now.ID, Limit: time.Duration(now.Health+now.Hold) + trialMargin,
	}})
	return nil
}

// fallen is for a node that was to run the new program and runs another.
func (r *Runner) fallen(ctx context.Context, now *fsm.Rollout) error {
	if r.asked == now.ID+" forward" {
		return nil // this process is about to stop
	}
	return r.note(ctx, now, memory.NodeFailed, r.whyFailed(now))
}

func (r *Runner) whyFailed(now *fsm.Rollout) string {
	st, err := r.cfg.Versions.State()
	if err != nil {
		return err.Error()
	}
	if st.Failed != nil && st.Failed.Rollout == now.ID {
		return cmp.Or(st.Failed.Reason, "the new program was given up")
	}
	return "the node runs another program than the new one"
}

// back goes back to what ran before.
func (r *Runner) back(ctx context.Context, now *fsm.Rollout, me memory.RolloutNode, runs bool) error {
	st, err := r.cfg.Versions.State()
	if err != nil {
		return err
	}
	switch {
	case !me.Swapped():
		return nil
	case !runs && r.asked == now.ID+" forward":
		return nil // this process is about to stop
	case !runs && st.Failed != nil && st.Failed.Rollout == now.ID:
		return r.note(ctx, now, memory.NodeFailed, r.whyFailed(now))
	case !runs:
		return r.note(ctx, now, memory.NodeBack, "")
	case !r.cfg.Chosen:
		return r.note(ctx, now, memory.NodeFailed, "the operator installed this program: nothing is there to go back to")
	case now.Turn != r.cfg.NodeID || r.asked == now.ID+" backward":
		return nil
	}
	if err := r.cfg.Versions.Revert(now.ID); err != nil {
		return err
	}
	r.asked = now.ID + " backward"
	r.log.Info("this node goes back to the program of before", "version", now.Version, "reason", now.Reason)
	r.cfg.Swap(Swap{})
	return nil
}

// parts reads blobs one behind the other.
type parts struct {
	ctx   context.Context //nolint:containedctx // of the one read that this is for
	blobs Blobs
	left  []string
	at    bytes.Reader
}

// Read implements io.Reader.
func (p *parts) Read(b []byte) (int, error) {
	for p.at.Len() == 0 {
		if len(p.left) == 0 {
			return 0, io.EOF
		}
		body, err := p.blobs.Read(p.ctx, p.left[0])
		if err != nil {
			return 0, err
		}
		p.left = p.left[1:]
		p.at.Reset(body)
	}
	return p.at.Read(b)
}
