package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/consensus/clocks"
	"github.com/conclave-llm/conclave/node/consensus/flight"
	"github.com/conclave-llm/conclave/node/consensus/gate"
	"github.com/conclave-llm/conclave/node/consensus/intake"
	"github.com/conclave-llm/conclave/node/consensus/join"
	"github.com/conclave-llm/conclave/node/consensus/lives"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/consensus/roster"
	"github.com/conclave-llm/conclave/node/transport"
)

const (
	raftDir      = "raft"
	housekeeping = 200 * time.Millisecond
)

// Node is the running consensus of one node. Its methods may be used concurrently.
type Node struct {
	cfg     Config
	id      string
	log     *slog.Logger
	fsm     *fsm.FSM
	raft    *raft.Raft
	store   *logstore.Store
	snaps   *logstore.Snapshots
	machine *gate.Machine
	gate    *gate.Gate
	trans   *gate.Transport
	rpc     *transport.RPC
	metrics *metrics
	clocks  *clocks.Clocks
	hashes  hashWatch
	intake  *intake.Intake

	confirms   *confirmer
	leaderIdx  flight.Flight[uint64]
	idxRate    *rate.Limiter
	joins      *join.Admitter
	ready      chan struct{} // closed once a leader was heard and caught up with
	kick       chan struct{} // wakes the leader's loop
	leaving    chan struct{} // held by the entry that takes a node out
	remake     chan struct{} // asks for a snapshot
	founder    bool          // the first voter of a new cluster
	removed    atomic.Bool   // this node's own tombstone was seen and logged
	installing atomic.Bool   // a backup takes the place of the state: nothing else is proposed
	roster     *roster.Roster
	since      int64         // Unix nanoseconds of the start
	settled    atomic.Uint64 // the last term in which this leader has committed an entry
	lives      *lives.Lives
	past       known         // what the others knew of this node before it started
	start      uint64        // the last entry that the data folder had then
	unheard    bool          // none of the others answered
	estranged  uint64        // see Estranged
	opened     atomic.Uint64 // the newest epoch that this process has opened; 0: none
	fenced     atomic.Bool   // this process must end: another has begun after it, or its folder is an old one

	ctx    context.Context // the life of the node, not of a request
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New opens Raft's files in cfg.Dir and starts. A node with state never bootstraps; one
// without state that is neither founder nor in Voters waits for a leader to add it.
// logstore.ErrLost and ErrCorrupt say that this node must not come back under its id.
func New(cfg Config) (*Node, error) {
	cfg.fill()
	n := &Node{
		cfg: cfg, id: cfg.Identity.NodeID, log: cfg.Logger, fsm: cfg.FSM,
		idxRate: rate.NewLimiter(50, 10),
		roster:  roster.New(cfg.Dir), since: clock.Now().UnixNano(),
		ready: make(chan struct{}), kick: make(chan struct{}, 1), leaving: make(chan struct{}, 1), remake: make(chan struct{}, 1),
	}
	if err := n.renew(clock.Now()); err != nil {
		return nil, err
	}
	var err error
	if n.lives, err = lives.Begin(cfg.Dir); err != nil {
		return nil, fmt.Errorf("start consensus: %w", err)
	}
	n.clocks = clocks.New(clocks.Config{Self: n.id, Now: cfg.Now, Boot: cfg.Boot, Logger: cfg.Logger})
	n.hashes = hashWatch{log: n.log, differ: map[string]bool{}}
	n.metrics = newMetrics(n)
	n.intake = intake.New(cfg.Intake)
	n.gate = gate.New(gate.Config{
		Boot: cfg.Boot, Heartbeat: time.Duration(cfg.Multiplier) * heartbeat, Fatal: cfg.Fatal,
		Observe: func(d time.Duration) { n.metrics.writes.Observe(d.Seconds()) },
	})
	n.ctx, n.cancel = context.WithCancel(context.Background())
	notify := make(chan bool, 16)
	if err := n.open(notify); err != nil {
		n.cancel()
		return nil, fmt.Errorf("start consensus: %w", err)
	}
	n.metrics.register(cfg.Registerer)
	n.gate.Arm()
	n.confirms = newConfirmer(n)
	n.joins = newAdmitter(n)
	n.leaderIdx.F = n.askLeaderIndex
	n.handlers()
	cfg.Transport.Authorize(n.allowed)
	n.electAtOnce()
	n.wg.Go(func() { n.watchLeadership(notify) })
	n.wg.Go(n.housekeep)
	n.wg.Go(n.keepReplayShort)
	n.wg.Go(n.scrubSnapshots)
	n.wg.Go(n.scrubState)
	n.wg.Go(n.compactState)
	n.wg.Go(n.watchPeers)
	n.wg.Go(n.becomeReady)
	n.wg.Go(n.announce)
	n.wg.Go(n.serveJoins)
	n.wg.Go(n.serveStates)
	n.wg.Go(n.introduce)
	if n.unheard {
		n.wg.Go(n.firstAnswer)
	}
	return n, nil
}

// open opens the log, checks it, and starts Raft. A damaged log is replaced by an empty one, if
// the rest of the cluster can do without this node's vote until it has caught up.
func (n *Node) open(notify chan<- bool) (err error) {
	dir := filepath.Join(n.cfg.Dir, raftDir)
	n.rpc = transport.NewRPC(n.cfg.Transport, n.address, n.log)
	defer func() {
		if err != nil {
			n.rpc.Close()
		}
	}()
	n.rpc.Handle(methodSelf, n.onSelf) // before anything else: nodes that start together ask each other
	n.rpc.Start()
	if err = n.alone(); err != nil {
		return err
	}
	err = n.openLog(dir, notify, demandLog)
	if isDamaged(err) {
		if err = n.reseat(dir, err); err == nil {
			err = n.openLog(dir, notify, anyLog)
		}
	}
	return err
}

// demand says whether a log that is not there is a loss.
type demand bool

const (
	demandLog demand = true
	anyLog    demand = false
)

// openLog opens the log, checks it, and starts Raft.
func (n *Node) openLog(dir string, notify chan<- bool, want demand) (err error) {
	if n.store, err = logstore.Open(dir, n.gate); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.store.Close())
		}
	}()
	rc := n.cfg.raftConfig(notify)
	newest, err := n.openSnapshots(dir, rc.Logger)
	if err != nil {
		return err
	}
	if err := errors.Join(n.store.Check(newest), n.store.Follow(newest)); err != nil {
		return err
	}
	old, err := raft.HasExistingState(n.store, n.store, n.snaps)
	if err != nil {
		return err
	}
	started, err := logstore.Started(n.cfg.Dir)
	if err != nil {
		return err
	}
	if !old && started && want == demandLog {
		return fmt.Errorf("%w: all of them; this node has run before", logstore.ErrLost)
	}
	if want == demandLog {
		last, err := n.store.LastIndex()
		n.start = max(last, newest)
		if err := errors.Join(err, n.succeeds(n.start)); err != nil {
			return err
		}
	}
	rc.NoSnapshotRestoreOnStart = n.keeps(newest)
	return n.startRaft(rc, old || started)
}

