package fsm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

func rollout(id string) fsm.BeginRollout {
	digest := strings.Repeat("ab", 32)
	return fsm.BeginRollout{Rollout: fsm.Rollout{
		ID: id, Version: "v2", Bundle: digest, Manifest: []byte(`{}`), Signed: "s", Signer: "k", Health: 60e9, Hold: 5e9,
		Programs: []memory.Program{{Platform: "linux/amd64", Content: memory.Content{SHA256: digest, Size: 1, Parts: []string{digest}}}},
		Turn:     "n1", State: memory.RolloutDone, // which the state machine does not take from the proposer
	}}
}

func TestRollout(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.doAs(node("n2"), fsm.RegisterMember{Member: member("n2")})
	now := func() *fsm.Rollout {
		info, _ := h.f.Cluster()
		return info.Rollout
	}
	note := func(id, step string) fsm.NoteRollout { return fsm.NoteRollout{ID: "r1", Node: id, Step: step} }
	advance := func(c fsm.AdvanceRollout) fsm.AdvanceRollout {
		c.ID, c.Read = "r1", now().Rev
		return c
	}
	bad := rollout("r1")
	bad.Rollout.Programs = nil
	if err := h.try(master, bad).Err; resource.Code(err) != "invalid" {
		t.Errorf("a rollout of nothing: got %v", err)
	}
	h.refused(node("n1"), rollout("r1"), resource.ErrForbidden)
	h.do(rollout("r1"))
	if r := now(); r.State != memory.RolloutForward || r.Turn != "" || r.Base != 1 || r.By != "master" {
		t.Fatalf("rollout: got %+v", r)
	}
	h.refused(master, rollout("r2"), resource.ErrRefused)
	h.refused(node("n2"), note("n1", memory.NodeStaged), resource.ErrForbidden)
	h.refused(node("n1"), fsm.NoteRollout{ID: "r0", Node: "n1", Step: memory.NodeStaged}, resource.ErrNotFound)
	if err := h.try(node("n1"), note("n1", memory.NodeGood)).Err; resource.Code(err) != "invalid" {
		t.Errorf("a node calls itself good: got %v", err)
	}
	h.doAs(node("n1"), note("n1", memory.NodeStaged))
	h.doAs(node("n2"), note("n2", memory.NodeStaged))
	h.refused(node("n2"), note("n2", memory.NodeSwapping), resource.ErrConflict) // it is nobody's turn
	stale := advance(fsm.AdvanceRollout{State: memory.RolloutForward, Turn: "n2"})
	h.doAs(node("n1"), stale)
	h.refused(node("n1"), stale, resource.ErrConflict) // another leader was faster
	h.refused(node("n1"), advance(fsm.AdvanceRollout{State: memory.RolloutForward, Good: "n2"}), resource.ErrRefused)
	h.refused(node("n1"), advance(fsm.AdvanceRollout{State: memory.RolloutForward, Turn: "n9"}), resource.ErrNotFound)
	h.doAs(node("n2"), note("n2", memory.NodeSwapping))
	h.doAs(node("n2"), note("n2", memory.NodeUp))
	h.refused(master, fsm.SetVersion{Version: 2}, resource.ErrRefused) // a node may have to go back
	h.doAs(node("n1"), advance(fsm.AdvanceRollout{State: memory.RolloutForward, Good: "n2"}))
	if r := now(); r.Node("n2").Step != memory.NodeGood || r.Turn != "" {
		t.Errorf("after n2: got %+v", r)
	}
	h.refused(node("n1"), advance(fsm.AdvanceRollout{State: memory.RolloutReverted}), resource.ErrRefused)
	h.doAs(node("n1"), advance(fsm.AdvanceRollout{State: memory.RolloutBackward, Reason: "n1 is ill"}))
	h.refused(node("n1"), advance(fsm.AdvanceRollout{State: memory.RolloutDone}), resource.ErrRefused)
	h.refused(master, fsm.RevertRollout{ID: "r1"}, resource.ErrRefused)
	h.doAs(node("n2"), note("n2", memory.NodeBack))
	h.doAs(node("n1"), advance(fsm.AdvanceRollout{State: memory.RolloutReverted}))
	if r := now(); r.State != memory.RolloutReverted || r.Reason != "n1 is ill" {
		t.Errorf("in the end: got %+v", r)
	}
	h.do(rollout("r2"))
}

// TestRollout_NoWayBack refuses to go back once the cluster's version was raised.
func TestRollout_NoWayBack(t *testing.T) {
	t.Parallel()
	h := start(t)
	_ = h.f.Close()
	h.cfg.FSMVersion = 2
	h.open()
	one := member("n1")
	one.FSMVersion = 2
	h.doAs(node("n1"), fsm.Bootstrap{ClusterID: "c1"})
	h.doAs(node("n1"), fsm.RegisterMember{Member: one})
	h.do(rollout("r1"))
	info, _ := h.f.Cluster()
	h.doAs(node("n1"), fsm.AdvanceRollout{ID: "r1", Read: info.Rollout.Rev, State: memory.RolloutDone})
	h.do(fsm.SetVersion{Version: 2})
	h.refused(master, fsm.RevertRollout{ID: "r1"}, resource.ErrRefused)
}

// TestNeeds_Batch counts what is in a batch.
func TestNeeds_Batch(t *testing.T) {
	t.Parallel()
	item, err := fsm.ItemOf(fsm.DeleteTeam{ID: "t1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cmd  fsm.Command
		want uint32
	}{
		{"a command", fsm.DeleteTeam{ID: "t1"}, 1},
		{"a batch", fsm.Batch{Items: []fsm.Item{item}}, 1},
	} {
		if got := fsm.Needs(tt.cmd); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}
