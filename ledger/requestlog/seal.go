package requestlog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

const (
	sealBatch = 1_000 // rows of one read transaction while sealing
	dropBatch = 8_000 // rows that one transaction removes after that
)

func (l *Log) path(s *segment.Segment) string { return filepath.Join(l.cfg.segmentDir(), s.Name) }

// Segments lists the sealed files, oldest first.
func (l *Log) Segments() []segment.Segment {
	l.segMu.RLock()
	defer l.segMu.RUnlock()
	return slices.Clone(l.segments)
}

func (l *Log) segmentBytes() (n int64) {
	for _, s := range l.Segments() {
		n += s.Bytes
	}
	return n
}

// openSegments reads the list of segments. Files that are not in it were being made by a
// process that died, and are removed: their rows are still in bbolt. If the list itself was
// lost, the files are all there is, and the sums are made of them again.
func (l *Log) openSegments() error {
	err := l.db.View(func(tx *bolt.Tx) (err error) {
		l.segments, err = listSegments(tx)
		return err
	})
	if err != nil {
		return err
	}
	files, err := os.ReadDir(l.cfg.segmentDir())
	if err != nil {
		return err
	}
	fresh := l.taken == 0 && len(l.segments) == 0
	for _, f := range files {
		known := slices.ContainsFunc(l.segments, func(s segment.Segment) bool { return s.Name == f.Name() })
		switch {
		case known:
		case fresh && strings.HasSuffix(f.Name(), segment.Suffix):
			if err := l.adopt(f.Name()); err != nil {
				return err
			}
		default:
			if err := os.Remove(filepath.Join(l.cfg.segmentDir(), f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// listSegments reads the list of segments, oldest first.
func listSegments(tx *bolt.Tx) (list []segment.Segment, err error) {
	err = tx.Bucket(bucketSegments).ForEach(func(_, v []byte) error {
		var s segment.Segment
		if err := json.Unmarshal(v, &s); err != nil {
			return fmt.Errorf("read list of segments: %w", err)
		}
		list = append(list, s)
		return nil
	})
	slices.SortFunc(list, func(a, b segment.Segment) int { return cmp.Compare(a.First, b.First) })
	return list, err
}

// adopt takes a segment into a log whose bbolt file was lost.
func (l *Log) adopt(name string) error {
	s := segment.Segment{Name: name}
	err := l.db.Update(func(tx *bolt.Tx) error {
		var sums rollup.Batch
		rows := 0
		own, err := segment.Read(l.path(&s), func(r *Row) error {
			s.Include(r.Number, r.Time)
			rec := r.Record()
			sums.Add(&rec, r.Count)
			if rows++; rows%segment.GroupRows == 0 {
				if err := addCells(tx, &sums); err != nil {
					return err
				}
				sums = rollup.Batch{}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := addCells(tx, &sums); err != nil {
			return err
		}
		if info, err := os.Stat(l.path(&s)); err == nil {
			s.Bytes = info.Size()
		}
		if s.Chained = own; len(l.segments) == 0 && own.Previous != "" {
			if err := putAnchor(tx, segment.Anchor{Hash: own.Previous, At: resource.At(l.cfg.Now()), Adopted: true}); err != nil {
				return err
			}
		}
		l.taken = max(l.taken, s.Last)
		if err := tx.Bucket(bucketMeta).Put(keyTaken, numberKey(l.taken)); err != nil {
			return err
		}
		return putSegment(tx, &s)
	})
	if err != nil {
		aside := l.path(&s) + ".damaged"
		l.cfg.Logger.Error("segment of the request log cannot be read; set aside", "path", l.path(&s), "to", aside, "error", err)
		return os.Rename(l.path(&s), aside)
	}
	l.segments = append(l.segments, s)
	return nil
}

func putSegment(tx *bolt.Tx, s *segment.Segment) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketSegments).Put([]byte(s.Name), b)
}

// Seal moves the rows of hours that have ended, and the oldest ones of too many, from bbolt
// into segments.
func (l *Log) Seal(now time.Time) error {
	hour := resource.At(now.Add(-sealGrace).Truncate(time.Hour))
	l.workMu.Lock()
	defer l.workMu.Unlock()
	for {
		s, err := l.sealOne(hour)
		if err != nil {
			return fmt.Errorf("seal rows: %w", err)
		}
		if s == nil {
			return nil
		}
		l.metrics.sealed.Add(float64(s.Rows))
	}
}

// sealOne makes one segment of rows, in the order of their numbers, up to the first one that
// is not before the time; nil: there is nothing to seal.
func (l *Log) sealOne(before resource.Time) (*segment.Segment, error) {
	s := &segment.Segment{}
	next, over, err := l.firstRow(before)
	if err != nil || next == nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(l.cfg.segmentDir(), "seal-*.tmp")
	if err != nil {
		return nil, err
	}
	if err := l.writeSegment(tmp, s, before, over); err != nil {
		return nil, errors.Join(err, durable.Discard(tmp))
	}
	s.Name = fmt.Sprintf("%s-%020d%s", s.From.Std().Format("20060102T150405"), s.First, segment.Suffix)
	if err := l.place(tmp, s); err != nil {
		return nil, err
	}
	return s, l.commitSegment(s)
}

// place gives the file of a segment its name, and notes its size.
func (l *Log) place(f *os.File, s *segment.Segment) error {
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, durable.Discard(f))
	}
	s.Bytes = info.Size()
	return durable.Commit(f, l.path(s))
}

// firstRow is the key of the oldest row, if it is to be sealed; over says that the rows are
// sealed for their number, whatever their time.
func (l *Log) firstRow(before resource.Time) (key []byte, over bool, err error) {
	err = l.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketRows)
		k, v := b.Cursor().Seek(numberKey(sealedOf(tx) + 1))
		if k == nil {
			return nil
		}
		r, _, err := parseHot(0, v)
		if err != nil {
			return err
		}
		over = l.hot.rows > 2*segmentRows || l.hot.bytes > l.cfg.Retention().filled().Bytes/hotShare
		if over || r.Time < before {
			key = slices.Clone(k)
		}
		return nil
	})
	return key, over, err
}

// writeSegment writes the rows that stand at the segment's place of the chain.
func (l *Log) writeSegment(w io.Writer, s *segment.Segment, before resource.Time, over bool) error {
	previous, err := l.head()
	if err != nil {
		return err
	}
	s.Chained = segment.Chained{Version: l.sealAs, Previous: previous}
	out, err := segment.NewWriter(w, l.cfg.NodeID, &s.Chained)
	if err != nil {
		return err
	}
	var from []byte
	for s.Rows < segmentRows {
		rows, next, err := l.hotRows(from, sealBatch)
		if err != nil {
			return err
		}
		ended := next == nil
		if i := slices.IndexFunc(rows, func(r Row) bool { return !over && r.Time >= before }); i >= 0 {
			rows, ended = rows[:i], true
		}
		for i := range rows {
			s.Include(rows[i].Number, rows[i].Time)
			if s.Version == segment.Version {
				rows[i].AddSalt()
			}
		}
		if err := out.Write(rows); err != nil {
			return err
		}
		if from = next; ended {
			break
		}
	}
	s.Hash = out.Sum()
	return out.Close()
}

// hotRows reads rows of bbolt from the key on.
func (l *Log) hotRows(from []byte, limit int) (rows []Row, next []byte, err error) {
	rows = make([]Row, 0, limit)
	err = l.db.View(func(tx *bolt.Tx) error {
		defer forgetPages(tx)
		if first := numberKey(sealedOf(tx) + 1); bytes.Compare(from, first) < 0 {
			from = first
		}
		c := tx.Bucket(bucketRows).Cursor()
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if len(rows) == limit {
				next = slices.Clone(k)
				return nil
			}
			r, count, err := parseHot(numberOf(k), v)
			if err != nil {
				return err
			}
			r.Node = l.cfg.NodeID
			rows = append(rows, segment.RowOf(&r, count))
		}
		return nil
	})
	return rows, next, err
}

