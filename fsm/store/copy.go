package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
)

// copyBatch is how many values one transaction of a copy holds.
const copyBatch = 50_000

// walk calls fn for every value but the position, verified, and returns their hash.
func walk(tx *bolt.Tx, fn func(b Bucket, k, v []byte) error) (frame.Hash, error) {
	var sum frame.Hash
	for i, name := range names {
		b := Bucket(i)
		if name == "" || b == Meta {
			continue
		}
		in := b.In(tx)
		if in == nil {
			return sum, fmt.Errorf("no bucket %s: %w", name, frame.ErrDamaged)
		}
		err := in.ForEach(func(k, v []byte) error {
			if _, err := frame.Parse(k, v); err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
			sum = sum.Plus(frame.HashOf(byte(b), k, v))
			return fn(b, k, v)
		})
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// verify walks the state and compares its hash with the one kept up to date by Apply.
func verify(tx *bolt.Tx, fn func(b Bucket, k, v []byte) error) error {
	return Guard(func() error { return verified(tx, fn) })
}

func verified(tx *bolt.Tx, fn func(b Bucket, k, v []byte) error) error {
	pos, err := ReadPosition(tx)
	if err != nil {
		return err
	}
	sum, err := walk(tx, fn)
	if err != nil {
		return err
	}
	if sum != pos.Hash {
		return fmt.Errorf("state hash at index %d is %x, want %x: %w", pos.Index, sum.Bytes(), pos.Hash.Bytes(), frame.ErrDamaged)
	}
	return nil
}

// shrinkFrom is the size from which a file that is wasteful is copied at start.
// bbolt never shrinks a file, and many free pages make each commit slower.
const shrinkFrom = 256 << 20

// Shrink replaces the file in dir, which is not open, with its compacted copy if it has at
// least so many bytes and over a third of it is free.
func Shrink(dir string, from int64) error {
	db, err := openShrunk(dir, from)
	if err != nil {
		return err
	}
	return db.Close()
}

// openShrunk opens the file in dir after what Shrink does. It opens it once if there is nothing
// to do: bbolt walks all pages each time, to find those that are free.
func openShrunk(dir string, from int64) (*bolt.DB, error) {
	path := filepath.Join(dir, fileName)
	info, err := os.Stat(path)
	large := err == nil && info.Size() >= from
	db, err := openFile(path)
	if err != nil || !large {
		return db, err
	}
	tmp := filepath.Join(dir, strings.Replace(tempPattern, "*", "shrink", 1))
	if err := shrinkTo(db, tmp); err != nil {
		return nil, errors.Join(err, db.Close(), os.RemoveAll(tmp))
	}
	if _, err := os.Stat(tmp); err != nil {
		return db, nil //nolint:nilerr // no copy was worth while
	}
	if err := errors.Join(db.Close(), os.Rename(tmp, path)); err != nil {
		return nil, fmt.Errorf("put copy in place: %w", err)
	}
	return openFile(path)
}

func shrinkTo(db *bolt.DB, path string) error {
	return db.View(func(tx *bolt.Tx) error {
		if !isWasteful(tx, 0) {
			return nil
		}
		pos, err := ReadPosition(tx)
		if err != nil {
			return err
		}
		return compact(tx, path, pos)
	})
}

// Wasteful says whether the open file has at least from bytes and over a third of it is free: over one and a half times what it needs.
func (f *File) Wasteful(from int64) (wasteful bool) {
	err := f.View(func(tx *bolt.Tx) error {
		wasteful = isWasteful(tx, from)
		return nil
	})
	return err == nil && wasteful
}

func isWasteful(tx *bolt.Tx, from int64) bool {
	free := int64(tx.DB().Stats().FreePageN) * int64(tx.DB().Info().PageSize)
	return tx.Size() >= from && 3*free > tx.Size()
}

// Compact puts a compacted copy in the place of the open file, if that is Wasteful, and says how many bytes were given back. What is
// read goes on meanwhile; nothing may be written. A failure leaves the file as it was.
func (f *File) Compact(from int64) (freed int64, err error) {
	path := filepath.Join(f.dir, strings.Replace(tempPattern, "*", "compact", 1))
	var large int64
	err = f.View(func(tx *bolt.Tx) error {
		if !isWasteful(tx, from) {
			return nil
		}
		large = tx.Size()
		pos, err := ReadPosition(tx)
		if err != nil {
			return err
		}
		return compact(tx, path, pos)
	})
	if err != nil {
		f.doubtIfDamaged(err)
		return 0, errors.Join(fmt.Errorf("compact the state: %w", err), os.RemoveAll(path))
	}
	if large == 0 {
		return 0, nil
	}
	db, err := openFile(path)
	if err != nil {
		return 0, errors.Join(err, os.Remove(path))
	}
	var small int64
	err = readWhole(db, func(tx *bolt.Tx) error {
		small = tx.Size()
		return nil
	})
	if err == nil {
		err = os.Rename(path, filepath.Join(f.dir, fileName))
	}
	if err != nil {
		return 0, errors.Join(err, db.Close(), os.Remove(path))
	}
	f.retire(f.replace(db, func() {}))
	return large - small, nil
}

// compact copies the state of src into a new file, verifying it on the way. A state has one such file, to the last byte: bbolt gives
// pages to the buckets of a transaction, and takes them from its map of free ones, in no order.
func compact(src *bolt.Tx, path string, pos Position) (err error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistArrayType,
		InitialMmapSize: int(src.Size()), // a copy is not larger: each new mapping would copy what is under way
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
		err = WritePosition(c.tx, pos)
	}
	if err != nil {
		return errors.Join(err, c.tx.Rollback())
	}
	if err := c.tx.Commit(); err != nil {
		return fmt.Errorf("commit copy: %w", err)
	}
	return nil
}

// copier fills a file in transactions of copyBatch values of one bucket.
type copier struct {
	db   *bolt.DB
	tx   *bolt.Tx
	to   Bucket
	into *bolt.Bucket // nil: none yet in this transaction
	n    int
}

func (c *copier) begin() (err error) {
	c.n, c.into = 0, nil
	if c.tx, err = c.db.Begin(true); err != nil {
		return fmt.Errorf("begin copy: %w", err)
	}
	return nil
}

func (c *copier) put(b Bucket, k, v []byte) error {
	if c.n == copyBatch || c.into != nil && c.to != b {
		if err := c.next(); err != nil {
			return err
		}
	}
	if c.into == nil {
		c.to, c.into = b, b.In(c.tx)
		c.into.FillPercent = 1 // keys come in order: no page is split
	}
	c.n++
	if err := c.into.Put(k, v); err != nil {
		return fmt.Errorf("copy value: %w", err)
	}
	return nil
}

// next ends a transaction and begins another.
func (c *copier) next() error {
	full := c.n == copyBatch
	if err := c.tx.Commit(); err != nil {
		return fmt.Errorf("commit copy: %w", err)
	}
	// Written bit by bit: a gigabyte at once would hold up whoever syncs the log meanwhile.
	if full {
		if err := c.db.Sync(); err != nil {
			return fmt.Errorf("sync copy: %w", err)
		}
	}
	return c.begin()
}