// startRaft makes the first configuration, if this node is to and has no state, and starts.
func (n *Node) startRaft(rc *raft.Config, old bool) (err error) {
	n.trans = gate.NewTransport(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addresses{n.address},
		Logger:                rc.Logger,
		Stream:                newStream(n.cfg.Transport),
		MaxPool:               maxPool,
		Timeout:               networkTimeout,
	}), n.gate, logstore.History{Log: n.store, Snapshots: n.snaps})
	defer func() {
		if err != nil {
			err = errors.Join(err, n.trans.Close())
		}
	}()
	first := n.firstConfiguration()
	if !old && len(first.Servers) > 0 {
		if err := raft.BootstrapCluster(rc, n.store, n.store, n.snaps, n.trans, first); err != nil {
			return fmt.Errorf("make first configuration: %w", err)
		}
		n.founder = string(first.Servers[0].ID) == n.id
	}
	logs, err := raft.NewLogCache(512, n.store)
	if err != nil {
		return err
	}
	if old && n.past.Node == "" && len(n.others()) > 0 {
		n.unheard = true
		n.trans.HoldVotes(true)
	}
	n.machine = gate.NewMachine(n.fsm, n.gate)
	if n.raft, err = raft.NewRaft(rc, n.machine, logs, n.store, n.snaps, n.trans); err == nil {
		n.trans.Know(gate.Raft{Applied: n.raft.AppliedIndex, Sends: n.sends})
	}
	return err
}

