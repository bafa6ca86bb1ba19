package consensus_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// founded is three machines that were founded together.
func founded(t *testing.T) []*machine {
	t.Helper()
	a, f := found(t)
	ms := []*machine{a, member(t, f, a.kek, "b"), member(t, f, a.kek, "c")}
	var all []consensus.Server
	for _, m := range ms {
		m.listen = freeAddr(t)
		all = append(all, consensus.Server{ID: m.id.NodeID, Address: m.listen})
	}
	a.start(&f.Bootstrap, all...)
	for _, m := range ms[1:] {
		m.start(nil, all...)
	}
	for _, m := range ms {
		ready(t, m)
	}
	eventually(t, "three voters", func() bool { return voters(a) == 3 })
	return ms
}

// speak proposes what a process does of its own.
func (m *machine) speak(cmd fsm.Command) error {
	_, err := m.node.Propose(m.t.Context(), fsm.Actor{Kind: "node", ID: m.id.NodeID}, "", cmd)
	return err
}

// begin opens an epoch, as each process does.
func (m *machine) begin() {
	m.t.Helper()
	before, _ := m.fsm.Node(m.id.NodeID)
	if err := m.speak(fsm.OpenEpoch{Node: m.id.NodeID, Life: m.node.Life(), After: before.Epoch}); err != nil {
		m.t.Fatalf("%s opens an epoch: %v", m.name, err)
	}
	m.node.Opened()
}

// tick tells how far the machine is.
func (m *machine) tick() error {
	n, _ := m.fsm.Node(m.id.NodeID)
	return m.speak(fsm.TickGroup{Ticks: []fsm.Tick{{
		Node: m.id.NodeID, Epoch: n.Epoch, Seq: n.Seq + 1, From: n.Covered, To: n.Covered, Applied: m.fsm.Applied(), Clock: resource.At(time.Now()),
	}}})
}

// ends waits for the reason for which a machine ends itself.
func (m *machine) ends() <-chan error {
	ended := make(chan error, 1)
	f := func(err error) {
		select {
		case ended <- err:
		default:
		}
	}
	m.fatal.Store(&f)
	return ended
}

