package logstore

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/fault"
)

const (
	snapshotDir  = "snapshots" // the file store's folder, in Raft's
	stateFile    = "state.bin" // the file store's file of one snapshot
	damagedDir   = "damaged"   // what was set aside; the newest is kept for a person to look at
	partSuffix   = ".tmp"      // a snapshot that was not finished
	snapshotRead = 1 << 20     // buffer of a reader

	keepSnapshots = 2

	// syncEvery is how many bytes of a snapshot are written before they are synced: a gigabyte
	// at once would hold up every sync of the log meanwhile.
	syncEvery = 16 << 20
)

// Snapshots keeps Raft's snapshots. It is raft's file store, to which it adds that the
// frame of each carries Raft's index and term, and that the frame's SHA-256 is checked
// when a snapshot is written and whenever it is opened. A damaged one is set aside, so that
// the next is used. It implements raft.SnapshotStore.
type Snapshots struct {
	*raft.FileSnapshotStore
	dir string // Raft's folder
	log *slog.Logger

	damaged func() // told that a snapshot was set aside

	mu sync.Mutex // held while a snapshot is set aside
}

// OpenSnapshots opens the store in dir, Raft's folder, and removes what a crash left half
// written. damaged is called when a snapshot is set aside, so that another is made; it must
// not block.
func OpenSnapshots(dir string, log *slog.Logger, raftLog hclog.Logger, damaged func()) (*Snapshots, error) {
	parts, err := filepath.Glob(filepath.Join(dir, snapshotDir, "*"+partSuffix))
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	for _, p := range parts {
		if err := os.RemoveAll(p); err != nil {
			return nil, fmt.Errorf("open snapshots: %w", err)
		}
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, keepSnapshots, raftLog)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	return &Snapshots{FileSnapshotStore: files, dir: dir, log: log, damaged: damaged}, nil
}

// Bounds gives the indexes of the newest and the oldest snapshot, 0 if there is none.
func (s *Snapshots) Bounds() (newest, oldest uint64, err error) {
	metas, err := s.List()
	if err != nil {
		return 0, 0, fmt.Errorf("list snapshots: %w", err)
	}
	if len(metas) == 0 {
		return 0, 0, nil
	}
	return metas[0].Index, metas[len(metas)-1].Index, nil
}

// Settle reads the newest snapshot, sets it aside if it is damaged and goes on to the next,
// until one is good.
func (s *Snapshots) Settle() error {
	for {
		metas, err := s.List()
		if err != nil {
			return fmt.Errorf("list snapshots: %w", err)
		}
		if len(metas) == 0 {
			return nil
		}
		_, rc, err := s.Open(metas[0].ID)
		switch {
		case err == nil:
			return rc.Close()
		case !errors.Is(err, ErrCorrupt): // it is still there: an I/O error
			return err
		}
	}
}

// Scrub reads all snapshots and sets damaged ones aside.
func (s *Snapshots) Scrub() error {
	metas, err := s.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, m := range metas {
		_, rc, err := s.Open(m.ID)
		switch {
		case err == nil:
			_ = rc.Close() // it was only read
		case errors.Is(err, ErrCorrupt), errors.Is(err, os.ErrNotExist): // set aside, or reaped meanwhile
		default:
			return err
		}
	}
	return nil
}

