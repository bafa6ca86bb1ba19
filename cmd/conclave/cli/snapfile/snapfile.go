// Package snapfile is what the command line does with the file of a backup without asking a node.
package snapfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/node/backup/archive"
)

// tellEvery is how often a long step says how far it is.
const tellEvery = time.Second

// Meter passes bytes on and says now and then how many there were.
type Meter struct {
	R     io.Reader
	To    io.Writer // where it says so
	What  string    // "downloaded"
	Total int64     // 0 or less: not known

	n    int64
	last time.Time
}

// Read implements io.Reader.
func (m *Meter) Read(p []byte) (int, error) {
	n, err := m.R.Read(p)
	m.n += int64(n)
	now := time.Now()
	if m.last.IsZero() {
		m.last = now
	}
	if now.Sub(m.last) >= tellEvery {
		m.last = now
		m.say()
	}
	return n, err
}

func (m *Meter) say() {
	if m.Total > 0 {
		fmt.Fprintf(m.To, "%s %d of %d MiB (%d %%)\n", m.What, m.n>>20, m.Total>>20, 100*m.n/m.Total)
		return
	}
	fmt.Fprintf(m.To, "%s %d MiB\n", m.What, m.n>>20)
}

// Save writes what r has into a new file with mode 0600, checks that it is a whole backup, and only
// then gives it its name. A file of the name is left alone unless replace is Replace.
func Save(r io.Reader, path string, mode Mode) (archive.Manifest, error) {
	if _, err := os.Lstat(path); err == nil && mode == Keep {
		return archive.Manifest{}, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".conclave-*.part")
	if err != nil {
		return archive.Manifest{}, fmt.Errorf("save snapshot: %w", err)
	}
	m, err := fill(f, r)
	if err != nil {
		return m, fmt.Errorf("save snapshot: %w", errors.Join(err, durable.Discard(f)))
	}
	if err := durable.Commit(f, path); err != nil {
		return m, fmt.Errorf("save snapshot: %w", err)
	}
	return m, nil
}

// fill writes what r has into the file and checks it.
func fill(f *os.File, r io.Reader) (archive.Manifest, error) {
	if _, err := io.Copy(f, r); err != nil {
		return archive.Manifest{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return archive.Manifest{}, err
	}
	return check(f, nil, io.Discard)
}

// Mode says what becomes of a file that is there.
type Mode bool

// The modes.
const (
	Keep    Mode = false
	Replace Mode = true
)

// Inspect reads what a file says that it is of. Nothing but its beginning is read.
func Inspect(path string) (archive.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return archive.Manifest{}, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	r, err := archive.NewReader(f)
	if err != nil {
		return archive.Manifest{}, fmt.Errorf("%s: %w", path, err)
	}
	if info, err := f.Stat(); err == nil && info.Size() != r.Size {
		return r.Manifest, fmt.Errorf("%s: %w: it has %d bytes and should have %d", path, archive.ErrDamaged, info.Size(), r.Size)
	}
	return r.Manifest, nil
}

// Verdict is what Verify found.
type Verdict struct {
	Manifest archive.Manifest `json:"manifest"`
	Whole    bool             `json:"whole"`  // every value is as it was written
	Sealed   string           `json:"sealed"` // "yes", or why that was not checked
}

// Verify reads all of a file: its checksum, every value of the state and the state hash; with the KEK
// also its seal, and that its data keys open. It needs room for a copy in the folder for temporary files.
func Verify(path string, keeper archive.Keeper, tell io.Writer) (Verdict, error) {
	f, err := os.Open(path)
	if err != nil {
		return Verdict{}, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	m, err := check(f, keeper, tell)
	v := Verdict{Manifest: m, Sealed: "not checked: no KEK was given"}
	if err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	if keeper != nil {
		v.Sealed = "yes"
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return v, err
	}
	if err := values(f, keeper); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	v.Whole = true
	return v, nil
}

// check reads all of a backup, and compares its SHA-256 and, with a keeper, its seal.
func check(f io.Reader, keeper archive.Keeper, tell io.Writer) (archive.Manifest, error) {
	r, err := archive.NewReader(f)
	if err != nil {
		return archive.Manifest{}, err
	}
	if keeper != nil {
		if err := r.Open(keeper); err != nil {
			return r.Manifest, err
		}
	}
	body, err := r.Snapshot()
	if err != nil {
		return r.Manifest, err
	}
	if _, err := io.CopyN(io.Discard, body, fsm.HeaderSize); err != nil {
		return r.Manifest, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, &Meter{R: body, To: tell, What: "read", Total: int64(r.Manifest.Size)}); err != nil {
		return r.Manifest, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != r.Manifest.SHA256 {
		return r.Manifest, fmt.Errorf("%w: its SHA-256 is another than its manifest has", archive.ErrDamaged)
	}
	return r.Manifest, r.Verify()
}

// values reads the state itself.
func values(f io.Reader, keeper archive.Keeper) error {
	r, err := archive.NewReader(f)
	if err != nil {
		return err
	}
	body, err := r.Snapshot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "conclave-verify-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is temporary
	b, err := fsm.ReceiveIn(dir, fsm.Version, body)
	if err != nil {
		return err
	}
	defer b.Close() //nolint:errcheck // its folder is removed
	info, err := b.Cluster()
	if err != nil || info == nil || keeper == nil {
		return err
	}
	for _, d := range info.DEKs {
		if _, err := keeper.Unwrap(d.Blob, "dek/"+d.ID); err != nil {
			return fmt.Errorf("data key %s, wrapped by %s: %w", d.ID, d.KEKID, err)
		}
	}
	return nil
}
