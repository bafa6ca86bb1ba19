package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// The name of a key whose bytes are damaged. No node may ever tell another one.
const (
	markedName  = "marked-for-damage"
	damagedWith = 'l'
)

// The ways in which files of a node are damaged.
const (
	logBit      = "a bit of the log"
	logEnd      = "the end of the log"
	logFile     = "the newest file of the log"
	logFolder   = "the folder of the log"
	stateValue  = "a value of the state"
	snapshotBit = "a bit of a snapshot"
	journalBit  = "a bit of the journal"
)

var (
	stoppedDamage = []string{logBit, logEnd, logFile, logFolder, stateValue, snapshotBit, journalBit}
	runningDamage = []string{stateValue, logBit}
)

// Where a node has its files.
const (
	logFiles      = "raft/log/*.log"
	snapshotFiles = "raft/snapshots/*[0-9]/state.bin" // those that are whole
	journalFiles  = "journal/*.seg"
	stateFile     = "state/fsm.db"
)

// mark makes the key that is damaged.
func (r *run) mark(ctx context.Context) error {
	var key struct {
		ID string `json:"id"`
	}
	status := r.c.call(ctx, 0, http.MethodPost, "/api/v1/keys", masterKey, map[string]any{"name": markedName}, &key)
	if status != http.StatusCreated {
		return fmt.Errorf("make the key %s: status %d", markedName, status)
	}
	r.marked = key.ID
	return nil
}

// lookAtMarked notes it if a node tells another name of the key.
func (r *run) lookAtMarked(ctx context.Context, n int) {
	var key struct {
		Name string `json:"name"`
	}
	status := r.c.call(ctx, n, http.MethodGet, "/api/v1/keys/"+r.marked, masterKey, nil, &key)
	if status == http.StatusOK && key.Name != markedName {
		r.file.Wrong = append(r.file.Wrong, fmt.Sprintf("I9: node %s told what was damaged: %s", r.c.hosts[n].name, key.Name))
	}
}

// damage harms a file of a node that is stopped. The node finds it at its start, says so, and comes back with what the others have.
func (r *run) damage(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	if f.Way == snapshotBit {
		if err := r.makeSnapshot(ctx, n); err != nil {
			return err
		}
	}
	r.down[n].Store(true)
	defer r.down[n].Store(false)
	if f.Way == journalBit { // what the others have not heard of would be lost, and rightly so
		if err := r.leave(ctx, n); err != nil {
			return err
		}
	} else {
		r.c.end(n, (*rig.Process).Kill)
	}
	if err := r.harm(n, f.Way); err != nil {
		return errors.Join(err, r.c.start(n))
	}
	r.wait(ctx, f.Last)
	if err := r.c.start(n); err != nil {
		return err
	}
	if err := r.mended(ctx, n); err != nil {
		return err
	}
	p := r.c.process(n)
	return r.c.await(ctx, readyWait, "node "+r.c.hosts[n].name+" says that it found "+f.Way+" damaged", func() bool {
		return strings.Contains(p.Log(), "damaged")
	})
}

// mended waits until a node is ready and all vote.
func (r *run) mended(ctx context.Context, n int) error {
	if err := r.c.awaitReady(ctx, readyWait, n); err != nil {
		return err
	}
	r.lookAtMarked(ctx, n)
	return r.c.awaitVoters(ctx, (n+1)%len(r.c.hosts))
}

// makeSnapshot has a node keep a snapshot, if it has none: a repair brings one.
func (r *run) makeSnapshot(ctx context.Context, n int) error {
	has := func() bool {
		path, err := rig.Newest(r.c.folder(n), snapshotFiles)
		return err == nil && path != ""
	}
	if has() {
		return nil
	}
	name := r.c.hosts[n].name
	if status := r.c.call(ctx, (n+1)%len(r.c.hosts), http.MethodPost, "/api/v1/cluster/nodes/"+name+"/repair", masterKey, map[string]any{}, nil); status/100 != 2 {
		return fmt.Errorf("repair node %s: status %d", name, status)
	}
	return r.c.await(ctx, readyWait, "node "+name+" has a snapshot", has)
}

// harm damages a file of a node.
func (r *run) harm(n int, way string) error {
	dir := r.c.folder(n)
	pattern := map[string]string{logBit: logFiles, logEnd: logFiles, logFile: logFiles, snapshotBit: snapshotFiles, journalBit: journalFiles}[way]
	var path string
	if pattern != "" {
		var err error
		if path, err = rig.Newest(dir, pattern); err != nil {
			return err
		}
		if path == "" {
			return fmt.Errorf("node %s has no %s", r.c.hosts[n].name, pattern)
		}
	}
	switch way {
	case logEnd:
		return rig.CutEnd(path)
	case logFile:
		return os.Remove(path)
	case logFolder:
		return os.RemoveAll(filepath.Join(dir, "raft"))
	case stateValue:
		found, err := rig.Misspell(filepath.Join(dir, stateFile), markedName, damagedWith)
		if err == nil && found == 0 {
			err = fmt.Errorf("the state of node %s does not have the key %s", r.c.hosts[n].name, markedName)
		}
		return err
	}
	return rig.Flip(path)
}

// damageRunning harms a file of a node that runs. What is damaged is never told: of its state the node ends when it needs the value;
// of its log it is found when the log is read, at the next start at the latest.
func (r *run) damageRunning(ctx context.Context, f *fault) (err error) {
	n := f.Nodes[0]
	r.down[n].Store(true)
	defer r.down[n].Store(false)
	if f.Way == stateValue {
		err = r.damageState(ctx, n)
	} else {
		r.c.end(n, func(p *rig.Process) {
			err = r.harm(n, f.Way)
			r.wait(ctx, f.Last)
			p.Kill()
		})
	}
	if err := errors.Join(err, r.c.start(n)); err != nil {
		return err
	}
	return r.mended(ctx, n)
}

// damageState damages a value of a running node, and changes it through another one until the node has ended.
func (r *run) damageState(ctx context.Context, n int) error {
	other, block := (n+1)%len(r.c.hosts), false
	return r.mustEnd(ctx, n, "when it needs a damaged value", func(*rig.Process) error {
		if _, err := rig.Misspell(filepath.Join(r.c.folder(n), stateFile), markedName, damagedWith); err != nil {
			return err
		}
		r.lookAtMarked(ctx, n)
		block = !block
		how := map[bool]string{true: "/block", false: "/unblock"}[block]
		_ = r.c.call(ctx, other, http.MethodPost, "/api/v1/keys/"+r.marked+how, masterKey, nil, nil) // its leader may be the one that ends
		return nil
	})
}
