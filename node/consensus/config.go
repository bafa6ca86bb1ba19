package consensus

import (
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/internal/fault"
	"github.com/conclave-llm/conclave/internal/slogbridge"
	"github.com/conclave-llm/conclave/node/consensus/intake"
	"github.com/conclave-llm/conclave/node/consensus/quiet"
	"github.com/conclave-llm/conclave/node/transport"
)

const (
	heartbeat      = 500 * time.Millisecond // times the multiplier
	lease          = 250 * time.Millisecond // times the multiplier
	commitTimeout  = 5 * time.Millisecond   // a follower learns of a commit so much later
	maxAppend      = 256
	snapshotEvery  = time.Minute
	snapshotAfter  = 16384 // entries
	trailingLogs   = 20480 // else a follower that restores a snapshot needs the next one at once
	networkTimeout = 5 * time.Second
	maxPool        = 3
)

// Keeper wraps and unwraps small keys under the KEK. *secret.KEK implements it.
type Keeper interface {
	// ID names the KEK.
	ID() string
	// Bytes is the KEK itself, for nodes that join.
	Bytes() []byte
	// Wrap seals a key for a purpose.
	Wrap(plain []byte, purpose string) ([]byte, error)
	// Unwrap opens what was wrapped for the same purpose.
	Unwrap(box []byte, purpose string) ([]byte, error)
}

// Server is a node of a first configuration.
type Server struct {
	ID      string `json:"id"`
	Address string `json:"address"` // of the cluster port
}

// Config says how to run the consensus of one node.
type Config struct {
	Name       string   // as configured
	ClientURL  string   // told to the members
	Version    string   // of the program, told to the members
	FSMVersion uint32   // newest that the program knows; 0: fsm.Version
	FSMOldest  uint32   // oldest that it can still run; 0: 1
	Seeds      []string // cluster addresses where other nodes may be found; beside what is known
	Role       string   // resource.MemberFull or MemberRead
	ServeStale string   // told to the members, see resource.Member

	// Describe tells of the rest of this node, for whoever asks about the members. Nil: nothing.
	Describe func() Local

	Dir       string               // data folder; Raft's files go into its folder raft
	FSM       *fsm.FSM             // open
	Transport *transport.Transport // open; New tells it whom to let in
	Identity  *transport.Identity
	Keeper    Keeper

	// Bootstrap is the first entry of a new cluster; nil on every start but the first of
	// the node that founds it (see Found). It is harmless if the cluster is there.
	Bootstrap *fsm.Bootstrap
	// Voters is the first configuration, given alike to each of its nodes; empty: the
	// founder alone. It is ignored by a node that has state.
	Voters []Server

	Intake      intake.Windows // of entries under way while this node leads; zero: intake.Defaults
	Multiplier  int            // of Raft's timeouts, for slow networks; 0: 1
	Fatal       func(error)    // the node must exit and not go on, with status 78 for ErrTwin, else 75; nil: it is logged
	CompactFrom int64          // bytes from which a file of the state is compacted while the node runs; 0: 64 MiB
	CompactEach time.Duration  // between looks whether it is to be; 0: a minute
	TwinWait    time.Duration  // how long a start on an old data folder looks whether another process runs as this node; 0: 3 s

	Logger     *slog.Logger          // nil: discard
	Registerer prometheus.Registerer // nil: metrics are not registered
	Boot       clock.Func            // nil: clock.Boot
	Now        func() time.Time      // the wall clock, which stamps entries; nil: clock.Now
}

// Local is what a node tells of itself beside the consensus.
type Local struct {
	NotReady string // why it does not serve; "": it does
	InFlight int    // requests being served
	Draining bool   // it is about to stop
	Version  string // of the program
	DiskFree uint64 // bytes where the data is; 0: not known
	DiskSize uint64
	DiskLow  bool     // too little is free: it does not lead, if another can
	Warnings []string // what its operators should see to though it serves
}

// fill sets the defaults.
func (c *Config) fill() {
	if c.Describe == nil {
		c.Describe = func() Local { return Local{} }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Intake == (intake.Windows{}) {
		c.Intake = intake.Defaults()
	}
	if c.Multiplier < 1 {
		c.Multiplier = 1
	}
	if c.FSMVersion == 0 {
		c.FSMVersion = fsm.Version
	}
	if c.Boot == nil {
		c.Boot = clock.Boot
	}
	if c.CompactFrom == 0 {
		c.CompactFrom = compactFrom
	}
	if c.CompactEach == 0 {
		c.CompactEach = compactEach
	}
	if c.TwinWait == 0 {
		c.TwinWait = twinWait
	}
	if c.Now == nil {
		c.Now = clock.Now
	}
	if c.Fatal == nil {
		logger := c.Logger
		c.Fatal = func(err error) { logger.Error("consensus cannot go on", "error", err) }
	}
}

// raftConfig is Raft's own configuration.
func (c *Config) raftConfig(notify chan<- bool) *raft.Config {
	rc := raft.DefaultConfig()
	m := time.Duration(c.Multiplier)
	rc.LocalID = raft.ServerID(c.Identity.NodeID)
	rc.HeartbeatTimeout = m * heartbeat
	rc.ElectionTimeout = m * heartbeat
	rc.LeaderLeaseTimeout = m * lease
	rc.CommitTimeout = commitTimeout
	rc.MaxAppendEntries = maxAppend
	rc.BatchApplyCh = true
	rc.ShutdownOnRemove = false
	rc.SnapshotInterval = snapshotEvery
	rc.SnapshotThreshold = snapshotAfter
	rc.TrailingLogs = trailingLogs
	if n := fault.Compact(); n != 0 {
		rc.SnapshotInterval, rc.SnapshotThreshold, rc.TrailingLogs = time.Second, n, n
	}
	rc.NotifyCh = notify
	rc.NoLegacyTelemetry = true
	rc.Logger = slogbridge.New(quiet.New(c.Logger), "raft")
	return rc
}