// commitSegment puts the segment into the list, which takes its rows out of sight, and removes
// them from bbolt.
func (l *Log) commitSegment(s *segment.Segment) error {
	l.segMu.Lock()
	defer l.segMu.Unlock()
	err := l.db.Update(func(tx *bolt.Tx) error {
		if err := tx.Bucket(bucketMeta).Put(keySealed, numberKey(s.Last)); err != nil {
			return err
		}
		return putSegment(tx, s)
	})
	if err != nil {
		return err
	}
	l.segments = append(l.segments, *s)
	l.hot.rows -= s.Rows
	return l.dropSealed()
}

// sealedOf is the number up to which rows in bbolt stand in segments too and are to be removed.
func sealedOf(tx *bolt.Tx) uint64 {
	if v := tx.Bucket(bucketMeta).Get(keySealed); len(v) == 8 {
		return numberOf(v)
	}
	return 0
}

// dropSealed removes the rows that are in segments, in several transactions: one that removes
// very many keeps all their pages in memory.
func (l *Log) dropSealed() error {
	for dropped := dropBatch; dropped == dropBatch; {
		dropped = 0
		gone := int64(0)
		err := l.db.Update(func(tx *bolt.Tx) error {
			defer forgetPages(tx)
			sealed := sealedOf(tx)
			c := tx.Bucket(bucketRows).Cursor()
			for k, v := c.First(); k != nil && numberOf(k) <= sealed && dropped < dropBatch; k, v = c.Next() {
				gone += hotBytes(v)
				if err := c.Delete(); err != nil {
					return err
				}
				dropped++
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove sealed rows: %w", err)
		}
		l.hot.bytes = max(0, l.hot.bytes-gone)
	}
	return nil
}

// Trim removes the oldest segments that are too old or too big in all, and cells that are
// too old.
func (l *Log) Trim() error {
	keep := l.cfg.Retention().filled()
	now := l.cfg.Now()
	if err := l.trimSegments(resource.At(now.Add(-keep.Rows)), keep.Bytes); err != nil {
		return fmt.Errorf("trim segments: %w", err)
	}
	var before [len(bucketCells)]int64
	for level, age := range [...]time.Duration{keep.Minutes, keep.Hours, keep.Days} {
		before[level] = now.Add(-age).Unix()
		bucket := func(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket(bucketCells[level]) }
		if err := l.trimBucket(bucket, before[level]); err != nil {
			return fmt.Errorf("trim cells: %w", err)
		}
	}
	if err := l.trimCopies(before); err != nil {
		return fmt.Errorf("trim copied cells: %w", err)
	}
	return nil
}

func (l *Log) trimSegments(oldest resource.Time, most int64) error {
	total := l.segmentBytes()
	l.segMu.Lock()
	defer l.segMu.Unlock()
	for len(l.segments) > 0 {
		s := l.segments[0]
		if s.To >= oldest && total <= most {
			return nil
		}
		err := l.db.Update(func(tx *bolt.Tx) error {
			if err := l.dropped(tx, &s); err != nil {
				return err
			}
			return tx.Bucket(bucketSegments).Delete([]byte(s.Name))
		})
		if err != nil {
			return err
		}
		if err := os.Remove(l.path(&s)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		total -= s.Bytes
		l.segments = slices.Clone(l.segments[1:])
		l.metrics.removed.Inc()
	}
	return nil
}

// trimBucket removes the cells of a bucket that start before the second, in several
// transactions, so that none is long.
func (l *Log) trimBucket(bucket func(*bolt.Tx) *bolt.Bucket, before int64) error {
	for _, r := range rollup.Expired(before) {
		for l.hasCell(bucket, r) { // an empty transaction would sync the file too
			err := l.db.Update(func(tx *bolt.Tx) error {
				c := bucket(tx).Cursor()
				removed := 0
				for k, _ := c.Seek(r[0]); k != nil && string(k) < string(r[1]) && removed < sealBatch; k, _ = c.Seek(r[0]) {
					if err := c.Delete(); err != nil {
						return err
					}
					removed++
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) hasCell(bucket func(*bolt.Tx) *bolt.Bucket, keys [2][]byte) (has bool) {
	_ = l.db.View(func(tx *bolt.Tx) error { // does not fail
		if b := bucket(tx); b != nil {
			k, _ := b.Cursor().Seek(keys[0])
			has = k != nil && string(k) < string(keys[1])
		}
		return nil
	})
	return has
}
