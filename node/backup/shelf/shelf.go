// Package shelf keeps finished backups: in a folder, or in an S3-compatible store.
package shelf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/internal/durable"
)

// ErrNotFound says that there is no backup of the name.
var ErrNotFound = errors.New("no such snapshot")

const stamp = "20060102T150405Z"

// name is how backups are called: the cluster, when each was made, of which generation and index.
var name = regexp.MustCompile(`^conclave-([0-9A-Za-z_-]{1,64})-(\d{8}T\d{6}Z)-g(\d{1,20})-i(\d{1,20})\.snap$`)

// Item is a backup on a shelf.
type Item struct {
	Name       string
	ClusterID  string
	TakenAt    time.Time
	Generation uint64
	Index      uint64
	Size       int64
}

// Name is how a backup is called.
func Name(cluster string, at time.Time, generation, index uint64) string {
	return fmt.Sprintf("conclave-%s-%s-g%d-i%d.snap", cluster, at.UTC().Format(stamp), generation, index)
}

// Parse reads what a name tells; false if it is none of ours.
func Parse(s string) (Item, bool) {
	m := name.FindStringSubmatch(s)
	if m == nil {
		return Item{}, false
	}
	at, err := time.Parse(stamp, m[2])
	if err != nil {
		return Item{}, false
	}
	generation, err1 := strconv.ParseUint(m[3], 10, 64)
	index, err2 := strconv.ParseUint(m[4], 10, 64)
	return Item{Name: s, ClusterID: m[1], TakenAt: at, Generation: generation, Index: index}, err1 == nil && err2 == nil
}

// Sort puts the newest first.
func Sort(items []Item) {
	slices.SortFunc(items, func(a, b Item) int {
		if c := b.TakenAt.Compare(a.TakenAt); c != 0 {
			return c
		}
		return strings.Compare(b.Name, a.Name)
	})
}

// Folder is a shelf in a folder, which is made when it is needed.
type Folder string

// Put keeps the file's bytes under the name: all of them and for good, or nothing.
func (f Folder) Put(_ context.Context, name string, from *os.File, size int64) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	part, err := os.CreateTemp(string(f), ".part-*")
	if err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	n, err := io.Copy(part, from)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("keep snapshot: %w", errors.Join(err, durable.Discard(part)))
	}
	if err := durable.Commit(part, filepath.Join(string(f), name)); err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	return nil
}

// Try writes a file without a byte into the folder, or into the one in which it would be made, and removes it.
func (f Folder) Try(context.Context, int64) error {
	dir := string(f)
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("keep snapshot: %s is not a folder", dir)
		}
		up := filepath.Dir(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || up == dir {
			break
		}
		dir = up
	}
	probe, err := os.CreateTemp(dir, ".part-*")
	if err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// List lists the backups.
func (f Folder) List(context.Context) ([]Item, error) {
	files, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []Item
	for _, e := range files {
		i, ok := Parse(e.Name())
		info, err := e.Info()
		if !ok || err != nil || !info.Mode().IsRegular() {
			continue // somebody else's, or gone meanwhile
		}
		i.Size = info.Size()
		out = append(out, i)
	}
	return out, nil
}

// Open opens a backup.
func (f Folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	if _, ok := Parse(name); !ok {
		return nil, ErrNotFound
	}
	file, err := os.Open(filepath.Join(string(f), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	return file, nil
}

// Delete deletes a backup.
func (f Folder) Delete(_ context.Context, name string) error {
	if _, ok := Parse(name); !ok {
		return ErrNotFound
	}
	if err := os.Remove(filepath.Join(string(f), name)); err != nil {
		return fmt.Errorf("delete snapshot: %w", err)
	}
	return nil
}
