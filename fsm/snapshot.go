package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

// copyBatch is how many values one transaction of a copy holds.
const copyBatch = 50_000

// tempPattern names the files that a start may delete.
const tempPattern = "fsm-*.tmp"

// Snapshot implements raft.FSM. It only begins a read transaction; Persist does the work.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	if f.failed != nil {
		return nil, fmt.Errorf("snapshot of a stopped state machine: %w", f.failed)
	}
	f.dbMu.RLock()
	defer f.dbMu.RUnlock()
	tx, err := f.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	return &snapshot{f: f, tx: tx}, nil
}

// snapshot is the state as one read transaction sees it.
type snapshot struct {
	f  *FSM
	tx *bolt.Tx // nil once it has ended
}

// Persist implements raft.FSMSnapshot. Every value is verified and the state hash computed
// anew, so that a damaged state makes no snapshot. The transaction ends before anything is
// sent: it would keep the file from reusing pages.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	err := s.persist(sink)
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("finish snapshot: %w", err)
	}
	return nil
}

func (s *snapshot) persist(w io.Writer) error {
	body, err := os.CreateTemp(s.f.cfg.Dir, tempPattern)
	if err != nil {
		return fmt.Errorf("make snapshot: %w", err)
	}
	defer func() {
		_ = body.Close()
		_ = os.Remove(body.Name())
	}()
	h, err := s.copyTo(body.Name())
	if err != nil {
		s.f.doubtIfDamaged(err)
		return fmt.Errorf("make snapshot: %w", err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, body)
	if err != nil {
		return fmt.Errorf("make snapshot: %w", err)
	}
	h.Size, h.SHA256 = uint64(n), [32]byte(sum.Sum(nil))
	head, err := h.Encode()
	if err != nil {
		return err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("make snapshot: %w", err)
	}
	if _, err := io.Copy(w, io.MultiReader(bytes.NewReader(head), body)); err != nil {
		return fmt.Errorf("send snapshot: %w", err)
	}
	return nil
}

// copyTo writes a compacted copy and ends the read transaction.
func (s *snapshot) copyTo(path string) (Header, error) {
	defer s.Release()
	pos, err := readPosition(s.tx)
	if err != nil {
		return Header{}, err
	}
	info, version, err := readCluster(s.tx)
	if err != nil {
		return Header{}, err
	}
	h := Header{
		FSMVersion: version, Index: pos.index, Term: pos.term, Generation: pos.generation,
		StateHash: pos.hash.bytes(),
	}
	if info != nil {
		h.ClusterID = info.ClusterID
	}
	return h, compact(s.tx, path, pos)
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {
	if s.tx != nil {
		_ = s.tx.Rollback()
		s.tx = nil
	}
}

// walk calls fn for every value but the position, verified, and returns their hash.
func walk(tx *bolt.Tx, fn func(b bucket, k, v []byte) error) (stateHash, error) {
	var sum stateHash
	for i, name := range bucketNameOf {
		b := bucket(i)
		if name == "" || b == bucketMeta {
			continue
		}
		in := b.in(tx)
		if in == nil {
			return sum, fmt.Errorf("no bucket %s: %w", name, ErrDamaged)
		}
		err := in.ForEach(func(k, v []byte) error {
			if _, err := parseFrame(k, v); err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
			sum = sum.plus(hashOf(b, k, v))
			return fn(b, k, v)
		})
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// verify walks the state and compares its hash with the one kept up to date by Apply.
func verify(tx *bolt.Tx, fn func(b bucket, k, v []byte) error) (err error) {
	defer func() {
		if r := recover(); r != nil { // bbolt panics on some damaged pages
			err = fmt.Errorf("walk state: %v: %w", r, ErrDamaged)
		}
	}()
	pos, err := readPosition(tx)
	if err != nil {
		return err
	}
	sum, err := walk(tx, fn)
	if err != nil {
		return err
	}
	if sum != pos.hash {
		return fmt.Errorf("state hash at index %d is %x, want %x: %w", pos.index, sum.bytes(), pos.hash.bytes(), ErrDamaged)
	}
	return nil
}

// Scrub verifies every value of the file and the state hash. A node should do it daily, and
// restart if it fails: the file is then rebuilt.
func (f *FSM) Scrub() error {
	f.dbMu.RLock()
	defer f.dbMu.RUnlock()
	err := f.db.View(func(tx *bolt.Tx) error {
		return verify(tx, func(bucket, []byte, []byte) error { return nil })
	})
	if err != nil {
		f.doubtIfDamaged(err)
		return fmt.Errorf("scrub state: %w", err)
	}
	return nil
}

func (f *FSM) doubtIfDamaged(err error) {
	if errors.Is(err, ErrDamaged) {
		f.doubt()
	}
}

// shrinkFrom is the size from which a file that is more than half free is copied at start.
// bbolt never shrinks a file, and many free pages make each commit slower.
const shrinkFrom = 256 << 20

// shrink replaces a file with its compacted copy if that pays.
func shrink(dir string) error {
	path := filepath.Join(dir, fileName)
	if info, err := os.Stat(path); err != nil || info.Size() < shrinkFrom {
		return nil //nolint:nilerr // whoever opens the file reports it
	}
	db, err := openFile(path)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, strings.Replace(tempPattern, "*", "shrink", 1))
	err = shrinkTo(db, tmp)
	if err = errors.Join(err, db.Close()); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if _, err := os.Stat(tmp); err != nil {
		return nil //nolint:nilerr // no copy was worth while
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("put copy in place: %w", err)
	}
	return nil
}

func shrinkTo(db *bolt.DB, path string) error {
	return db.View(func(tx *bolt.Tx) error {
		if free := int64(db.Stats().FreePageN) * int64(db.Info().PageSize); free*2 < tx.Size() {
			return nil
		}
		pos, err := readPosition(tx)
		if err != nil {
			return err
		}
		return compact(tx, path, pos)
	})
}

// compact copies the state of src into a new file, verifying it on the way.
func compact(src *bolt.Tx, path string, pos position) (err error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
	})
	if err != nil {
		return fmt.Errorf("open copy: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c := &copier{db: db}
	if err := c.begin(); err != nil {
		return err
	}
	if err := createBuckets(c.tx); err != nil {
		return errors.Join(err, c.tx.Rollback())
	}
	err = verify(src, c.put)
	if err == nil {
		err = writePosition(c.tx, pos)
	}
	if err != nil {
		return errors.Join(err, c.tx.Rollback())
	}
	if err := c.tx.Commit(); err != nil {
		return fmt.Errorf("commit copy: %w", err)
	}
	return nil
}

// copier fills a file in transactions of copyBatch values.
type copier struct {
	db      *bolt.DB
	tx      *bolt.Tx
	handles map[bucket]*bolt.Bucket
	n       int
}

func (c *copier) begin() (err error) {
	c.n, c.handles = 0, map[bucket]*bolt.Bucket{}
	if c.tx, err = c.db.Begin(true); err != nil {
		return fmt.Errorf("begin copy: %w", err)
	}
	return nil
}

func (c *copier) put(b bucket, k, v []byte) error {
	if c.n == copyBatch {
		if err := c.tx.Commit(); err != nil {
			return fmt.Errorf("commit copy: %w", err)
		}
		if err := c.begin(); err != nil {
			return err
		}
	}
	c.n++
	in := c.handles[b]
	if in == nil {
		in = b.in(c.tx)
		in.FillPercent = 1 // keys come in order: no page is split
		c.handles[b] = in
	}
	if err := in.Put(k, v); err != nil {
		return fmt.Errorf("copy value: %w", err)
	}
	return nil
}

// Restore implements raft.FSM. The snapshot is written aside, verified and read into memory
// before it takes the place of the state, which a failure leaves as it was.
func (f *FSM) Restore(rc io.ReadCloser) error {
	defer func() {
		_, _ = io.Copy(io.Discard, rc) // the sender waits until all has been read
		_ = rc.Close()
	}()
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	if f.failed != nil {
		return fmt.Errorf("restore a stopped state machine: %w", f.failed)
	}
	h, err := ReadHeader(rc)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if h.FSMVersion > f.cfg.FSMVersion {
		return fmt.Errorf("restore: the snapshot needs version %d, this node knows %d", h.FSMVersion, f.cfg.FSMVersion)
	}
	path, err := f.receive(h, rc)
	if err != nil {
		return fmt.Errorf("restore index %d: %w", h.Index, err)
	}
	if err := f.swap(h, path); err != nil {
		return errors.Join(fmt.Errorf("restore index %d: %w", h.Index, err), os.Remove(path))
	}
	if f.cfg.Watch != nil {
		f.cfg.Watch(Change{Index: f.Applied(), Tables: allTables(), Leases: f.Leases()})
	}
	return nil
}

// allTables are the kinds that a restore changes: all.
func allTables() map[string]bool {
	all := map[string]bool{"epoch": true}
	for b := bucketKeys; b < buckets; b++ {
		all[kindName(b)] = true
	}
	return all
}

// receive writes the body into a file and compares its checksum.
func (f *FSM) receive(h Header, r io.Reader) (string, error) {
	to, err := os.CreateTemp(f.cfg.Dir, tempPattern)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(r, int64(min(h.Size, 1<<62))))
	if err == nil && (uint64(n) != h.Size || [32]byte(sum.Sum(nil)) != h.SHA256) {
		err = fmt.Errorf("%d bytes of %d are not those that were sent: %w", n, h.Size, ErrDamaged)
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return "", errors.Join(err, os.Remove(to.Name()))
	}
	return to.Name(), nil
}

// swap verifies the received file, reads it into memory and puts it in place.
func (f *FSM) swap(h Header, path string) error {
	db, err := openFile(path)
	if err != nil {
		return err
	}
	m, err := f.adopt(db, h)
	if err == nil {
		err = os.Rename(path, filepath.Join(f.cfg.Dir, fileName))
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	if err := f.replace(db, m).Close(); err != nil { // waits for a snapshot that is being copied
		f.log.Warn("close of the replaced state file", "err", err)
	}
	return nil
}

// replace makes db and what was read from it the state, and returns the one before.
func (f *FSM) replace(db *bolt.DB, m *memory) *bolt.DB {
	f.dbMu.Lock()
	defer f.dbMu.Unlock()
	old := f.db
	f.db = db
	f.install(m)
	return old
}

// adopt checks that the file holds the state that the header tells of, moves it to the
// index of the header, which may be a later one without a command, and reads it.
func (f *FSM) adopt(db *bolt.DB, h Header) (*memory, error) {
	err := db.Update(func(tx *bolt.Tx) error {
		pos, err := readPosition(tx)
		if err != nil {
			return err
		}
		if pos.hash.bytes() != h.StateHash {
			return fmt.Errorf("state hash is %x, the header says %x: %w", pos.hash.bytes(), h.StateHash, ErrDamaged)
		}
		if err := verify(tx, func(bucket, []byte, []byte) error { return nil }); err != nil {
			return err
		}
		if h.Index > pos.index {
			pos.index, pos.term = h.Index, h.Term
		}
		pos.generation = max(pos.generation, h.Generation)
		return writePosition(tx, pos)
	})
	if err != nil {
		return nil, err
	}
	return readMemory(db)
}

// removeTemps deletes what an interrupted snapshot or restore left.
func removeTemps(dir string) {
	names, err := filepath.Glob(filepath.Join(dir, tempPattern))
	if err != nil {
		return // the pattern is a constant
	}
	for _, n := range names {
		_ = os.Remove(n)
	}
}
