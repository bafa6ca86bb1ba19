package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/ledger/fields"
	"github.com/conclave-llm/conclave/llm"
)

// replayed is what the files say when they are opened.
type replayed struct {
	last    uint64                  // number of the newest record
	span    span                    // that the newest record belongs to
	open    map[uint64]*Reservation // nil: known to be open, but not read yet
	amended amendments
	lost    uint64 // highest number at or behind which something is missing; 0: nothing is
	checked bool   // the first segment read began with its CHECK
}

// recover reads what earlier processes left, ends what they had begun, and starts this
// process's span.
func (j *Journal) recover() error {
	if err := j.loadSegments(); err != nil {
		return err
	}
	st, err := j.replay()
	if err != nil {
		return err
	}
	if err := j.openBoot(st.lost); err != nil {
		return err
	}
	j.written.Store(st.last)
	j.next = st.last + 1
	j.before = st.span
	if n := len(j.segments); n > 0 {
		if err := j.reopen(j.segments[n-1]); err != nil {
			return err
		}
	}
	if err := j.settleOpen(st); err != nil {
		return err
	}
	if err := j.begin(); err != nil {
		return err
	}
	return j.syncAll()
}

// loadSegments reads the headers. A last file whose header was never finished holds
// nothing and is removed.
func (j *Journal) loadSegments() error {
	paths, err := filepath.Glob(filepath.Join(j.cfg.Dir, "*"+segmentSuffix))
	if err != nil {
		return err
	}
	slices.Sort(paths)
	for i, path := range paths {
		s, err := readHeader(path)
		if errors.Is(err, errHeader) {
			if err := j.dropSegment(path, i == len(paths)-1); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		j.segments = append(j.segments, s)
	}
	return nil
}

// dropSegment takes a file with a damaged header out of the journal.
func (j *Journal) dropSegment(path string, last bool) error {
	if info, err := os.Stat(path); err == nil && last && info.Size() <= headerLen+frameLen {
		j.cfg.Logger.Warn("journal segment was never begun; removed", "path", path)
		return os.Remove(path)
	}
	j.holes++
	aside := strings.TrimSuffix(path, segmentSuffix) + ".damaged"
	j.cfg.Logger.Error("journal segment has a damaged header; set aside", "path", path, "to", aside)
	return os.Rename(path, aside)
}

func readHeader(path string) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, headerLen)
	n, err := f.ReadAt(b, 0)
	if n < headerLen {
		return nil, errHeader
	}
	if err != nil {
		return nil, err
	}
	s, err := parseHeader(path, b)
	if err != nil {
		return nil, err
	}
	s.linked = true
	s.size.Store(info.Size())
	return s, nil
}

// replay reads back from the newest segment to one whose CHECK can be read, and from there
// forward.
func (j *Journal) replay() (*replayed, error) {
	st := &replayed{open: make(map[uint64]*Reservation), amended: amendments{}}
	if j.holes > 0 {
		st.lost = ^uint64(0)
	}
	first := len(j.segments)
	for first > 0 && !st.checked {
		first--
		ok, err := beginsWithCheck(j.segments[first])
		if err != nil {
			return nil, err
		}
		st.checked = ok
	}
	for i := first; i < len(j.segments); i++ {
		if err := j.replaySegment(st, j.segments[i], i == len(j.segments)-1); err != nil {
			return nil, err
		}
	}
	if n := len(j.segments); n > 0 {
		st.last = max(st.last, j.segments[n-1].first-1)
	}
	return st, j.findReservations(st, j.segments[:first])
}

func beginsWithCheck(s *segment) (bool, error) {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return false, err
	}
	f, err := readFrame(data[min(headerLen, len(data)):])
	return err == nil && f.kind == kindCheck, nil
}

func (j *Journal) replaySegment(st *replayed, s *segment, newest bool) error {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	st.span = s.span
	prev, prevEnd := s.first-1, int64(headerLen)
	end, holes, err := scan(data, func(f frame, at int64) error {
		s.mark(f.number, at)
		if at != prevEnd {
			st.lost = max(st.lost, prev)
		}
		prev, prevEnd = f.number, at+int64(f.size)
		return st.take(f)
	})
	if err != nil {
		return fmt.Errorf("read %s at %d: %w", s.path, end, err)
	}
	for _, h := range holes {
		j.cfg.Logger.Error("journal is damaged", "path", s.path, "from", h.from, "to", h.to)
	}
	j.holes += len(holes)
	rest := int64(len(data)) - end
	if rest > 0 && !newest {
		j.holes++
		st.lost = max(st.lost, prev)
		j.cfg.Logger.Error("journal is damaged", "path", s.path, "from", end, "to", len(data))
	}
	if rest > 0 && newest {
		j.cfg.Logger.Warn("journal has a torn tail, whose record nobody was told of; cut", "path", s.path, "bytes", rest)
		if err := os.Truncate(s.path, end); err != nil {
			return err
		}
		s.size.Store(end)
	}
	return nil
}

