package fsm

import (
	"errors"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/graft"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/served"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// What package graft says of a restore.
type (
	// RestoreOptions say how a backup is put in the place of the state.
	RestoreOptions = graft.Options
	// RestoreReport tells what a restore would change.
	RestoreReport = graft.Report
)

// Backup is a snapshot that was received and verified, beside the state that is served. One
// goroutine uses it.
type Backup struct {
	aside *store.Aside
	now   func(func(*bolt.Tx) error) error
}

// Receive reads a snapshot and verifies all of it. An error wraps ErrDamaged if it is not as it
// was written, and nothing is left of it then.
func (f *FSM) Receive(r io.Reader) (*Backup, error) {
	b, err := ReceiveIn(f.cfg.Dir, f.cfg.FSMVersion, r)
	if err != nil {
		return nil, err
	}
	b.now = f.file.View
	return b, nil
}

// ReceiveIn is Receive without a state machine: the snapshot is kept in a folder below dir until
// Close. It is refused if it needs a newer version of the state machine.
func ReceiveIn(dir string, version uint32, r io.Reader) (*Backup, error) {
	h, err := ReadHeader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	if h.FSMVersion > version {
		return nil, fmt.Errorf("the snapshot needs version %d of the state machine, this program knows %d: %w", h.FSMVersion, version, resource.ErrRefused)
	}
	aside, err := store.OpenAside(dir, h, r, func(tx *bolt.Tx) error {
		_, err := served.Read(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Backup{aside: aside}, nil
}

// Header is the snapshot's.
func (b *Backup) Header() Header { return b.aside.Header() }

// Cluster is the identity of the cluster in the snapshot.
func (b *Backup) Cluster() (info *ClusterInfo, err error) {
	err = b.aside.View(func(tx *bolt.Tx) (err error) {
		info, _, err = memory.ReadCluster(tx)
		return err
	})
	return info, err
}

// Members are the members in the snapshot, removed ones too.
func (b *Backup) Members() (all []*resource.Member, err error) {
	err = b.aside.View(func(tx *bolt.Tx) error {
		small := memory.NewTables()
		if err := small.Read(tx); err != nil {
			return err
		}
		for _, m := range small.Members() {
			all = append(all, m)
		}
		return nil
	})
	return all, err
}

// Compare tells what a restore would change, and checks that the options allow it.
func (b *Backup) Compare(o RestoreOptions) (r *RestoreReport, err error) {
	err = b.both(func(backup, now *bolt.Tx) error {
		if r, err = graft.Compare(backup, now); err != nil {
			return err
		}
		return errors.Join(o.Check(r), o.Keys(backup, now))
	})
	return r, err
}

// both reads the backup and the state.
func (b *Backup) both(fn func(backup, now *bolt.Tx) error) error {
	return b.aside.View(func(backup *bolt.Tx) error {
		return b.now(func(now *bolt.Tx) error { return fn(backup, now) })
	})
}

// Graft makes the backup the state that is to take the place of the present one.
func (b *Backup) Graft(o RestoreOptions) error {
	err := b.aside.Update(func(backup *bolt.Tx) error {
		return b.now(func(now *bolt.Tx) error { return graft.Onto(backup, now, o) })
	})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// Alone makes the state that of a cluster of which one node is left, and returns those that are
// lost.
func (b *Backup) Alone(survivor string) (lost []resource.Member, err error) {
	err = b.aside.Update(func(tx *bolt.Tx) (err error) {
		lost, err = graft.Alone(tx, survivor)
		return err
	})
	return lost, err
}

// Write writes the state as a snapshot.
func (b *Backup) Write(w io.Writer) error {
	_, err := b.aside.Write(w, describe)
	return err
}

// Close forgets the backup.
func (b *Backup) Close() error { return b.aside.Close() }

// ErrForeign, ErrRevoked and ErrKey say why a backup is refused.
var (
	ErrForeign = graft.ErrForeign
	ErrRevoked = graft.ErrRevoked
	ErrKey     = graft.ErrKey
)
