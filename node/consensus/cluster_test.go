package consensus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/internal/ports"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/intake"
	"github.com/conclave-llm/conclave/node/consensus/join"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

var masterHash = resource.HashSecret("sk-master")

// machine is one node with its folder; it can be stopped and started.
type machine struct {
	t      testing.TB
	name   string
	dir    string
	listen string
	id     *transport.Identity
	kek    *secret.KEK
	up     bool

	bootID  string       // of the system, as the state machine sees it; "": the real one
	skew    atomic.Int64 // of the wall clock, nanoseconds
	later   atomic.Int64 // of the boot clock, nanoseconds
	watch   func(fsm.Change)
	log     *slog.Logger // nil: discard
	role    string
	seeds   []string
	full    atomic.Bool                 // its disk
	cut     atomic.Bool                 // nobody is reached, and nobody heard
	windows intake.Windows              // of entries under way
	compact int64                       // bytes from which the state's file is compacted, at once; 0: as by default
	newest  uint32                      // version of the state machine; 0: that of the program
	away    atomic.Pointer[string]      // an address that is not reached
	fatal   atomic.Pointer[func(error)] // nil: the test fails

	tr   *transport.Transport
	fsm  *fsm.FSM
	node *consensus.Node
}

// start runs the machine; boot is for its first start.
func (m *machine) start(boot *fsm.Bootstrap, voters ...consensus.Server) {
	m.t.Helper()
	var err error
	must := func() {
		if err != nil {
			m.t.Helper()
			m.t.Fatalf("start %s: %v", m.name, err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	if m.log != nil {
		log = m.log
	}
	if os.Getenv("CONCLAVE_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", m.name)
	}
	if m.tr == nil {
		m.open()
	}
	m.fsm, err = fsm.Open(fsm.Config{Dir: m.dir, NodeID: m.id.NodeID, Logger: log, BootID: m.bootID, Watch: m.watch, FSMVersion: m.newest})
	must()
	m.node, err = consensus.New(m.config(log, boot, voters))
	must()
	m.up = true
}

// config is how the machine's node is run.
func (m *machine) config(log *slog.Logger, boot *fsm.Bootstrap, voters []consensus.Server) consensus.Config {
	return consensus.Config{
		Name: m.name, ClientURL: "http://" + m.name, Version: "test", Dir: m.dir, FSM: m.fsm, Transport: m.tr,
		Identity: m.id, Keeper: m.kek, Bootstrap: boot, Voters: voters, Logger: log, Role: m.role, Seeds: m.seeds, Describe: func() consensus.Local { return consensus.Local{DiskLow: m.full.Load()} }, FSMVersion: m.newest, Intake: m.windows,
		Boot: func() time.Duration { return clock.Boot() + time.Duration(m.later.Load()) },
		Now:  func() time.Time { return time.Now().Add(time.Duration(m.skew.Load())) },
		Fatal: func(err error) {
			if ended := m.fatal.Load(); ended != nil {
				(*ended)(err)
				return
			}
			m.t.Errorf("%s must exit: %v", m.name, err)
		},
		TwinWait: 100 * time.Millisecond, CompactFrom: m.compact, CompactEach: time.Duration(min(m.compact, 1)) * 20 * time.Millisecond,
	}
}

// open opens the cluster port.
func (m *machine) open() {
	m.t.Helper()
	var err error
	m.tr, err = transport.New(transport.Config{
		Listen: m.listen, Identity: m.id.Certificate, Roots: m.id.Roots, ClusterID: m.id.Cluster,
		Reach: func(addr string) bool {
			away := m.away.Load()
			return !m.cut.Load() && (away == nil || addr != *away)
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.listen = m.tr.Addr() // the same at the next start
}

// stop ends the machine; gentle hands leadership over first.
func (m *machine) stop(gentle bool) {
	m.t.Helper()
	if !m.up {
		return
	}
	m.up = false
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if !gentle {
		_ = m.tr.Close() // nobody hears its last words
		cancel()
	}
	if err := m.node.Shutdown(ctx); err != nil && gentle {
		m.t.Errorf("stop %s: %v", m.name, err)
	}
	if err := errors.Join(m.fsm.Close(), m.tr.Close()); err != nil {
		m.t.Errorf("stop %s: %v", m.name, err)
	}
	m.tr = nil
}

// restart starts from the folder alone.
func (m *machine) restart() {
	m.t.Helper()
	id, err := transport.LoadIdentity(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	m.id = id
	m.start(nil)
}

// found makes the first machine of a cluster.
func found(t testing.TB) (*machine, *consensus.Founding) {
	t.Helper()
	kek, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	dekID, dek, err := secret.NewKeyring(kek).NewDEK()
	if err != nil {
		t.Fatal(err)
	}
	f, err := consensus.Found(kek, masterHash, dekID, dek)
	if err != nil {
		t.Fatal(err)
	}
	return member(t, f, kek, "a"), f
}

// member makes a machine of a cluster that is founded with several.
func member(t testing.TB, f *consensus.Founding, kek *secret.KEK, name string) *machine {
	t.Helper()
	nodeID, err := transport.NewNodeID()
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.Identity(nodeID)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, name: name, dir: t.TempDir(), listen: "127.0.0.1:0", id: id, kek: kek}
	if err := id.Save(m.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.stop(false) })
	return m
}

// change asks a machine for a change of the membership.
func (m *machine) change(verb consensus.Verb, id string) error {
	_, err := m.node.Change(m.t.Context(), consensus.Change{Verb: verb, ID: id, By: fsm.Actor{Kind: "master"}, RequestID: "r"})
	return err
}

// remove asks a machine to remove a node.
func (m *machine) remove(id string) error { return m.change(consensus.VerbRemove, id) }

// token asks a machine for a join token.
func token(t testing.TB, m *machine) string {
	t.Helper()
	tok, err := m.node.JoinToken(t.Context(), consensus.TokenRequest{By: fsm.Actor{Kind: "master"}, RequestID: "r", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// freeAddr is a free port of the loopback.
func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := ports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// joinThrough makes a new machine join through another.
func joinThrough(t testing.TB, name string, via *machine, tok string) *machine {
	t.Helper()
	return joinAt(t, name, freeAddr(t), via, tok)
}

// joinAt is joinThrough with an address.
func joinAt(t testing.TB, name, listen string, via *machine, tok string) *machine {
	t.Helper()
	m := &machine{t: t, name: name, dir: t.TempDir(), listen: listen}
	j, err := join.Ask(t.Context(), join.Config{
		Addrs: []string{via.tr.Addr()}, Token: tok, Name: name, Address: m.listen, MasterHash: masterHash, Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatalf("join %s: %v", name, err)
	}
	if m.kek, err = secret.ParseKEK(j.KEK); err != nil {
		t.Fatal(err)
	}
	m.id = j.Identity
	if err := m.id.Save(m.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.stop(false) })
	m.start(nil)
	return m
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		<-tick.C
	}
}

// putTeam creates a team through a machine.
func putTeam(ctx context.Context, m *machine, name string) (fsm.Result, error) {
	return m.node.Propose(ctx, fsm.Actor{Kind: "master"}, "r-"+name, teamCommand(m.t, name))
}

func teamCommand(t testing.TB, name string) fsm.PutTeam {
	t.Helper()
	enc, err := fsm.EncodedOf(resource.Team{Meta: resource.Meta{ID: name}, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return fsm.PutTeam{Team: enc}
}

func hasTeam(m *machine, name string) bool {
	_, ok := m.fsm.Catalog().Team(name)
	return ok
}

// ready waits until a machine is ready.
func ready(t testing.TB, m *machine) {
	t.Helper()
	select {
	case <-m.node.ReadyCh():
	case <-time.After(time.Minute):
		id, addr, ok := m.node.Leader()
		t.Fatalf("%s is not ready after a minute: leader %s %s %v, applied %d", m.name, id, addr, ok, m.fsm.Applied())
	}
}

// voters counts the voters that m sees.
func voters(m *machine) int {
	n := 0
	for _, s := range m.node.Members(context.Background()) {
		if s.Voter && s.Name != "" {
			n++
		}
	}
	return n
}

// three makes a cluster of three voters: the founder and two that joined.
func three(t testing.TB) []*machine {
	t.Helper()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	b := joinThrough(t, "b", a, token(t, a))
	ready(t, b)
	c := joinThrough(t, "c", b, token(t, b)) // through a follower
	eventually(t, "three voters", func() bool { return voters(a) == 3 && voters(c) == 3 })
	return []*machine{a, b, c}
}

// leader waits for the one leader among those that run.
func leader(t testing.TB, ms []*machine) *machine {
	t.Helper()
	var l *machine
	eventually(t, "a leader", func() bool {
		for _, m := range ms {
			if m.up && m.node.IsLeader() {
				l = m
				return true
			}
		}
		return false
	})
	return l
}

func TestSingleNode_isReadyAtOnce(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	start := time.Now()
	a.start(&f.Bootstrap)
	ready(t, a)
	first := time.Since(start)
	if _, err := putTeam(t.Context(), a, "t1"); err != nil {
		t.Fatal(err)
	}
	info, ok := a.fsm.Cluster()
	if !ok || info.ClusterID != f.Bootstrap.ClusterID {
		t.Errorf("Cluster() = %v, %v", info.ClusterID, ok)
	}
	gossip, err := consensus.GossipKey(a.id, a.kek)
	if err != nil || !bytes.Equal(gossip, f.GossipKey) {
		t.Errorf("GossipKey = %x, %v, want %x", gossip, err, f.GossipKey)
	}
	a.stop(true)
	start = time.Now()
	a.restart()
	ready(t, a)
	again := time.Since(start)
	if !hasTeam(a, "t1") {
		t.Error("the team is gone after a restart")
	}
	if first > 15*time.Second || again > 15*time.Second { // it takes 50 ms on an idle machine
		t.Errorf("ready after %v, after a restart %v", first, again)
	}
	t.Logf("ready after %v, after a restart %v", first, again)
}

// TestRemove_oneOfTwo has a leader remove itself from a cluster of two: the other one needs
// its vote for that, and goes on alone.
func TestRemove_oneOfTwo(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	b := joinThrough(t, "b", a, token(t, a))
	ready(t, b)
	eventually(t, "two voters", func() bool { return voters(a) == 2 && voters(b) == 2 })
	l := leader(t, []*machine{a, b})
	rest := b
	if l == b {
		rest = a
	}
	if err := l.remove(l.id.NodeID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one voter", func() bool { return rest.node.IsLeader() && voters(rest) == 1 })
	if _, err := putTeam(t.Context(), rest, "after"); err != nil {
		t.Errorf("write after the removal: %v", err)
	}
	eventually(t, "the removed node knows", func() bool { return l.node.Removed() })
}

func TestCluster(t *testing.T) {
	t.Parallel()
	ms := three(t)
	l := leader(t, ms)
	var follower *machine
	for _, m := range ms {
		if m != l {
			follower = m
		}
	}
	t.Run("a follower forwards and has applied", func(t *testing.T) {
		res, err := putTeam(t.Context(), follower, "t1")
		if err != nil || res.Index == 0 || res.Version != res.Index {
			t.Fatalf("Propose = %+v, %v", res, err)
		}
		if !hasTeam(follower, "t1") {
			t.Error("the follower has not applied its own write")
		}
		if p := follower.node.ConfirmApplied(t.Context(), res.Index, 5*time.Second); len(p) > 0 {
			t.Errorf("ConfirmApplied names %v", p)
		}
		for _, m := range ms {
			if !hasTeam(m, "t1") {
				t.Errorf("%s has not applied a confirmed write", m.name)
			}
		}
	})
	t.Run("refusals keep their sentinel", func(t *testing.T) {
		for _, m := range ms {
			if _, err := putTeam(t.Context(), m, "t1"); !errors.Is(err, resource.ErrConflict) && !errors.Is(err, resource.ErrExists) {
				t.Errorf("through %s: got %v, want ErrConflict or ErrExists", m.name, err)
			}
		}
	})
	t.Run("the leader's index", func(t *testing.T) {
		res, err := putTeam(t.Context(), l, "t2")
		if err != nil {
			t.Fatal(err)
		}
		got, err := follower.node.LeaderIndex(t.Context())
		if err != nil || got < res.Index || follower.fsm.Applied() < got {
			t.Errorf("LeaderIndex = %d, %v, applied %d, want at least %d", got, err, follower.fsm.Applied(), res.Index)
		}
	})
	t.Run("calls", func(t *testing.T) {
		l.node.Handle("test/echo", func(_ context.Context, peer string, b []byte) ([]byte, error) { return append(b, peer...), nil })
		got, err := follower.node.Call(t.Context(), l.id.NodeID, "test/echo", []byte("from "))
		if err != nil || string(got) != "from "+follower.id.NodeID {
			t.Errorf("Call = %q, %v", got, err)
		}
	})
	t.Run("leadership is handed over", func(t *testing.T) {
		if err := follower.node.Transfer(t.Context(), follower.id.NodeID); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the follower leads", follower.node.IsLeader)
	})
	t.Run("the leader dies", func(t *testing.T) {
		old := leader(t, ms)
		old.stop(false)
		start := time.Now()
		for i, m := range ms {
			if m == old {
				continue
			}
			if _, err := putTeam(t.Context(), m, fmt.Sprintf("after-%d", i)); err != nil {
				t.Fatalf("through %s: %v", m.name, err)
			}
		}
		t.Logf("wrote again after %v", time.Since(start))
		alive := ms[(slices.Index(ms, old)+1)%3]
		res, _ := putTeam(t.Context(), alive, "t3")
		start = time.Now()
		if p := alive.node.ConfirmApplied(t.Context(), res.Index, 250*time.Millisecond); !slices.Equal(p, []string{old.id.NodeID}) {
			t.Errorf("ConfirmApplied names %v, want the dead node", p)
		}
		alive.node.ConfirmApplied(t.Context(), res.Index+1<<40, 50*time.Millisecond) // nobody ever gets there
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("ConfirmApplied took %v", d)
		}
		old.restart()
		eventually(t, "the dead node caught up", func() bool { return hasTeam(old, "t3") && old.node.Ready() })
	})
	t.Run("all restart with no snapshot", func(t *testing.T) {
		for _, m := range ms {
			m.stop(false)
		}
		for _, m := range ms {
			m.restart()
		}
		for _, m := range ms {
			ready(t, m)
		}
		for _, m := range ms {
			for _, team := range []string{"t1", "t2", "t3"} {
				if !hasTeam(m, team) {
					t.Errorf("%s lost %s", m.name, team)
				}
			}
		}
		eventually(t, "one of three voters leads", func() bool { // on a busy machine it may not be the first that was elected
			leads := 0
			for _, m := range ms {
				if m.node.IsLeader() {
					leads++
				}
			}
			return leads == 1 && voters(ms[0]) == 3
		})
	})
	t.Run("a node is removed", func(t *testing.T) {
		l := leader(t, ms)
		gone, other := ms[(slices.Index(ms, l)+1)%3], ms[(slices.Index(ms, l)+2)%3]
		if err := other.remove(gone.id.NodeID); err != nil {
			t.Fatal(err)
		}
		if n := voters(l); n != 2 {
			t.Errorf("%d voters, want 2", n)
		}
		eventually(t, "the node is shut out", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := gone.node.Call(ctx, l.id.NodeID, "test/echo", nil)
			return errors.Is(err, transport.ErrUnknown) || errors.Is(err, transport.ErrUnreachable)
		})
		if _, err := putTeam(t.Context(), l, "t4"); err != nil {
			t.Errorf("a write after the removal: %v", err)
		}
		if err := l.remove("nobody"); !errors.Is(err, resource.ErrNotFound) {
			t.Errorf("removing an unknown node: got %v, want ErrNotFound", err)
		}
	})
	t.Run("snapshot", func(t *testing.T) {
		l := leader(t, ms)
		if err := l.node.Snapshot(); err != nil {
			t.Fatal(err)
		}
		if err := l.node.Snapshot(); err != nil {
			t.Errorf("with nothing new: %v", err)
		}
	})
}

func TestJoin_refusals(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	eventually(t, "the founder is registered", func() bool { _, ok := a.fsm.Member(a.id.NodeID); return ok })
	other, of := found(t)
	other.start(&of.Bootstrap)
	ready(t, other)
	used := token(t, a)
	joinThrough(t, "b", a, used)
	for _, tt := range []struct {
		name string
		edit func(*join.Config)
		want error
	}{
		{"no token", func(c *join.Config) { c.Token = "" }, join.ErrToken},
		{"a token that was used", func(c *join.Config) { c.Token = used }, join.ErrRefused},
		{"a token of another cluster", func(c *join.Config) { c.Token = token(t, other) }, transport.ErrPin},
		{"a token with another secret", func(c *join.Config) { c.Token = c.Token[:len(c.Token)-4] + "aaaa" }, join.ErrRefused},
		{"another master key", func(c *join.Config) { c.MasterHash = resource.HashSecret("sk-other") }, join.ErrMasterKey},
		{"a name that is taken", func(c *join.Config) { c.Name = "a" }, join.ErrRefused},
		{"an address that is taken", func(c *join.Config) { c.Address = a.tr.Addr() }, join.ErrRefused},
		{"no name", func(c *join.Config) { c.Name = "" }, join.ErrRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := join.Config{
				Addrs: []string{a.tr.Addr()}, Token: token(t, a), Name: "x", Address: "127.0.0.1:1",
				MasterHash: masterHash, Timeout: 10 * time.Second,
			}
			tt.edit(&cfg)
			_, err := join.Ask(t.Context(), cfg)
			if !errors.Is(err, tt.want) || !errors.Is(err, join.ErrRefused) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestVoters_startTogether(t *testing.T) {
	t.Parallel()
	together(t, "b", "c")
}

func TestPropose_manyDuringTransfers(t *testing.T) {
	t.Parallel()
	ms := three(t)
	var stop atomic.Bool
	var written atomic.Int64
	done := make(chan int)
	for _, m := range ms {
		go func() {
			n := 0
			for !stop.Load() {
				if _, err := putTeam(context.Background(), m, fmt.Sprintf("%s-%d", m.name, n)); err != nil {
					t.Errorf("through %s: %v", m.name, err)
					break
				}
				n++
				written.Add(1)
			}
			done <- n
		}()
	}
	for i := range 5 {
		eventually(t, "some writes between", func() bool { return written.Load() > int64(20*i) || t.Failed() })
		l := leader(t, ms)
		if err := l.node.Transfer(t.Context(), ""); err != nil {
			t.Logf("transfer: %v", err) // on a busy machine the others are too slow, and the leader stays
		}
	}
	stop.Store(true)
	total := 0
	for range ms {
		total += <-done
	}
	eventually(t, "every write is there once, everywhere", func() bool {
		for _, m := range ms {
			if len(m.fsm.Catalog().Tables().Teams) != total {
				return false
			}
		}
		return true
	})
	t.Logf("%d writes", total)
}