// sends says that this node leads in the term, and that the other is one of the cluster's.
func (n *Node) sends(term uint64, to raft.ServerID) bool {
	_, in := n.server(string(to))
	return in && n.IsLeader() && n.raft.CurrentTerm() == term
}

// firstConfiguration is Voters, or the founder alone; empty for a joiner.
func (n *Node) firstConfiguration() raft.Configuration {
	var c raft.Configuration
	for _, s := range n.cfg.Voters {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address)})
	}
	if len(c.Servers) == 0 && n.cfg.Bootstrap != nil {
		c.Servers = []raft.Server{{ID: raft.ServerID(n.id), Address: n.trans.LocalAddr()}}
	}
	return c
}

// electAtOnce starts an election without waiting for a leader that cannot be: on the only
// voter, and on the first voter of a new cluster as soon as most of the others are there.
func (n *Node) electAtOnce() {
	var others []string
	mine := false
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		switch {
		case s.Suffrage != raft.Voter:
		case string(s.ID) == n.id:
			mine = true
		default:
			others = append(others, string(s.ID))
		}
	}
	switch {
	case !mine:
	case len(others) == 0:
		n.trans.ElectNow(n.id)
	case n.founder:
		n.wg.Go(func() {
			if n.meet(others) {
				n.trans.ElectNow(n.id)
			}
		})
	}
}

// meet waits until most nodes answer; false if a leader was heard first, or Raft's own
// timeout has gone by.
func (n *Node) meet(others []string) bool {
	ctx, cancel := context.WithTimeout(n.ctx, time.Duration(n.cfg.Multiplier)*heartbeat)
	defer cancel()
	met := map[string]bool{}
	for ctx.Err() == nil && !n.HasLeader() {
		for _, id := range others {
			if _, err := n.statusOf(ctx, id, statusWait); err == nil {
				met[id] = true
			}
		}
		if len(met) >= (len(others)+1)/2 {
			return true
		}
		pause(ctx, 10*time.Millisecond)
	}
	return false
}

// address resolves a node: what it told itself since its address in the table of members was written,
// that table, Raft's configuration, what was known at the last run.
func (n *Node) address(id string) (string, bool) {
	if id == n.id {
		return n.cfg.Transport.Addr(), true
	}
	table := n.tableAddress(id)
	if addr, ok := n.roster.At(id, table); ok {
		return addr, true
	}
	if table != "" {
		return table, true
	}
	if s, ok := n.server(id); ok {
		return string(s.Address), true
	}
	return n.roster.Last(id)
}

// server finds a node in Raft's configuration.
func (n *Node) server(id string) (raft.Server, bool) {
	if n.raft == nil {
		return raft.Server{}, false
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == id {
			return s, true
		}
	}
	return raft.Server{}, false
}

// allowed decides for the transport. A removed node is out as soon as Raft's configuration is
// rid of it, and no sooner: a cluster of two needs its vote to let it go. One that nobody registered has
// a certificate from our CA all the same: it may be newer than what this node knows, so it
// is let in until this node has caught up, lest a node that was long away shut out the very
// leader it should learn from.
func (n *Node) allowed(id string) bool {
	if m, ok := n.fsm.Member(id); ok {
		_, in := n.server(id)
		return !m.Removed || in
	}
	if id == n.id || !n.caughtUp() {
		return true
	}
	_, ok := n.server(id)
	return ok
}

// caughtUp says that the node was ready once and hears a leader now.
func (n *Node) caughtUp() bool { return n.Ready() && n.HasLeader() }

