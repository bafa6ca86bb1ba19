package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/ledger/fields"
)

const (
	readChunk    = 256 << 10
	settledChunk = 1024 // records that Settled looks at at once
)

// ReadFrom returns up to limit finished requests with numbers above after, in order, and
// the number to pass next time, which also moves past records of other types. Numbers may
// jump. What has been removed for its age is left out.
func (j *Journal) ReadFrom(after uint64, limit int) (records []Record, next uint64, err error) {
	next = after
	last := j.written.Load()
	for _, s := range j.segmentsAfter(after) {
		at := s.seek(after + 1)
		for at < s.size.Load() && next < last && len(records) < limit {
			data, err := readChunkAt(s, at)
			if errors.Is(err, os.ErrNotExist) {
				break // removed for its age meanwhile
			}
			if err != nil {
				return records, next, fmt.Errorf("read journal: %w", err)
			}
			used, err := j.takeRecords(data, &records, &next, last, limit)
			if err != nil {
				return records, next, fmt.Errorf("read journal %s: %w", s.path, err)
			}
			if used == 0 {
				break // the rest of the segment is damaged
			}
			at += used
		}
		if len(records) >= limit || next >= last {
			break
		}
	}
	return records, next, nil
}

// Settled returns which requests whose ids begin with the prefix were settled in records with numbers above after, but for those
// that were charged their holds because their process died. whole is false if some of these records have been removed.
func (j *Journal) Settled(after uint64, prefix string) (ids map[string]bool, whole bool, err error) {
	ids = map[string]bool{}
	for next, last := after, j.Last(); next < last; {
		records, to, err := j.ReadFrom(next, settledChunk)
		if err != nil {
			return nil, false, err
		}
		for i := range records {
			if r := &records[i]; strings.HasPrefix(r.RequestID, prefix) && r.ErrorKind != interrupted {
				ids[r.RequestID] = true
			}
		}
		if to == next {
			break
		}
		next = to
	}
	_, _, gone := j.Missing(after)
	return ids, !gone, nil
}

// takeRecords decodes the frames of data up to the record last and moves *next over them.
func (j *Journal) takeRecords(data []byte, records *[]Record, next *uint64, last uint64, limit int) (used int64, err error) {
	for used < int64(len(data)) && len(*records) < limit && *next < last {
		f, err := readFrame(data[used:])
		if errors.Is(err, errCut) && used > 0 {
			return used, nil // the rest is in the next chunk
		}
		if errors.Is(err, errCut) || errors.Is(err, errBad) {
			skip := resync(data, used+1, *next)
			if skip < 0 {
				return used, nil
			}
			used = skip
			continue
		}
		if err != nil {
			return used, err
		}
		used += int64(f.size)
		if f.kind == kindCheck || f.number <= *next {
			continue
		}
		*next = f.number
		if !f.kind.settles() {
			continue
		}
		r, err := decodeRecord(f)
		if err != nil {
			return used, err
		}
		r.Node = j.cfg.NodeID
		*records = append(*records, r)
	}
	return used, nil
}

// readChunkAt reads the segment from the offset on: a chunk, or more if that does not hold
// one whole frame.
func readChunkAt(s *segment, at int64) ([]byte, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	rest := s.size.Load() - at
	b := make([]byte, min(rest, readChunk))
	if _, err := f.ReadAt(b, at); err != nil {
		return nil, err
	}
	if _, err := readFrame(b); err == nil || rest <= readChunk {
		return b, nil
	}
	b = make([]byte, rest)
	_, err = f.ReadAt(b, at)
	return b, err
}

// segmentsAfter returns the segments that may hold records with numbers above after.
func (j *Journal) segmentsAfter(after uint64) []*segment {
	all := j.segmentList()
	i, _ := slices.BinarySearchFunc(all, after+1, func(s *segment, n uint64) int {
		if s.first <= n {
			return -1
		}
		return 1
	})
	return all[max(0, i-1):]
}

// Walk calls visit for each finished request with a number in (after, to] and returns the
// epochs that the records lie in, ascending, 0 for one that is not known; visit is told the
// index of its record's epoch.
func (j *Journal) Walk(after, to uint64, visit func(r *Record, at int)) (epochs []uint64, err error) {
	var spans []span
	for _, s := range j.segmentsAfter(after) {
		if s.first > to {
			break
		}
		data, err := os.ReadFile(s.path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n := len(spans); n == 0 || spans[n-1].start != s.span.start {
			spans = append(spans, s.span)
		}
		_, _, err = scan(data[:min(int64(len(data)), s.size.Load())], func(f frame, _ int64) error {
			return walkFrame(f, after, to, &spans, visit)
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.path, err)
		}
	}
	for _, sp := range spans {
		epochs = append(epochs, sp.epoch)
	}
	return epochs, nil
}

func walkFrame(f frame, after, to uint64, spans *[]span, visit func(r *Record, at int)) error {
	switch f.kind {
	case kindStart:
		*spans = append(*spans, span{start: f.number})
	case kindEpoch:
		e, err := decodeNumbers(f.body)
		if err != nil || len(e) != 1 {
			return fmt.Errorf("epoch of record %d: %w", f.number, fields.ErrShort)
		}
		n := len(*spans) - 1
		if next := nextSpan((*spans)[n], f.number, e[0]); next.start == (*spans)[n].start {
			(*spans)[n] = next
		} else {
			*spans = append(*spans, next)
		}
	case kindSettle1, kindSettle2, kindSettle:
		if f.number <= after || f.number > to {
			return nil
		}
		r, err := decodeRecord(f)
		if err != nil {
			return err
		}
		visit(&r, len(*spans)-1)
	}
	return nil
}

// ReadDir calls visit for each finished request in the journal's folder, in order, without
// opening the journal, and returns how many damaged places it passed. It reads a folder that
// is in use as it finds it. Reservations that are open are not settled.
func ReadDir(dir string, visit func(r *Record) error) (holes int, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		return 0, err
	}
	slices.Sort(paths)
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return holes, err
		}
		if _, err := parseHeader(path, data); errors.Is(err, errHeader) {
			holes++
			continue
		} else if err != nil {
			return holes, err
		}
		end, damaged, err := scan(data, func(f frame, _ int64) error {
			if !f.kind.settles() {
				return nil
			}
			r, err := decodeRecord(f)
			if err != nil {
				return err
			}
			return visit(&r)
		})
		if err != nil {
			return holes, fmt.Errorf("read %s at %d: %w", path, end, err)
		}
		holes += len(damaged)
		if end < int64(len(data)) && i < len(paths)-1 {
			holes++
		}
	}
	return holes, nil
}

