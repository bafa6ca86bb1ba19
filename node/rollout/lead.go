package rollout

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
)

// lead goes on with the rollout, as far as it can now.
func (r *Runner) lead(ctx context.Context, now *fsm.Rollout) error {
	if !now.Busy() {
		return nil
	}
	members := r.cfg.Members(ctx)
	r.watch(members)
	if now.State == memory.RolloutBackward {
		return r.leadBack(ctx, now, members)
	}
	if why := r.wrong(now, members); why != "" {
		return r.advance(ctx, now, fsm.AdvanceRollout{State: memory.RolloutBackward, Reason: why})
	}
	if now.Turn != "" && !gone(members, now.Turn) {
		return r.leadTurn(ctx, now, members)
	}
	var waiting []Member
	for _, m := range members {
		switch now.Node(m.ID).Step {
		case "":
			return nil // it is still fetching the program
		case memory.NodeStaged:
			waiting = append(waiting, m)
		}
	}
	if len(waiting) == 0 {
		if ready, err := r.leadPlugins(ctx, now); err != nil || !ready {
			return err
		}
		return r.finish(ctx, now)
	}
	next, ok := nextForward(members, waiting)
	if !ok {
		return nil
	}
	return r.giveTurn(ctx, now, members, next, memory.RolloutForward)
}

// watch notes since when each node is ill.
func (r *Runner) watch(members []Member) {
	for _, m := range members {
		if m.Well {
			delete(r.ill, m.ID)
		} else if _, ok := r.ill[m.ID]; !ok {
			r.ill[m.ID] = r.cfg.Boot()
		}
	}
}

// wrong says why the rollout must go back, "" if it need not.
func (r *Runner) wrong(now *fsm.Rollout, members []Member) string {
	for _, m := range members {
		n := now.Node(m.ID)
		since, ill := r.ill[m.ID]
		sick := r.cfg.Boot() - since
		limit := time.Duration(now.Health)
		switch n.Step {
		case memory.NodeFailed:
			return fmt.Sprintf("node %s: %s", m.Name, n.Reason)
		case memory.NodeSwapping:
			limit += r.cfg.Drain + time.Duration(now.Hold) + swapMargin
		case "":
			if r.cfg.Now().Sub(now.Began.Std()) > stageWait {
				return fmt.Sprintf("node %s has not got the program within %s", m.Name, stageWait)
			}
			continue
		case memory.NodeStaged:
			continue
		}
		if ill && sick >= limit {
			return fmt.Sprintf("node %s was ill for %s with the new program", m.Name, sick.Round(time.Second))
		}
	}
	return ""
}

// leadTurn waits for the node whose turn it is to be well for long enough.
func (r *Runner) leadTurn(ctx context.Context, now *fsm.Rollout, members []Member) error {
	if now.Node(now.Turn).Step != memory.NodeUp || slices.ContainsFunc(members, func(m Member) bool { return !m.Well }) {
		r.well = 0
		return nil
	}
	if r.well == 0 {
		r.well = max(1, r.cfg.Boot())
	}
	if r.cfg.Boot()-r.well < time.Duration(now.Hold) {
		return nil
	}
	r.well = 0
	return r.advance(ctx, now, fsm.AdvanceRollout{State: memory.RolloutForward, Good: now.Turn})
}

// nextForward is the node that is to have the next turn, if all the others are well: nodes without a
// vote come first, the leader last.
func nextForward(members, waiting []Member) (Member, bool) {
	next := slices.MinFunc(waiting, inOrder)
	ill := slices.ContainsFunc(members, func(m Member) bool { return m.ID != next.ID && !m.Well })
	return next, !ill
}

// giveTurn gives the turn to a node; a leader hands over first, and the next leader gives it.
func (r *Runner) giveTurn(ctx context.Context, now *fsm.Rollout, members []Member, next Member, state string) error {
	if next.ID == r.cfg.NodeID && voters(members) > 1 {
		return r.cfg.Cluster.StepDown(ctx)
	}
	return r.advance(ctx, now, fsm.AdvanceRollout{State: state, Turn: next.ID})
}

func rank(m Member) int {
	switch {
	case m.Leader:
		return 2
	case m.Voter:
		return 1
	default:
		return 0
	}
}

func voters(members []Member) (n int) {
	for _, m := range members {
		if m.Voter {
			n++
		}
	}
	return n
}

// gone says that a node is no member any more.
func gone(members []Member, id string) bool {
	return !slices.ContainsFunc(members, func(m Member) bool { return m.ID == id })
}

// finish brings what else is in the bundle, and ends the rollout.
func (r *Runner) finish(ctx context.Context, now *fsm.Rollout) error {
	if c := now.Prices; c != nil {
		data, err := io.ReadAll(&parts{ctx: ctx, blobs: r.cfg.Blobs, left: c.Parts})
		if err == nil {
			err = r.cfg.Prices(ctx, data)
		}
		if err != nil {
			return fmt.Errorf("import the bundle's prices: %w", err)
		}
	}
	return r.advance(ctx, now, fsm.AdvanceRollout{State: memory.RolloutDone})
}

// leadBack has the nodes go back, one after the other, those first that are ill: nobody misses
// them. One that does not come back is left behind for the next one: it goes back by itself when its
// trial is over, or when it starts again.
func (r *Runner) leadBack(ctx context.Context, now *fsm.Rollout, members []Member) error {
	limit := r.cfg.Drain + time.Duration(now.Health+now.Hold) + 2*swapMargin
	late := r.cfg.Now().Sub(now.Stepped.Std()) > limit
	var swapped, next []Member
	for _, m := range members {
		if !now.Node(m.ID).Swapped() {
			continue
		}
		swapped = append(swapped, m)
		if m.ID == now.Turn && !late {
			return nil // it is on its way
		}
		if m.ID != now.Turn {
			next = append(next, m)
		}
	}
	if len(swapped) == 0 {
		return r.advance(ctx, now, fsm.AdvanceRollout{State: memory.RolloutReverted})
	}
	if len(next) == 0 {
		return nil
	}
	slices.SortFunc(next, inOrder)
	if i := slices.IndexFunc(next, func(m Member) bool { return !m.Well }); i >= 0 {
		return r.advance(ctx, now, fsm.AdvanceRollout{State: memory.RolloutBackward, Turn: next[i].ID})
	}
	if !quorumWithout(members, next[0].ID) {
		return nil
	}
	return r.giveTurn(ctx, now, members, next[0], memory.RolloutBackward)
}

// inOrder puts nodes without a vote first and the leader last.
func inOrder(a, b Member) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Name, b.Name))
}

// quorumWithout says whether most voters are well without a node, or were not enough anyway.
func quorumWithout(members []Member, id string) bool {
	all, well := voters(members), 0
	for _, m := range members {
		if m.Voter && m.Well && m.ID != id {
			well++
		}
	}
	return all < 3 || well > all/2
}

// advance proposes the next step, if the rollout is still as it was read.
func (r *Runner) advance(ctx context.Context, now *fsm.Rollout, c fsm.AdvanceRollout) error {
	c.ID, c.Read = now.ID, now.Rev
	if _, err := r.cfg.Cluster.Propose(ctx, r.self(), "", c); err != nil {
		return err
	}
	r.log.Info("the rollout goes on", "version", now.Version, "state", c.State, "turn", c.Turn, "good", c.Good, "reason", c.Reason)
	return nil
}
