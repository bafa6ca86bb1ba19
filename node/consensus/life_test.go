package consensus_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/join"
	"github.com/conclave-llm/conclave/resource"
)

// trio is three machines that vote, of which the first founded the cluster.
func trio(t *testing.T) []*machine {
	t.Helper()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	b := joinThrough(t, "b", a, token(t, a))
	c := joinThrough(t, "c", a, token(t, a))
	ms := []*machine{a, b, c}
	for _, m := range ms {
		ready(t, m)
	}
	eventually(t, "three voters", func() bool { return voters(a) == 3 && voters(b) == 3 && voters(c) == 3 })
	return ms
}

// apart are the leader and two that follow it.
func apart(t *testing.T, ms []*machine) (l, x, y *machine) {
	t.Helper()
	l = leader(t, ms)
	for _, m := range ms {
		switch {
		case m == l:
		case x == nil:
			x = m
		default:
			y = m
		}
	}
	return l, x, y
}

// TestLife_Votes takes and gives a vote, and refuses what would cost the quorum, with the count.
func TestLife_Votes(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	l, x, y := apart(t, ms)
	if err := x.change(consensus.VerbDemote, y.id.NodeID); err != nil {
		t.Fatal(err)
	}
	if n := voters(x); n != 2 {
		t.Errorf("%d voters, want 2", n)
	}
	if err := l.change(consensus.VerbPromote, y.id.NodeID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it votes again", func() bool { return voters(l) == 3 })
	y.stop(true)
	for _, verb := range []consensus.Verb{consensus.VerbRemove, consensus.VerbDemote} {
		err := l.change(verb, x.id.NodeID)
		if !errors.Is(err, resource.ErrQuorum) || !strings.Contains(err.Error(), "1 of 2 voters") {
			t.Errorf("%s one of the two that answer: got %v, want ErrQuorum with the count", verb, err)
		}
	}
	if err := l.change(consensus.VerbRemove, "nobody"); !errors.Is(err, resource.ErrNotFound) {
		t.Errorf("an unknown node: got %v, want ErrNotFound", err)
	}
	dry := consensus.Change{Verb: consensus.VerbRemove, ID: y.id.NodeID, DryRun: true}
	if after, err := l.node.Change(t.Context(), dry); err != nil || after.Voters != 2 || after.Alive != 2 {
		t.Errorf("dry run: got %+v, %v", after, err)
	}
	if m, _ := l.fsm.Member(y.id.NodeID); m.Removed {
		t.Error("the dry run removed the node")
	}
}

// TestLife_RemovedWhileAway removes a node that is down: when it comes back it learns why nobody
// talks to it.
func TestLife_RemovedWhileAway(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	l, _, y := apart(t, ms)
	y.stop(true)
	if err := l.remove(y.id.NodeID); err != nil {
		t.Fatal(err)
	}
	y.restart()
	eventually(t, "the removed node knows", func() bool { return y.node.Removed() })
}

// TestLife_Moved starts two of three nodes with new addresses, and one with only a seed to find
// the others by: they find each other, and the table of members has the new addresses.
func TestLife_Moved(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	_, x, y := apart(t, ms)
	old := map[*machine]string{x: x.listen, y: y.listen}
	for _, m := range []*machine{x, y} {
		m.stop(true)
		m.listen = "127.0.0.1:0"
	}
	x.restart()
	y.restart()
	for _, m := range []*machine{x, y} {
		ready(t, m)
		eventually(t, "the table has the new address", func() bool {
			for _, at := range ms {
				if r, ok := at.fsm.Member(m.id.NodeID); !ok || r.Address == old[m] || r.Address != m.listen {
					return false
				}
			}
			return true
		})
	}
	for _, m := range ms {
		m.stop(true)
		m.listen = "127.0.0.1:0"
	}
	meeting := ms[0]
	meeting.open() // all have moved: the others know one address
	ms[1].seeds, ms[2].seeds = []string{meeting.listen}, []string{meeting.listen}
	for _, m := range ms {
		m.restart()
	}
	start := time.Now()
	for _, m := range ms {
		ready(t, m)
	}
	t.Logf("all three moved: ready after %s", time.Since(start).Round(time.Millisecond))
	if _, err := putTeam(t.Context(), ms[1], "after"); err != nil {
		t.Error(err)
	}
}

// TestLife_DamagedLog flips a bit in a follower's log, then loses another's whole log: both come
// back by themselves, first without a vote, with everything that was acknowledged.
func TestLife_DamagedLog(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	l, x, _ := apart(t, ms)
	for _, name := range []string{"t1", "t2", "t3"} {
		if _, err := putTeam(t.Context(), l, name); err != nil {
			t.Fatal(err)
		}
	}
	for name, harm := range map[string]func(dir string){
		"a flipped bit": func(dir string) { flip(t, dir) },
		"no log at all": func(dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
	} {
		x.stop(true)
		harm(filepath.Join(x.dir, "raft"))
		start := time.Now()
		x.restart()
		ready(t, x)
		t.Logf("%s: ready after %s", name, time.Since(start).Round(time.Millisecond))
		if got, want := x.fsm.Applied(), l.fsm.Applied(); got+5 < want {
			t.Errorf("%s: applied %d, want about %d", name, got, want)
		}
		eventually(t, name+": it votes again", func() bool { return voters(l) == 3 })
	}
	h1, s1 := l.fsm.Hash()
	eventually(t, "the states are equal", func() bool {
		got, ok := x.fsm.HashAt(h1)
		return ok && got == s1
	})
}

// flip changes one bit in the middle of what the log has.
func flip(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of the log: %v", err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(b)
	for end > 0 && b[end-1] == 0 {
		end--
	}
	b[end/2] ^= 0x10
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLife_Repair quarantines a node, which loses its vote, and has it fetch the state anew
// while entries are applied.
func TestLife_Repair(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	l, x, y := apart(t, ms)
	_, err := l.node.Propose(t.Context(), fsm.Actor{Kind: "node", ID: l.id.NodeID}, "", fsm.MarkMember{ID: x.id.NodeID, Mark: fsm.MarkQuarantined, Reason: "test"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has no vote", func() bool { return voters(l) == 2 })
	if err := l.change(consensus.VerbPromote, x.id.NodeID); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("promote a quarantined node: got %v, want ErrRefused", err)
	}
	if err := y.change(consensus.VerbRepair, l.id.NodeID); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("repair the leader: got %v, want ErrRefused", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			if _, err := putTeam(t.Context(), l, "t"+string(rune('a'+i%26))+string(rune('a'+i/26))); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	if err := y.change(consensus.VerbRepair, x.id.NodeID); err != nil {
		t.Fatal(err)
	}
	<-done
	eventually(t, "it votes again", func() bool { return voters(l) == 3 })
	index, want := l.fsm.Hash()
	eventually(t, "the states are equal", func() bool {
		got, ok := x.fsm.HashAt(index)
		return ok && got == want
	})
}

// TestLife_ReadNode joins a node that never votes, though voters are wanted.
func TestLife_ReadNode(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	b := joinThrough(t, "b", a, token(t, a))
	ready(t, b)
	b.stop(true)
	b.role = resource.MemberRead
	b.restart()
	eventually(t, "it is a read node without a vote", func() bool {
		m, ok := a.fsm.Member(b.id.NodeID)
		return ok && m.Role == resource.MemberRead && voters(a) == 1
	})
	if err := a.change(consensus.VerbPromote, b.id.NodeID); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("promote a read node: got %v, want ErrRefused", err)
	}
	if _, err := putTeam(t.Context(), b, "through-it"); err != nil {
		t.Error(err)
	}
}

// TestLife_DiskLow has the leader's disk fill up: it hands over, and large entries are refused
// while every disk is full.
func TestLife_DiskLow(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	l, x, y := apart(t, ms)
	l.full.Store(true)
	eventually(t, "another leads", func() bool { return x.node.IsLeader() || y.node.IsLeader() })
	x.full.Store(true)
	y.full.Store(true)
	at := leader(t, ms)
	big := resource.Setting{Meta: resource.Meta{ID: "blocked_user_list"}, Value: []byte(`["x"` + strings.Repeat(`,"yyyyyyyyyyyyyyyy"`, 8000) + `]`)}
	enc, err := fsm.EncodedOf(big)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := at.node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", fsm.PutSetting{Setting: enc}); !errors.Is(err, resource.ErrDiskFull) {
		t.Errorf("a large entry: got %v, want ErrDiskFull", err)
	}
	if _, err := putTeam(t.Context(), at, "small"); err != nil {
		t.Errorf("a small entry: %v", err)
	}
}

// TestLife_Version runs programs of two versions mixed: what needs the new one waits until it is
// finalised, and from then on the old program is refused, with a message that says why.
func TestLife_Version(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	b := joinThrough(t, "b", a, token(t, a))
	ready(t, b)
	b.stop(true)
	b.newest = 2
	b.restart()
	ready(t, b)
	eventually(t, "b tells what it runs", func() bool { m, _ := a.fsm.Member(b.id.NodeID); return m.FSMVersion == 2 })
	raise := func() error {
		_, err := b.node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", fsm.SetVersion{Version: 2})
		return err
	}
	if err := raise(); !errors.Is(err, resource.ErrRefused) || !strings.Contains(err.Error(), "runs the versions 1 to 1") {
		t.Errorf("raise while a runs 1: got %v", err)
	}
	a.stop(true)
	a.newest = 2
	a.restart()
	ready(t, a)
	eventually(t, "a tells what it runs", func() bool { m, _ := b.fsm.Member(a.id.NodeID); return m.FSMVersion == 2 })
	if err := raise(); err != nil {
		t.Fatal(err)
	}
	if v := b.fsm.FSMVersion(); v != 2 {
		t.Errorf("version %d, want 2", v)
	}
	_, err := join.Ask(t.Context(), join.Config{
		Addrs: []string{a.tr.Addr()}, Token: token(t, a), Name: "old", Address: freeAddr(t), MasterHash: masterHash, Timeout: 10 * time.Second,
	})
	if !errors.Is(err, join.ErrRefused) || !strings.Contains(err.Error(), "the cluster has version 2") {
		t.Errorf("an old program joins: got %v", err)
	}
}

// TestLife_Transfer hands the leadership over twenty times under writes, of which none fails.
func TestLife_Transfer(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	stop, done := make(chan struct{}), make(chan struct{})
	var wrote atomic.Int64
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := putTeam(t.Context(), ms[i%3], "w"+time.Now().Format("150405.000000000")); err != nil {
				t.Errorf("write %d: %v", i, err)
				return
			}
			wrote.Add(1)
		}
	}()
	var worst, sum time.Duration
	const times = 20
	for range times {
		l := leader(t, ms)
		start := time.Now()
		if err := l.node.Transfer(t.Context(), ""); err != nil {
			t.Errorf("transfer: %v", err)
		}
		took := time.Since(start)
		worst, sum = max(worst, took), sum+took
		before := wrote.Load()
		eventually(t, "writes go on", func() bool { return wrote.Load() >= before+5 || t.Failed() })
	}
	close(stop)
	<-done
	t.Logf("%d transfers: mean %s, worst %s; %d writes, none failed", times, (sum / times).Round(time.Millisecond), worst.Round(time.Millisecond), wrote.Load())
}

// TestLife_Replace puts a node with an empty folder in the place of one that is down, under its
// name and its address, with one token.
func TestLife_Replace(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	l, x, y := apart(t, ms)
	y.stop(true)
	req := consensus.TokenRequest{By: fsm.Actor{Kind: "master"}, RequestID: "r", TTL: time.Minute, Replaces: x.id.NodeID}
	if _, err := l.node.JoinToken(t.Context(), req); !errors.Is(err, resource.ErrQuorum) {
		t.Errorf("replace the one that is needed: got %v, want ErrQuorum", err)
	}
	req.Replaces = y.id.NodeID
	tok, err := l.node.JoinToken(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	heir := joinAt(t, y.name, y.listen, l, tok)
	ready(t, heir)
	eventually(t, "the heir votes in its place", func() bool {
		m, ok := l.fsm.Member(y.id.NodeID)
		return ok && m.Removed && voters(l) == 3
	})
	if r, ok := l.fsm.Member(heir.id.NodeID); !ok || r.Name != y.name || r.Address != y.listen {
		t.Errorf("the heir: got %+v", r)
	}
}