// SetFloor keeps all records with numbers above floor from being removed for their age, on
// behalf of the named reader, until it raises its floor.
func (j *Journal) SetFloor(name string, floor uint64) {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	j.floors[name] = floor
}

// SetSoftFloor is SetFloor for a reader that can do without: what it keeps is removed when it
// is older than Config.HoldAge or more than Config.HoldBytes. Missing then tells what is gone.
func (j *Journal) SetSoftFloor(name string, floor uint64) {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	j.soft[name] = floor
}

// DropFloor forgets a reader.
func (j *Journal) DropFloor(name string) {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	delete(j.floors, name)
	delete(j.soft, name)
}

// Missing says whether records with numbers above after, and below oldest, have been removed,
// and how many finished requests they told of; 0: that is not known any more.
func (j *Journal) Missing(after uint64) (oldest uint64, records int64, gone bool) {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	if len(j.segments) == 0 || after+1 >= j.segments[0].first {
		return 0, 0, false
	}
	oldest = j.segments[0].first
	for _, r := range j.removed {
		if r.last > after {
			records += r.records
		}
	}
	return oldest, records, true
}

// removal is a segment that was removed before a soft reader had read it.
type removal struct {
	last    uint64 // bound of its numbers
	records int64  // finished requests above the reader's floor
}

// maxRemovals bounds what is remembered of removed segments.
const maxRemovals = 1024

// Oldest is the number of the oldest record that is kept, 0 if there is none.
func (j *Journal) Oldest() uint64 {
	all := j.segmentList()
	if len(all) == 0 {
		return 0
	}
	return all[0].first
}

// Trim removes the oldest segments that are too old or too many, but none that a floor or
// an open reservation keeps. A soft floor keeps them for longer, not for ever.
func (j *Journal) Trim() error {
	keep := j.oldestOpen()
	j.segMu.Lock()
	defer j.segMu.Unlock()
	keep = min(keep, j.synced.Load())
	for _, f := range j.floors {
		keep = min(keep, f+1)
	}
	soft := ^uint64(0)
	for _, f := range j.soft {
		soft = min(soft, f)
	}
	total := int64(0)
	for _, s := range j.segments {
		total += s.size.Load()
	}
	for len(j.segments) > 1 {
		s, after := j.segments[0], j.segments[1]
		wanted := soft < after.first-1
		if after.first > keep || !j.surplus(after.created, total, wanted) {
			return nil
		}
		if wanted {
			if err := j.drop(s, after.first-1, soft); err != nil {
				return err
			}
		}
		if err := os.Remove(s.path); err != nil {
			return fmt.Errorf("trim journal: %w", err)
		}
		total -= s.size.Load()
		j.segments = slices.Clone(j.segments[1:])
	}
	return nil
}

// surplus says whether a segment whose newest record is older than at, of so many bytes in
// all, is to go. One that a reader wants stays for longer.
func (j *Journal) surplus(at, total int64, wanted bool) bool {
	age, most := j.cfg.MaxAge, j.cfg.MaxBytes
	if wanted {
		age, most = j.cfg.HoldAge, j.cfg.HoldBytes
	}
	return at < j.cfg.Now().Add(-age).UnixNano() || total > most
}

// drop counts the finished requests that a reader at the floor loses with the segment.
func (j *Journal) drop(s *segment, last, floor uint64) error {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	gone := removal{last: last}
	_, _, err = scan(data, func(f frame, _ int64) error {
		if f.kind.settles() && f.number > floor {
			gone.records++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("trim journal %s: %w", s.path, err)
	}
	if len(j.removed) == maxRemovals {
		j.removed = slices.Delete(j.removed, 0, 1)
	}
	j.removed = append(j.removed, gone)
	j.metrics.dropped.Add(float64(gone.records))
	j.cfg.Logger.Warn("journal segment is removed before a reader has read it", "path", s.path, "records", gone.records)
	return nil
}

// oldestOpen is the number of the oldest open reservation, or the largest number there is.
func (j *Journal) oldestOpen() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	oldest := ^uint64(0)
	for n := range j.open {
		oldest = min(oldest, n)
	}
	return oldest
}