// copyOf copies the data folder of a machine that is stopped.
func copyOf(t *testing.T, m *machine) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(m.dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// twinOf is another machine with the folder, not started.
func twinOf(t *testing.T, m *machine, dir string) *machine {
	t.Helper()
	kek, err := secret.ParseKEK(m.kek.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	z := &machine{t: t, name: m.name, dir: dir, listen: freeAddr(t), kek: kek}
	z.away.Store(&m.listen)
	t.Cleanup(func() { z.stop(false) })
	return z
}

// TestTwin_Restored puts an older data folder in the place of a node's: it is found, whether another process was started since or
// this one only went on, and the node votes no more until it has all that it had acknowledged.
func TestTwin_Restored(t *testing.T) {
	t.Parallel()
	ms := founded(t)
	l, x, _ := apart(t, ms)
	for _, tt := range []struct {
		name  string
		lives bool // the folder knows the newest process
	}{{"another process has run since", false}, {"it ends before what was told", true}} {
		x.begin()
		x.stop(true)
		old := copyOf(t, x)
		x.restart()
		ready(t, x)
		x.begin()
		for _, name := range []string{"t1", "t2", "t3"} {
			if _, err := putTeam(t.Context(), l, name+tt.name[:2]); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.tick(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the leader has the tick", func() bool { n, _ := l.fsm.Node(x.id.NodeID); return n.Seq == 1 })
		epoch := l.fsm.Epoch(x.id.NodeID)
		x.stop(false)
		if tt.lives {
			b, err := os.ReadFile(filepath.Join(x.dir, "lives"))
			if err := errors.Join(err, os.WriteFile(filepath.Join(old, "lives"), b, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		x.dir = old
		votes := voters(l)
		x.restart()
		if got := x.node.Estranged(); got != epoch {
			t.Errorf("%s: estranged since epoch %d, want %d", tt.name, got, epoch)
		}
		if _, err := os.Stat(filepath.Join(x.dir, "raft.damaged")); err != nil {
			t.Errorf("%s: the old log votes: %v", tt.name, err)
		}
		ready(t, x)
		if !hasTeam(x, "t3"+tt.name[:2]) {
			t.Errorf("%s: what was acknowledged is missing", tt.name)
		}
		eventually(t, "it votes again", func() bool { return voters(l) == votes })
	}
}

// TestTwin_Unheard starts a node with an older data folder while all the others are down: it gives no vote, and ends when the first of them
// says what it knows.
func TestTwin_Unheard(t *testing.T) {
	t.Parallel()
	ms := founded(t)
	l, x, y := apart(t, ms)
	x.begin()
	x.stop(true)
	old := copyOf(t, x)
	x.restart()
	ready(t, x)
	x.begin()
	if err := x.tick(); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*machine{l, y} {
		eventually(t, "it has the tick", func() bool { n, _ := m.fsm.Node(x.id.NodeID); return n.Seq == 1 })
	}
	for _, m := range ms {
		m.stop(true)
	}
	ended := x.ends()
	x.dir = old
	x.restart()
	l.restart()
	if err := <-ended; !errors.Is(err, logstore.ErrLost) {
		t.Errorf("it ends with %v, want ErrLost", err)
	}
	if l.node.IsLeader() {
		t.Error("another node leads by its vote")
	}
	y.restart()
	eventually(t, "the others lead", func() bool { return l.node.IsLeader() || y.node.IsLeader() })
}

// TestTwin_Own restarts a node from its own folder, gently and not, before and after its epochs: it is no copy.
func TestTwin_Own(t *testing.T) {
	t.Parallel()
	ms := founded(t)
	_, x, _ := apart(t, ms)
	for i := range 4 {
		if i > 0 {
			x.begin()
			if err := x.tick(); err != nil {
				t.Fatal(err)
			}
		}
		x.stop(i%2 == 0)
		x.restart()
		ready(t, x)
		if got := x.node.Estranged(); got != 0 {
			t.Errorf("start %d: estranged since epoch %d", i, got)
		}
	}
	if _, err := os.Stat(filepath.Join(x.dir, "raft.damaged")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log was put aside: %v", err)
	}
}

// TestTwin_Fenced starts a copy of a node that is cut off. When that one hears of it, it ends; and so does one in whose own state another
// process begins.
func TestTwin_Fenced(t *testing.T) {
	t.Parallel()
	ms := founded(t)
	l, x, y := apart(t, ms)
	y.begin()
	y.stop(true)
	dir := copyOf(t, y)
	y.restart()
	ready(t, y)
	ended := y.ends()
	y.begin()
	y.cut.Store(true)
	l.away.Store(&y.listen)
	x.away.Store(&y.listen)
	eventually(t, "it hears nobody", func() bool { return !y.node.HasLeader() })
	z := twinOf(t, y, dir)
	z.restart()
	ready(t, z)
	z.begin()
	if len(ended) != 0 {
		t.Fatalf("it ends before it can know: %v", <-ended)
	}
	y.cut.Store(false)
	l.away.Store(nil)
	x.away.Store(nil)
	y.later.Add(int64(time.Minute)) // without a leader
	if err := <-ended; !errors.Is(err, consensus.ErrTwin) {
		t.Errorf("the older process ends with %v, want ErrTwin", err)
	}

	ended = x.ends()
	x.begin()
	n, _ := x.fsm.Node(x.id.NodeID)
	if err := x.speak(fsm.OpenEpoch{Node: x.id.NodeID, Life: x.node.Life() + 1, After: n.Epoch}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, consensus.ErrTwin) {
		t.Errorf("a process in whose state another begins ends with %v, want ErrTwin", err)
	}
}

// TestTwin_Heard starts a copy of a node that runs and that the others hear, at an address from which it is not reached.
func TestTwin_Heard(t *testing.T) {
	t.Parallel()
	ms := founded(t)
	_, x, _ := apart(t, ms)
	x.begin()
	x.stop(true)
	dir := copyOf(t, x)
	x.restart()
	ready(t, x)
	x.begin()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = x.tick() // one that is lost is followed by others
			}
		}
	}()
	z := twinOf(t, x, dir)
	z.id = x.id
	z.open()
	z.fsm = reopen(t, z)
	_, err := consensus.New(z.config(slog.New(slog.DiscardHandler), nil, nil))
	if !errors.Is(err, consensus.ErrTwin) {
		t.Errorf("the copy starts: %v, want ErrTwin", err)
	}
	close(stop)
	<-stopped
	if err := z.tr.Close(); err != nil {
		t.Error(err)
	}
}