// take folds one record into the state.
func (st *replayed) take(f frame) error {
	st.last = max(st.last, f.number)
	switch f.kind {
	case kindReserve1, kindReserve:
		r, err := decodeReservation(f)
		if err != nil {
			return err
		}
		st.open[f.number] = &r
	case kindSettle1, kindSettle2, kindSettle:
		delete(st.open, decodeReserved(f.body))
	case kindAmend:
		return st.amended.take(f)
	case kindStart:
		st.span = span{start: f.number}
	case kindEpoch:
		e, err := decodeNumbers(f.body)
		if err != nil || len(e) != 1 {
			return fmt.Errorf("epoch of record %d: %w", f.number, fields.ErrShort)
		}
		st.span = nextSpan(st.span, f.number, e[0])
	case kindCheck:
		ns, err := decodeNumbers(f.body)
		if err != nil {
			return err
		}
		for _, n := range ns {
			if _, ok := st.open[n]; !ok {
				st.open[n] = nil
			}
		}
	}
	return nil
}

// nextSpan is the span after the record with the number said that the epoch is epoch: the
// same one, whose epoch was not known, or a new one.
func nextSpan(s span, number, epoch uint64) span {
	if s.epoch == 0 && s.start != 0 {
		s.epoch = epoch
		return s
	}
	return span{number, epoch}
}

// findReservations reads the reservations that were opened before the first segment that
// was replayed.
func (j *Journal) findReservations(st *replayed, older []*segment) error {
	missing := 0
	for _, r := range st.open {
		if r == nil {
			missing++
		}
	}
	for i := len(older) - 1; i >= 0 && missing > 0; i-- {
		data, err := os.ReadFile(older[i].path)
		if err != nil {
			return err
		}
		amended := amendments{}
		_, _, err = scan(data, func(f frame, _ int64) error {
			if f.kind == kindAmend {
				return amended.take(f)
			}
			if r, ok := st.open[f.number]; !ok || r != nil || !f.kind.reserves() {
				return nil
			}
			r, err := decodeReservation(f)
			st.open[f.number] = &r
			missing--
			return err
		})
		if err != nil {
			return err
		}
		st.amended.older(amended)
	}
	for n, r := range st.open {
		holds, amended := st.amended[n]
		switch {
		case r == nil:
			st.lost = max(st.lost, n)
		case amended:
			r.Holds = holds
		}
	}
	if missing > 0 {
		j.cfg.Logger.Error("journal has lost open reservations", "count", missing)
	}
	return nil
}

// reopen makes the newest segment the current one again.
func (j *Journal) reopen(s *segment) error {
	f, err := j.cfg.open(s.path)
	if err != nil {
		return err
	}
	s.file = f
	j.current = s
	return nil
}

// interrupted is why a request ended whose process died.
const interrupted = "interrupted"

// settleOpen charges what dead processes had begun its hold. These records belong to the
// span before this process's.
func (j *Journal) settleOpen(st *replayed) error {
	numbers := make([]uint64, 0, len(st.open))
	for n, r := range st.open {
		if r != nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		j.open[n] = struct{}{}
	}
	for _, n := range numbers {
		r := st.open[n]
		_, err := j.append(kindSettle, nil, &Record{
			Reserved: n, RequestID: r.RequestID, Time: r.Time, KeyID: r.KeyID, TeamID: r.TeamID, User: r.User, Model: r.Model,
			ErrorKind: interrupted, ErrorCode: interrupted, Cost: r.Hold, Hold: r.Hold, Charges: r.Holds, Flags: HoldCharged,
			Usage: llm.Usage{Source: llm.UsageEstimated}, UserID: r.UserID, Tags: r.Tags,
			OrganizationID: r.OrganizationID, ProjectID: r.ProjectID, CustomerID: r.CustomerID,
		})
		if err != nil {
			return err
		}
	}
	if len(numbers) > 0 {
		j.cfg.Logger.Warn("requests of a dead process were charged their holds", "count", len(numbers))
	}
	return nil
}

// begin writes START. If records may have been lost, it leaves numbers out: somebody may
// have seen those of the lost ones.
func (j *Journal) begin() error {
	j.mu.Lock()
	if j.boot.Torn {
		j.next += restartGap
	}
	n := j.next
	j.next++
	j.started = n
	j.spans = append(j.spans[:0], span{start: n})
	at := len(j.buf)
	j.buf = beginFrame(j.buf, kindStart, n)
	endFrame(j.buf, at)
	return j.writeLocked()
}

// SetEpoch writes that the process has the epoch, and moves on to numbers above seen.
func (j *Journal) SetEpoch(epoch, seen uint64) error {
	j.mu.Lock()
	if err := j.admitLocked(nil); err != nil {
		j.mu.Unlock()
		return err
	}
	if seen >= j.next {
		j.next = seen + restartGap
	}
	n := j.next
	j.next++
	j.spans = append(j.spans, nextSpan(j.spans[len(j.spans)-1], n, epoch))
	at := len(j.buf)
	j.buf = putNumbers(beginFrame(j.buf, kindEpoch, n), []uint64{epoch})
	endFrame(j.buf, at)
	if err := j.writeLocked(); err != nil {
		return fmt.Errorf("journal epoch: %w", err)
	}
	if err := j.SyncTo(n); err != nil {
		return err
	}
	return j.settleBoot(epoch)
}
