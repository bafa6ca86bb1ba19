package recovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/internal/slogbridge"
	"github.com/conclave-llm/conclave/resource"
)

// noteFile tells the node's next start of the recovery, which it takes into the audit log. Nothing
// else comes of it.
const noteFile = "recovered.json"

// Result is what a recovery left.
type Result struct {
	Index      uint64            `json:"index"` // of the last entry that was kept
	Generation uint64            `json:"generation"`
	Lost       []resource.Member `json:"lost"` // whose leases are presumed spent
	At         time.Time         `json:"at"`
}

// Recover applies all that the survivor's log has, also what was not known to be committed, and
// makes it the state of a cluster with the survivor as its only node, in the next generation. A
// crash on the way leaves the folder as it was, but for the state's file, which the next start
// makes anew.
func (s *Survivor) Recover() (Result, error) {
	work := filepath.Join(s.cfg.Dir, workDir)
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o700)); err != nil {
		return Result{}, fmt.Errorf("recover: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // the next try does it
	m := &machine{dir: work, survivor: s.NodeID}
	var err error
	if m.fsm, err = fsm.Open(fsm.Config{Dir: filepath.Join(work, stateDir), NodeID: s.NodeID, Logger: s.cfg.Logger, Fatal: m.fail}); err != nil {
		return Result{}, err
	}
	defer m.close()
	// It has what the log and the snapshots have, and must not be kept beside the snapshot that
	// comes, whose generation is another.
	if err := os.RemoveAll(filepath.Join(s.cfg.Dir, stateDir)); err != nil {
		return Result{}, fmt.Errorf("recover: %w", err)
	}
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = raft.ServerID(s.NodeID), slogbridge.New(s.cfg.Logger, "raft")
	addr, trans := raft.NewInmemTransport(raft.ServerAddress(s.address()))
	defer trans.Close() //nolint:errcheck // it is in memory
	s.cfg.Tell("applying the log")
	alone := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: addr}}}
	if err := errors.Join(raft.RecoverCluster(conf, m, s.store, s.store, s.snaps, trans, alone), m.failed); err != nil {
		return Result{}, fmt.Errorf("recover: %w", err)
	}
	if newest, _, err := s.snaps.Bounds(); err != nil || newest != s.Index() {
		return Result{}, fmt.Errorf("recover: the snapshot ends at %d, want %d: %w", newest, s.Index(), err)
	}
	r := Result{Index: s.Index(), Generation: m.generation, Lost: m.lost, At: clock.Now()}
	return r, note(s.cfg.Dir, r)
}

// address is the survivor's own.
func (s *Survivor) address() string {
	for _, v := range s.Servers {
		if v.Self {
			return v.Address
		}
	}
	return ""
}

// note writes the file for the next start.
func note(dir string, r Result) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, noteFile), b); err != nil {
		return fmt.Errorf("note the recovery: %w", err)
	}
	return nil
}

// Noted is the recovery that a data folder went through and that was not told yet.
func Noted(dir string) (Result, bool) {
	var r Result
	b, err := os.ReadFile(filepath.Join(dir, noteFile))
	if err != nil {
		return r, false
	}
	return r, json.Unmarshal(b, &r) == nil
}

// Forget removes what Noted reads, once it was told.
func Forget(dir string) error { return os.Remove(filepath.Join(dir, noteFile)) }
