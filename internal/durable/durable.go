// Package durable puts files in the place of others so that this outlives a loss of power: whenever that comes, the old file or the
// new one is there, whole. Once a function here has returned without an error, it is the new one.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/conclave-llm/conclave/internal/fault"
)

// suffix ends the name of a file that is to take another's place.
const suffix = ".new"

// WriteFile puts b in the place of the file at path, with mode 0600. One process at a time, and one of its goroutines, may write a
// path. points are those of Commit.
func WriteFile(path string, b []byte, points ...string) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, Discard(f))
	}
	return Commit(f, path, points...)
}

// Create makes an empty file with mode 0600 beside path, for Commit. What a crash has left there goes.
func Create(path string) (*os.File, error) {
	tmp := path + suffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// Commit closes a file that was written in the folder of path, and gives it that name. A file that cannot have it is removed.
// points are of package fault: one that is reached before the file has its name, one after.
func Commit(f *os.File, path string, points ...string) error {
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		reach(points, 0)
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	reach(points, 1)
	return SyncDir(filepath.Dir(path))
}

func reach(points []string, i int) {
	if i < len(points) {
		fault.Point(points[i])
	}
}

// Discard closes and removes a file that is not to be committed.
func Discard(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }

// SyncDir makes the names in a folder last: of files that were made, renamed or removed there.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
