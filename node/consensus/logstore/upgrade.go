package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/node/consensus/logstore/segment"
)

const (
	// oldFile held log, term and vote before the log had files of its own.
	oldFile = "log.db"
	// upgradeBatch is how many bytes of entries are written at once by the upgrade.
	upgradeBatch = 4 << 20
)

// oldLog is the bucket of the entries in oldFile.
var oldLog = []byte("log")

// upgrade makes the log's folder of the file of an earlier version, if that is what dir has.
// The folder gets its name when it is whole: until then the old file counts, then it is
// removed.
func upgrade(dir string) error {
	old, to := filepath.Join(dir, oldFile), filepath.Join(dir, logDir)
	if _, err := os.Stat(old); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if _, err := os.Stat(to); errors.Is(err, os.ErrNotExist) {
		if err := convert(old, to); err != nil {
			return fmt.Errorf("upgrade %s: %w", oldFile, err)
		}
	} else if err != nil {
		return err
	}
	return errors.Join(os.Remove(old), durable.SyncDir(dir))
}

// convert copies what the old file has into a new folder.
func convert(old, to string) (err error) {
	db, err := bbolt.Open(old, 0o600, &bbolt.Options{Timeout: lockWait, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	part := to + partSuffix
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	log, err := segment.Open(segment.Config{Dir: part})
	if err != nil {
		return err
	}
	stable, err := openStable(filepath.Join(part, stableFile))
	if err != nil {
		return errors.Join(err, log.Close())
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return errors.Join(copyStable(tx, stable), copyLog(tx, log))
	})
	if err := errors.Join(err, log.Close(), stable.Close(), durable.SyncDir(part)); err != nil {
		return err
	}
	if err := os.Rename(part, to); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(to))
}

// copyStable copies term and vote as they are: their checksums are checked when they are read.
func copyStable(from *bbolt.Tx, to *bbolt.DB) error {
	b := from.Bucket(stableBucket)
	if b == nil {
		return nil
	}
	return to.Update(func(tx *bbolt.Tx) error {
		return b.ForEach(tx.Bucket(stableBucket).Put)
	})
}

// copyLog copies the entries, each of which is checked.
func copyLog(from *bbolt.Tx, to *segment.Log) error {
	b := from.Bucket(oldLog)
	if b == nil {
		return nil
	}
	var first uint64
	var batch [][]byte
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := to.Append(first, len(batch), func(b []byte, i int) ([]byte, error) { return append(b, batch[i]...), nil })
		first, batch, size = first+uint64(len(batch)), nil, 0
		return err
	}
	err := b.ForEach(func(k, v []byte) error {
		if len(k) != 8 {
			return fmt.Errorf("%w: key of %d bytes", ErrCorrupt, len(k))
		}
		index := binary.BigEndian.Uint64(k)
		if err := decodeLog(v, index, new(raft.Log)); err != nil {
			return fmt.Errorf("log entry %d: %w", index, err)
		}
		if len(batch) == 0 && first == 0 {
			first = index
		}
		if want := first + uint64(len(batch)); index != want {
			return fmt.Errorf("%w: entry %d where %d was due", ErrCorrupt, index, want)
		}
		batch, size = append(batch, v), size+len(v)
		if size >= upgradeBatch {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}
