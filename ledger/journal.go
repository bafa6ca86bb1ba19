package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

// Mode says what an acknowledged record survives.
type Mode string

// The modes of a Journal. The zero value is ModeWrite.
const (
	ModeWrite Mode = "write" // kill -9; a power cut takes the last 10 ms
	ModeFsync Mode = "fsync" // a power cut
	ModeAsync Mode = "async" // kill -9; a power cut takes the last 100 ms or, on a slow disk, more
)

const (
	writeSyncEvery = 10 * time.Millisecond
	asyncSyncEvery = 100 * time.Millisecond
	maxUnsynced    = time.Second // after which ModeWrite waits as ModeFsync does
	restartGap     = 1 << 20     // numbers left out when records may have been lost, so that none is used twice
)

var (
	// ErrFailed says that the journal's disk failed: the node must drain and restart.
	ErrFailed = errors.New("journal has failed")
	// ErrClosed says that the journal is closed.
	ErrClosed = errors.New("journal is closed")
	// ErrSettled says that a reservation is not open: it was settled before.
	ErrSettled = errors.New("reservation is not open")
)

// Config says where and how a Journal is kept.
type Config struct {
	Dir    string // made if it is not there; needed
	NodeID string // filled into records that are read
	Mode   Mode   // "": ModeWrite

	SegmentBytes int64         // of one file; 0: 16 MiB
	MaxAge       time.Duration // sealed segments are kept so long; 0: 7 days
	MaxBytes     int64         // or so many bytes of them, whichever ends first; 0: 1 GiB
	HoldAge      time.Duration // sealed segments are kept so long for a reader that is behind; 0: 4 × MaxAge
	HoldBytes    int64         // or so many bytes of them, whichever ends first; 0: 4 × MaxBytes

	Now        func() time.Time // nil: clock.Now
	BootID     string           // of the machine's run; "": read from the kernel
	Logger     *slog.Logger     // nil: slog.Default()
	Registerer prometheus.Registerer

	open func(path string) (file, error) // nil: openAppend
}

