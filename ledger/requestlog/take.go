package requestlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// maxAlike is how many rows a minute refusals of one key with one code may have. What comes
// beyond is counted in the last of them, so that a client that does not stop cannot push
// everybody else's rows out. Only refusals that cost nothing are bounded.
const maxAlike = 60

// maxRepeats bounds the kinds of refusals that are remembered.
const maxRepeats = 10_000

type repeatKey struct{ key, code, model string }

// repeat is how often a key was refused alike in one minute.
type repeat struct {
	minute int64
	rows   int
	last   uint64 // number of the newest row
}

// take moves some records from the journal into the log; more says that others may follow.
func (l *Log) take() (more bool, err error) {
	l.workMu.Lock()
	defer l.workMu.Unlock()
	after := l.Taken()
	records, next, err := l.cfg.Source.ReadFrom(after, readLimit)
	if err != nil {
		return false, err
	}
	if next == after {
		return false, nil
	}
	var added held
	err = l.db.Update(func(tx *bolt.Tx) error {
		var sums rollup.Batch
		for i := range records {
			sums.Add(&records[i], 1)
			n, err := l.putRow(tx, &records[i])
			if err != nil {
				return err
			}
			added.add(n)
		}
		if err := addCells(tx, &sums); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(keyTaken, numberKey(next))
	})
	if err != nil {
		clear(l.repeats) // may tell of rows that are not there
		return false, fmt.Errorf("write request log: %w", err)
	}
	l.hot.add(added)
	l.served.Store(clock.Steady().UnixNano())
	l.advance(next)
	l.cfg.Source.SetSoftFloor(floorName, next)
	l.metrics.taken.Add(float64(len(records)))
	return len(records) == readLimit, nil
}

func numberOf(key []byte) uint64 { return binary.BigEndian.Uint64(key) }

func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// putRow writes the record's row, or counts it in one that is like it, and returns what is there more.
func (l *Log) putRow(tx *bolt.Tx, r *ledger.Record) (added held, err error) {
	rows := tx.Bucket(bucketRows)
	put := func(count int64) (held, error) {
		row := appendHot(nil, r, count)
		return held{rows: 1, bytes: hotBytes(row)}, rows.Put(numberKey(r.Number), row)
	}
	if !refused(r) {
		return put(countOf(r))
	}
	k := repeatKey{r.KeyID, r.ErrorCode, r.Model}
	minute := int64(r.Time) / 60e9
	seen := l.repeats[k]
	if seen == nil || seen.minute != minute {
		if len(l.repeats) >= maxRepeats {
			clear(l.repeats)
		}
		seen = &repeat{minute: minute}
		l.repeats[k] = seen
	}
	if seen.rows >= maxAlike {
		if done, err := countIn(rows, seen.last, r); done || err != nil {
			l.metrics.merged.Inc()
			return held{}, err
		}
	}
	seen.rows++
	seen.last = r.Number
	return put(1)
}

// countOf is how many requests a record stands for.
func countOf(r *ledger.Record) int64 {
	if r.Flags.Has(ledger.Adjustment) {
		return 0
	}
	return 1
}

// refused says whether the request was refused before it could cost anything.
func refused(r *ledger.Record) bool {
	return r.ErrorKind != "" && r.Attempts == 0 && r.Cost == 0 && r.Hold == 0 && r.Usage.Total() == 0
}

// countIn counts the record in the row; false: the row is not in bbolt any more.
func countIn(rows *bolt.Bucket, number uint64, r *ledger.Record) (bool, error) {
	b := rows.Get(numberKey(number))
	if b == nil || number <= sealedOf(rows.Tx()) {
		return false, nil
	}
	row, count, err := parseHot(number, b)
	if err != nil {
		return false, err
	}
	row.Duration += r.Duration
	return true, rows.Put(numberKey(number), appendHot(nil, &row, count+1))
}

// appendHot is the form of a row in bbolt.
func appendHot(b []byte, r *ledger.Record, count int64) []byte {
	return ledger.AppendRecord(binary.AppendVarint(b, count), r)
}

// hotBytes is how much of the file a row takes that is encoded so: with its number and bbolt's header of both.
func hotBytes(row []byte) int64 { return int64(len(row)) + 8 + 16 }

var errRow = errors.New("row is damaged")

func parseHot(number uint64, b []byte) (ledger.Record, int64, error) {
	count, n := binary.Varint(b)
	if n <= 0 || count < 0 {
		return ledger.Record{}, 0, fmt.Errorf("row %d: %w", number, errRow)
	}
	r, err := ledger.ParseRecord(b[n:])
	if err != nil {
		return ledger.Record{}, 0, fmt.Errorf("row %d: %w", number, err)
	}
	r.Number = number
	return r, count, nil
}

// timeOfHot reads no more of a row than its time.
func timeOfHot(number uint64, b []byte) (resource.Time, error) {
	_, n := binary.Varint(b)
	if n <= 0 {
		return 0, fmt.Errorf("row %d: %w", number, errRow)
	}
	at, err := ledger.RecordTime(b[n:])
	if err != nil {
		return 0, fmt.Errorf("row %d: %w", number, err)
	}
	return at, nil
}

// addCells adds the sums to the cells.
func addCells(tx *bolt.Tx, sums *rollup.Batch) error {
	for _, level := range rollup.Levels {
		b := tx.Bucket(bucketCells[level])
		err := sums.Each(level, func(key []byte, s *rollup.Sums) error {
			if old := b.Get(key); old != nil {
				have, err := rollup.ParseSums(old)
				if err != nil {
					return err
				}
				s.Add(&have)
			}
			return b.Put(key, s.Append(nil))
		})
		if err != nil {
			return fmt.Errorf("add to cells of a %s: %w", level, err)
		}
	}
	return nil
}