// renew renews the node's own certificate when half of its life is over.
func (n *Node) renew(now time.Time) error {
	if !n.cfg.Identity.Due(now) {
		return nil
	}
	err := n.cfg.Identity.Renew(now, n.caKey)
	if err != nil {
		return err
	}
	n.log.Info("renewed the node's certificate")
	return nil
}

// housekeep looks at the gate, hangs up on removed nodes and renews the certificate.
func (n *Node) housekeep() {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		n.gate.Check()
		n.fence(n.knownOf(n.id))
		if i%5 == 0 {
			n.cfg.Transport.Sweep()
			if m, ok := n.fsm.Member(n.id); ok && m.Removed && n.removed.CompareAndSwap(false, true) {
				n.log.Error("this node was removed from the cluster; start it with an empty data folder to join again")
			}
		}
		if i%300 == 0 {
			if err := n.renew(clock.Now()); err != nil {
				n.log.Error("renew the node's certificate", "error", err)
			}
		}
	}
}

// Leader returns the leader that this node follows, or itself.
func (n *Node) Leader() (id, addr string, ok bool) {
	a, lid := n.raft.LeaderWithID()
	if lid == "" {
		return "", "", false
	}
	_, addr = splitAddress(a)
	return string(lid), addr, true
}

// IsLeader says whether this node leads.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// HasLeader says that a leader is known, by which writes have a chance.
func (n *Node) HasLeader() bool {
	_, id := n.raft.LeaderWithID()
	return id != ""
}

// LastContact is when this node last heard a leader: now if it leads, the zero time if it
// never did. It proves nothing about this node's disk or state machine.
func (n *Node) LastContact() time.Time {
	if n.IsLeader() {
		return time.Now()
	}
	return n.raft.LastContact()
}

// Stalled says that this node's disk or state machine hangs.
func (n *Node) Stalled() bool { return n.gate.Stalled() }

// Ready says that the node has heard a leader since its start and caught up with it.
func (n *Node) Ready() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// ReadyCh is closed when Ready becomes true.
func (n *Node) ReadyCh() <-chan struct{} { return n.ready }

// Removed says that this node's tombstone has been applied here.
func (n *Node) Removed() bool { return n.removed.Load() }

// Handle answers a method that other nodes call. Names with a slash are the consensus' own.
func (n *Node) Handle(method string, h func(ctx context.Context, peerID string, body []byte) ([]byte, error)) {
	n.rpc.Handle(method, h)
}

// Call asks another node to do a method; it may be done twice. See transport.RPC.
func (n *Node) Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	return n.rpc.Call(ctx, nodeID, method, body)
}

// StepDown hands the leadership over, if this node has it and another voter can take it.
func (n *Node) StepDown(ctx context.Context) error {
	if !n.IsLeader() || n.voters() < 2 {
		return nil
	}
	if err := waitFuture(ctx, n.raft.LeadershipTransfer()); err != nil {
		return fmt.Errorf("hand leadership over: %w", err)
	}
	return nil
}

// Shutdown hands leadership over, until ctx ends, and stops. The transport and the FSM stay
// open: their owner closes them afterwards.
func (n *Node) Shutdown(ctx context.Context) error {
	if err := n.StepDown(ctx); err != nil {
		n.log.Warn("shut down", "error", err)
	}
	n.cancel()
	closed := errors.Join(n.cfg.Transport.Listener(transport.Join).Close(), n.cfg.Transport.Listener(transport.Snap).Close())
	n.rpc.Close()
	err := n.raft.Shutdown().Error()
	n.wg.Wait()
	n.confirms.wait()
	return errors.Join(closed, err, n.trans.Close(), n.store.Close())
}

// voters counts the voters of the configuration.
func (n *Node) voters() int {
	v := 0
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			v++
		}
	}
	return v
}

// waitFuture waits for a future or the end of ctx. Raft forgets some futures when it stops:
// the goroutine of such a one stays until the process ends, so ctx must end with the node.
func waitFuture(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
