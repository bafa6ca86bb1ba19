// Package recovery makes one node whose cluster has lost its quorum for good a cluster of its own,
// while the node is stopped. Nothing else in the program does that: no file that lies about ever
// changes who votes.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/internal/slogbridge"
	"github.com/conclave-llm/conclave/node/consensus/join"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/consensus/roster"
	"github.com/conclave-llm/conclave/node/transport"
)

const (
	raftDir   = "raft"
	stateDir  = "state"
	workDir   = "recover.tmp" // what is under way; the next try begins anew
	aliveWait = 3 * time.Second
)

var (
	// ErrRuns says that the node is not stopped.
	ErrRuns = errors.New("the node runs: stop it first")
	// ErrAlive says that other nodes answer.
	ErrAlive = errors.New("other nodes answer")
	// ErrNothing says that there is nothing to recover.
	ErrNothing = errors.New("there is nothing to recover")
)

// Config says what is recovered.
type Config struct {
	Dir    string       // data folder of the survivor
	Logger *slog.Logger // nil: discards
	// Tell is told of each step; nil: nobody is.
	Tell func(step string)
}

// Voter is a server of the configuration that the survivor knows.
type Voter struct {
	ID, Address string
	Self        bool
	Votes       bool
	Alive       bool
}

// Survivor is what a data folder has.
type Survivor struct {
	NodeID, ClusterID string
	First, Last       uint64 // entries of the log; 0: it is empty
	Term              uint64 // of the last entry, or of the snapshot
	Snapshot          uint64 // index of the newest good snapshot; 0: there is none
	Servers           []Voter

	cfg      Config
	identity *transport.Identity
	store    *logstore.Store
	snaps    *logstore.Snapshots
}

// Index is the last entry that the survivor has.
func (s *Survivor) Index() uint64 { return max(s.Last, s.Snapshot) }

// Open looks at the data folder of a node that is stopped: every entry of the log, the newest
// snapshot and the witness are checked. Close is to be called.
func Open(cfg Config) (_ *Survivor, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Tell == nil {
		cfg.Tell = func(string) {}
	}
	id, err := transport.LoadIdentity(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, raftDir)); err != nil {
		return nil, fmt.Errorf("%s has no log of Raft: %w", cfg.Dir, err)
	}
	s := &Survivor{NodeID: id.NodeID, ClusterID: id.ClusterID, cfg: cfg, identity: id}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	cfg.Tell("checking the log and the snapshots")
	dir := filepath.Join(cfg.Dir, raftDir)
	if s.store, err = logstore.Open(dir, nil); err != nil {
		if errors.Is(err, logstore.ErrLocked) {
			return nil, ErrRuns
		}
		return nil, err
	}
	if s.snaps, err = logstore.OpenSnapshots(dir, cfg.Logger, slogbridge.New(cfg.Logger, "raft"), func() {}); err != nil {
		return nil, err
	}
	return s, s.read()
}

// Close lets go of the folder.
func (s *Survivor) Close() error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// read checks what there is, and finds the configuration.
func (s *Survivor) read() error {
	if err := s.snaps.Settle(); err != nil {
		return err
	}
	metas, err := s.snaps.List()
	if err != nil {
		return err
	}
	var conf raft.Configuration
	if len(metas) > 0 {
		s.Snapshot, s.Term, conf = metas[0].Index, metas[0].Term, metas[0].Configuration
	}
	if err := s.store.Check(s.Snapshot); err != nil {
		return fmt.Errorf("this node's log is not whole, and it must not be the one that goes on: %w", err)
	}
	if s.First, err = s.store.FirstIndex(); err != nil {
		return err
	}
	if s.Last, err = s.store.LastIndex(); err != nil {
		return err
	}
	if s.First > s.Snapshot+1 {
		return fmt.Errorf("the log begins at entry %d and the newest good snapshot ends at %d: %w", s.First, s.Snapshot, logstore.ErrCorrupt)
	}
	var l raft.Log
	for i := max(s.First, s.Snapshot+1); i <= s.Last && i != 0; i++ {
		if err := s.store.GetLog(i, &l); err != nil {
			return err
		}
		s.Term = l.Term
		if l.Type == raft.LogConfiguration {
			conf = raft.DecodeConfiguration(l.Data)
		}
	}
	return s.servers(conf)
}

// servers are those of the configuration, where they were last seen.
func (s *Survivor) servers(conf raft.Configuration) error {
	seen := roster.New(s.cfg.Dir)
	for _, srv := range conf.Servers {
		v := Voter{ID: string(srv.ID), Address: string(srv.Address), Self: string(srv.ID) == s.NodeID, Votes: srv.Suffrage == raft.Voter}
		if addr, ok := seen.Last(v.ID); ok {
			v.Address = addr
		}
		s.Servers = append(s.Servers, v)
	}
	if !slices.ContainsFunc(s.Servers, func(v Voter) bool { return v.Self }) {
		return fmt.Errorf("node %s is not in the configuration that it knows: %w", s.NodeID, ErrNothing)
	}
	if !slices.ContainsFunc(s.Servers, func(v Voter) bool { return !v.Self && v.Votes }) {
		return fmt.Errorf("node %s is the only one that votes; start it: %w", s.NodeID, ErrNothing)
	}
	return nil
}

// Meet asks the other nodes whether they are there. An error wraps ErrAlive if one is: a cluster of
// its own beside a living one would be a second truth.
func (s *Survivor) Meet(ctx context.Context) error {
	s.cfg.Tell("asking the other nodes")
	t, err := transport.New(transport.Config{
		Listen: "127.0.0.1:0", Identity: s.identity.Certificate, Roots: s.identity.Roots, ClusterID: s.identity.Cluster, Logger: s.cfg.Logger,
	})
	if err != nil {
		return err
	}
	defer t.Close() //nolint:errcheck // nothing was sent
	ctx, cancel := context.WithTimeout(ctx, aliveWait)
	defer cancel()
	var wg sync.WaitGroup
	var elsewhere atomic.Pointer[string] // where a cluster goes on without this node
	pin := transport.Pin(s.identity.Material().CA)
	for i := range s.Servers {
		if v := &s.Servers[i]; !v.Self {
			wg.Go(func() {
				if c, err := t.DialNode(ctx, v.Address, transport.Calls, v.ID); err == nil {
					v.Alive = true
					_ = c.Close() // that it is there is all
				}
				if errors.Is(join.Standing(ctx, v.Address, pin, s.NodeID), join.ErrRemoved) {
					v.Alive = true
					elsewhere.Store(&v.Address)
				}
			})
		}
	}
	wg.Wait()
	if at := elsewhere.Load(); at != nil {
		return fmt.Errorf("%w: the cluster goes on at %s without this node, which was removed from it, as by a recovery there: join it as a new node, with an empty folder", ErrAlive, *at)
	}
	var alive []string
	votes, voters := 1, 0
	for _, v := range s.Servers {
		if v.Votes {
			voters++
		}
		if v.Alive {
			alive = append(alive, v.ID+" at "+v.Address)
			if v.Votes {
				votes++
			}
		}
	}
	switch {
	case len(alive) == 0:
		return nil
	case votes > voters/2:
		return fmt.Errorf("%w: %s; with this node they are %d of %d voters, which is a quorum: start this node", ErrAlive, strings.Join(alive, ", "), votes, voters)
	default:
		return fmt.Errorf("%w: %s; stop them, and go on with the node whose last index is the highest: the others join it anew with empty folders", ErrAlive, strings.Join(alive, ", "))
	}
}