// Open implements raft.SnapshotStore. It reads the whole snapshot before it hands it out.
func (s *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, err := s.meta(id)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(filepath.Join(s.dir, snapshotDir, id, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: no file", ErrCorrupt)
	}
	if err == nil {
		if err = checkSnapshot(f, meta); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err != nil {
			_ = f.Close() // it was only read
		}
	}
	if err != nil {
		err = fmt.Errorf("open snapshot %s: %w", id, err)
		if errors.Is(err, ErrCorrupt) {
			s.setAside(id, err)
		}
		return nil, nil, err
	}
	return meta, &snapshotReader{Reader: bufio.NewReaderSize(f, snapshotRead), f: f}, nil
}

// meta finds what the file store knows of a snapshot.
func (s *Snapshots) meta(id string) (*raft.SnapshotMeta, error) {
	metas, err := s.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, m := range metas {
		if m.ID == id {
			return m, nil
		}
	}
	return nil, fmt.Errorf("open snapshot %s: %w", id, os.ErrNotExist)
}

// checkSnapshot reads all of r and compares it with its frame, and the frame with meta.
func checkSnapshot(r io.Reader, meta *raft.SnapshotMeta) error {
	h, err := fsm.ReadHeader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fsm.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err != nil {
		return err
	}
	if h.Index != meta.Index || h.Term != meta.Term {
		return fmt.Errorf("%w: the frame says index %d, term %d, the store %d and %d", ErrCorrupt, h.Index, h.Term, meta.Index, meta.Term)
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{r}, make([]byte, snapshotRead))
	if err != nil {
		return err
	}
	return sameBody(&h, uint64(n), sum)
}

// sameBody compares a body with what its frame says.
func sameBody(h *fsm.Header, size uint64, sum hash.Hash) error {
	if size != h.Size {
		return fmt.Errorf("%w: %d bytes, want %d", ErrCorrupt, size, h.Size)
	}
	if [sha256.Size]byte(sum.Sum(nil)) != h.SHA256 {
		return fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	return nil
}

// setAside moves a damaged snapshot to where nobody uses it.
func (s *Snapshots) setAside(id string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := filepath.Join(s.dir, snapshotDir, id), filepath.Join(s.dir, damagedDir, id)
	if _, err := os.Stat(from); err != nil {
		return // another reader was faster
	}
	err := os.RemoveAll(filepath.Dir(to)) // one is enough to look at, and they are large
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(from)) // it must not be used in any case
	}
	s.log.Error("a snapshot is damaged and was set aside", "snapshot", id, "to", to, "reason", why, "error", err)
	s.damaged()
}

// snapshotReader reads a file through a buffer.
type snapshotReader struct {
	io.Reader
	f *os.File
}

// Close implements io.Closer.
func (r *snapshotReader) Close() error { return r.f.Close() }

// Create implements raft.SnapshotStore.
func (s *Snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, c, cIndex, trans)
	if err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, snapshotDir, sink.ID()+partSuffix, stateFile), os.O_WRONLY, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create snapshot: %w", err), sink.Cancel())
	}
	return &framedSink{SnapshotSink: sink, file: f, index: index, term: term, sum: sha256.New()}, nil
}

// framedSink writes Raft's index and term into the frame that passes through it, and closes
// only what is as its frame says: a snapshot that was damaged on its way is no snapshot.
type framedSink struct {
	raft.SnapshotSink
	file        *os.File // that the sink writes, for syncing it
	index, term uint64

	head   []byte // of the frame, until it is whole
	header fsm.Header
	framed bool // the frame is written
	size   uint64
	synced uint64 // of size
	sum    hash.Hash
	closed bool
}

// Write implements io.Writer.
func (s *framedSink) Write(b []byte) (int, error) {
	taken := 0
	if !s.framed {
		taken = min(fsm.HeaderSize-len(s.head), len(b))
		s.head = append(s.head, b[:taken]...)
		if len(s.head) < fsm.HeaderSize {
			return taken, nil
		}
		if err := s.frame(); err != nil {
			return 0, fmt.Errorf("write snapshot: %w", err)
		}
	}
	n, err := s.SnapshotSink.Write(b[taken:])
	_, _ = s.sum.Write(b[taken : taken+n]) // a hash takes everything
	s.size += uint64(n)
	if err == nil && s.size-s.synced >= syncEvery {
		s.synced = s.size
		err = s.file.Sync()
	}
	return taken + n, err
}

// frame writes the frame with Raft's index and term. The index of the state itself is
// older if entries without a command followed, and newer if raft is still replaying what
// the state's file had before a restart.
func (s *framedSink) frame() (err error) {
	if s.header, err = fsm.DecodeHeader(s.head); err != nil {
		return err
	}
	s.header.Index, s.header.Term = s.index, s.term
	head, err := s.header.Encode()
	if err != nil {
		return err
	}
	s.framed = true
	_, err = s.SnapshotSink.Write(head)
	fault.Point(fault.SnapshotWrite)
	return err
}

// Close implements raft.SnapshotSink.
func (s *framedSink) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	_ = s.file.Close() // the sink has one of its own, which it syncs
	err := fmt.Errorf("%w: no frame", ErrCorrupt)
	if s.framed {
		err = sameBody(&s.header, s.size, s.sum)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("finish snapshot: %w", err), s.SnapshotSink.Cancel())
	}
	fault.Point(fault.SnapshotFinish)
	err = s.SnapshotSink.Close()
	fault.Point(fault.SnapshotDone)
	return err
}

// Cancel implements raft.SnapshotSink.
func (s *framedSink) Cancel() error {
	s.closed = true
	_ = s.file.Close() // what it holds is to go
	return s.SnapshotSink.Cancel()
}