func (c *Config) fill() error {
	if c.Dir == "" {
		return errors.New("open journal: no directory")
	}
	if c.Mode == "" {
		c.Mode = ModeWrite
	}
	if c.Mode != ModeWrite && c.Mode != ModeFsync && c.Mode != ModeAsync {
		return fmt.Errorf("open journal: mode %q is not one of write, fsync, async", c.Mode)
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 16 << 20
	}
	if c.MaxAge == 0 {
		c.MaxAge = 7 * 24 * time.Hour
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.HoldAge == 0 {
		c.HoldAge = 4 * c.MaxAge
	}
	if c.HoldBytes == 0 {
		c.HoldBytes = 4 * c.MaxBytes
	}
	if c.Now == nil {
		c.Now = clock.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.BootID == "" {
		b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // elsewhere: "", which equals nothing
		c.BootID = string(b)
	}
	if c.open == nil {
		c.open = openAppend
	}
	return nil
}

// Journal is the node's record of its requests. Its methods may be called concurrently.
type Journal struct {
	cfg     Config
	metrics metrics

	mu      sync.Mutex          // guards the fields up to the next blank line
	next    uint64              // number of the next record
	buf     []byte              // frames that nobody has begun to write
	spare   []byte              // the other of the two buffers
	settled []uint64            // reservations that frames in buf settle
	resting []uint64            // the other of the two lists of settled
	writing bool                // somebody is the leader: writes, or has been told to
	queued  *batch              // who wait for a next leader, if anybody
	open    map[uint64]struct{} // reservations without a settlement
	folds   Folds               // settlements of this process that nobody has taken
	spans   []span              // of this process, the newest last
	before  span                // that the record before buf belongs to
	closed  bool
	news    chan struct{} // closed at the next write; nil: nobody waits

	current *segment // owned by the leader

	segMu    sync.Mutex // guards the fields up to the next blank line
	segments []*segment // ascending; the last one is current
	floors   map[string]uint64
	soft     map[string]uint64 // floors of readers that can do without
	removed  []removal

	syncMu sync.Mutex // held while syncing; guards the files of segments that are sealed

	written    atomic.Uint64 // number of the newest record that is written
	synced     atomic.Uint64 // number of the newest record that is on disk
	dirtySince atomic.Int64  // Unix nanoseconds of the oldest unsynced write; 0: none
	failure    atomic.Pointer[error]
	failed     chan struct{}
	started    uint64 // number of this process's START; set before anybody else writes
	holes      int

	bootMu sync.Mutex
	boot   boot // guarded by bootMu

	kick chan struct{}
	stop chan struct{}
	done chan struct{}
}

// batch is the followers of one write. The first of them becomes the next leader.
type batch struct {
	lead chan struct{}
	done chan struct{}
	err  error // set before done is closed
}

// OpenJournal opens or makes the journal in cfg.Dir: cuts a torn tail, settles what a dead
// process left open, and begins a new span of records. Damage between good records is
// logged and counted (see Holes); it is no error.
func OpenJournal(cfg Config) (*Journal, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{
		cfg:    cfg,
		open:   make(map[uint64]struct{}),
		floors: make(map[string]uint64),
		soft:   make(map[string]uint64),
		failed: make(chan struct{}),
		kick:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	j.metrics = newMetrics(cfg.Registerer, j)
	if err := j.recover(); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	go j.syncLoop()
	return j, nil
}

// Reserve writes a reservation and returns its number once it survives kill -9 (in
// ModeFsync, if it holds money, a power cut). It returns ErrFailed or ErrClosed.
func (j *Journal) Reserve(r *Reservation) (uint64, error) {
	if r.Time == 0 {
		r.Time = resource.At(j.cfg.Now())
	}
	n, err := j.append(kindReserve, r, nil)
	if err != nil {
		return 0, fmt.Errorf("journal reservation: %w", err)
	}
	if j.cfg.Mode == ModeFsync && len(r.Holds) > 0 {
		err = j.SyncTo(n)
	}
	return n, err
}

// Settle writes the record of the request whose reservation has the number, or of one
// without a reservation (0), and returns once it survives what the Mode promises. It
// returns ErrSettled, having written nothing, if the reservation is not open.
func (j *Journal) Settle(reserved uint64, r *Record) error {
	if r.Time == 0 {
		r.Time = resource.At(j.cfg.Now())
	}
	r.Reserved = reserved
	n, err := j.append(kindSettle, nil, r)
	if err != nil {
		return fmt.Errorf("journal record: %w", err)
	}
	r.Number = n
	switch j.cfg.Mode {
	case ModeFsync:
		return j.SyncTo(n)
	case ModeWrite:
		if since := j.dirtySince.Load(); since != 0 && j.cfg.Now().UnixNano()-since > int64(maxUnsynced) {
			return j.SyncTo(n)
		}
	}
	return nil
}

// append queues one record and returns once it is written. Whoever finds nobody writing
// writes for all that are queued; those who come meanwhile wait, and the first of them is
// the next writer. Alone, a caller switches no goroutine.
func (j *Journal) append(k kind, r *Reservation, rec *Record) (uint64, error) {
	j.mu.Lock()
	if err := j.admitLocked(rec); err != nil {
		j.mu.Unlock()
		return 0, err
	}
	n := j.next
	j.next++
	at := len(j.buf)
	j.buf = beginFrame(j.buf, k, n)
	switch {
	case r != nil:
		j.buf = appendReservation(j.buf, r)
		j.open[n] = struct{}{}
	case rec != nil:
		j.buf, rec = appendRecord(j.buf, rec)
		j.settleLocked(n, rec)
	}
	endFrame(j.buf, at)
	err := j.writeLocked()
	if err == nil && rec != nil {
		j.metrics.settled(rec)
	}
	return n, err
}

// admitLocked says whether the record may be written.
func (j *Journal) admitLocked(rec *Record) error {
	if err := j.Err(); err != nil {
		return err
	}
	if j.closed {
		return ErrClosed
	}
	if rec != nil && rec.Reserved != 0 {
		if _, ok := j.open[rec.Reserved]; !ok {
			return ErrSettled
		}
	}
	return nil
}

func (j *Journal) settleLocked(n uint64, rec *Record) {
	if rec.Reserved != 0 {
		delete(j.open, rec.Reserved)
		j.settled = append(j.settled, rec.Reserved)
	}
	if j.started != 0 { // what recovery writes belongs to the spans before
		j.folds.add(n, rec)
	}
}

// writeLocked sees to it that the buffer is written. It unlocks j.mu.
func (j *Journal) writeLocked() error {
	if !j.writing {
		j.writing = true
		return j.leadLocked(nil)
	}
	if b := j.queued; b != nil {
		j.mu.Unlock()
		<-b.done
		return b.err
	}
	b := &batch{lead: make(chan struct{}), done: make(chan struct{})}
	j.queued = b
	j.mu.Unlock()
	<-b.lead
	j.mu.Lock()
	j.queued = nil
	return j.leadLocked(b)
}

// leadLocked writes the buffer, wakes those of b and hands the lead on. It unlocks j.mu.
func (j *Journal) leadLocked(b *batch) error {
	buf, last, settled := j.buf, j.next-1, j.settled
	j.buf, j.settled = j.spare[:0], j.resting[:0]
	var head []byte
	if j.current == nil || (j.current.size.Load() > headerLen && j.current.size.Load()+int64(len(buf)) > j.cfg.SegmentBytes) {
		head = j.checkLocked(settled)
	}
	sp := j.before
	if len(j.spans) > 0 {
		j.before = j.spans[len(j.spans)-1]
	}
	j.mu.Unlock()

	err := j.write(buf, head, last, sp)

	j.mu.Lock()
	j.spare, j.resting = buf[:0], settled[:0]
	if cap(buf) > maxBody {
		j.spare = nil
	}
	if j.queued != nil {
		close(j.queued.lead)
	} else {
		j.writing = false
	}
	if err == nil && j.news != nil {
		close(j.news)
		j.news = nil
	}
	j.mu.Unlock()
	if b != nil {
		b.err = err
		close(b.done)
	}
	return err
}

// checkLocked makes the CHECK record of a new segment: what is open before the buffer with
// the settlements is written, or is opened in it.
func (j *Journal) checkLocked(settled []uint64) []byte {
	open := make([]uint64, 0, len(j.open)+len(settled))
	for n := range j.open {
		open = append(open, n)
	}
	b := beginFrame(nil, kindCheck, j.written.Load())
	b = putNumbers(b, append(open, settled...))
	endFrame(b, 0)
	return b
}

// write puts buf, records up to last, behind the current segment, or behind head in a new
// one. Only the leader calls it.
func (j *Journal) write(buf, head []byte, last uint64, sp span) error {
	if err := j.Err(); err != nil {
		return err
	}
	if len(buf) == 0 {
		return nil
	}
	first := frameNumber(buf)
	if head != nil {
		if err := j.rotate(first, head, sp); err != nil {
			return j.fail(err)
		}
	}
	s := j.current
	at := s.size.Load()
	if _, err := s.file.Write(buf); err != nil {
		return j.fail(err)
	}
	s.mark(first, at)
	s.size.Store(at + int64(len(buf)))
	j.written.Store(last)
	if j.dirtySince.CompareAndSwap(0, j.cfg.Now().UnixNano()) {
		select {
		case j.kick <- struct{}{}:
		default:
		}
	}
	return nil
}

// rotate makes a new segment the current one. The old one's file is synced and closed by
// the next sync.
func (j *Journal) rotate(first uint64, check []byte, sp span) error {
	s := &segment{path: segmentPath(j.cfg.Dir, first), first: first, span: sp, created: j.cfg.Now().UnixNano()}
	f, err := j.cfg.open(s.path)
	if err != nil {
		return err
	}
	b := append(s.header(), check...)
	if _, err := f.Write(b); err != nil {
		return err
	}
	s.file = f
	s.size.Store(int64(len(b)))
	j.segMu.Lock()
	j.segments = append(j.segments, s)
	j.segMu.Unlock()
	j.current = s
	return nil
}

// fail makes the failure final: a disk that has lost one write may claim that the next
// one, or its sync, went well.
func (j *Journal) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	if j.failure.CompareAndSwap(nil, &err) {
		j.forgetBoot()
		j.metrics.failed.Set(1)
		j.cfg.Logger.Error("journal failed; this node drains", "dir", j.cfg.Dir, "error", err)
		close(j.failed)
	}
	return *j.failure.Load()
}

// Err returns what made the journal fail, or nil.
func (j *Journal) Err() error {
	if p := j.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Failed is closed when the journal fails. The node then drains: what it still serves is
// charged its hold when the journal is next opened.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Last is the number of the newest record that is written.
func (j *Journal) Last() uint64 { return j.written.Load() }

// Synced is the number of the newest record that a power cut does not take.
func (j *Journal) Synced() uint64 { return j.synced.Load() }

// Open is the number of reservations without a settlement.
func (j *Journal) Open() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.open)
}

// Holes is how many damaged places were found between good records.
func (j *Journal) Holes() int { return j.holes }

// Wait waits until a record after the number is written.
func (j *Journal) Wait(ctx context.Context, after uint64) error {
	for {
		j.mu.Lock()
		if j.written.Load() > after {
			j.mu.Unlock()
			return nil
		}
		if j.closed {
			j.mu.Unlock()
			return ErrClosed
		}
		if j.news == nil {
			j.news = make(chan struct{})
		}
		news := j.news
		j.mu.Unlock()
		select {
		case <-news:
		case <-j.failed:
			return j.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close syncs what is written and closes the files. Open reservations stay open, and are
// settled at their hold when the journal is next opened.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	if j.news != nil {
		close(j.news)
		j.news = nil
	}
	_ = j.writeLocked() // waits for who is writing; what it wrote, it answers for
	close(j.stop)
	<-j.done
	err := j.syncAll()
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	for _, s := range j.segmentList() {
		if s.file != nil {
			err = errors.Join(err, s.file.Close())
			s.file = nil
		}
	}
	if err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return j.closeBoot()
}

func (j *Journal) segmentList() []*segment {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	return append([]*segment(nil), j.segments...)
}
