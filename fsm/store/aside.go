package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// asidePattern names the folders of states that are looked at and not served; a start deletes
// what is left of them.
const asidePattern = "fsm-aside-*.tmp"

// Aside is a state that was received and is served by nobody. One goroutine uses it.
type Aside struct {
	file   *File
	header Header
}

// OpenAside receives a snapshot whose header was read already into a folder of its own below
// dir. Its size, its SHA-256, every value and the state hash are verified, and read must be able to
// read it: an error leaves nothing behind, and wraps frame.ErrDamaged if the bytes are not
// those that were written.
func OpenAside(dir string, h Header, body io.Reader, read func(*bolt.Tx) error) (_ *Aside, err error) {
	own, err := os.MkdirTemp(dir, asidePattern)
	if err != nil {
		return nil, fmt.Errorf("receive state: %w", err)
	}
	a := &Aside{file: &File{dir: own, log: slog.New(slog.DiscardHandler)}, header: h}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("receive state: %w", err), a.Close())
		}
	}()
	path, err := a.file.receive(h, body)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(path, filepath.Join(own, fileName)); err != nil {
		return nil, err
	}
	if a.file.db, err = openFile(filepath.Join(own, fileName)); err != nil {
		return nil, err
	}
	if err := adopt(a.file.db, h); err != nil {
		return nil, err
	}
	return a, readWhole(a.file.db, read)
}

// Header is the one that the state came with.
func (a *Aside) Header() Header { return a.header }

// View runs a read.
func (a *Aside) View(fn func(*bolt.Tx) error) error { return readWhole(a.file.db, fn) }

// Update runs a change, all of it or nothing.
func (a *Aside) Update(fn func(*bolt.Tx) error) error { return a.file.db.Update(fn) }

// Write writes the state as a snapshot, as Snapshot.Write does.
func (a *Aside) Write(w io.Writer, describe func(*bolt.Tx, *Header) error) (uint64, error) {
	s, err := a.file.Snapshot()
	if err != nil {
		return 0, err
	}
	defer s.Release()
	return s.Write(w, describe)
}

// Close deletes the state.
func (a *Aside) Close() error {
	var err error
	if a.file.db != nil {
		err = a.file.db.Close()
	}
	return errors.Join(err, os.RemoveAll(a.file.dir))
}
