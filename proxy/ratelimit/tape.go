package ratelimit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/conclave-llm/conclave/internal/clock"
)

// Tape keeps records beyond the end of the process. Its methods may be called concurrently.
type Tape interface {
	// Append adds a record, which is not kept by the tape.
	Append(record []byte) error
	// Turn begins a new side and drops what was written before the side that it ends.
	Turn() error
	// Each calls f for each record of the last two sides, in their order.
	Each(f func(record []byte)) error
}

// A record: crc32 of the rest (4 bytes), kind (1), id, seq, second and n (8 each, little endian).
const recordSize = 4 + 1 + 4*8

// The kinds of records, beside the dimensions: for those, n is what the second holds, or, for
// parallel, what the peer whose hash is in second was lent.
const (
	kindClock   = 0   // id names the machine's start; second and n are the boot and the wall clock
	kindMembers = 255 // n records of members follow, which replace those before
	kindMember  = 254 // id is the member's hash, n its set's place: 0 are those of now; second is the end of another set's handover
)

type record struct {
	kind   byte
	id     uint64
	seq    uint64
	second int64
	n      int64
}

func (r *record) encode(b []byte) {
	b[4] = r.kind
	binary.LittleEndian.PutUint64(b[5:], r.id)
	binary.LittleEndian.PutUint64(b[13:], r.seq)
	binary.LittleEndian.PutUint64(b[21:], uint64(r.second))
	binary.LittleEndian.PutUint64(b[29:], uint64(r.n))
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:recordSize]))
}

func parseRecord(b []byte) (record, bool) {
	if len(b) != recordSize || binary.LittleEndian.Uint32(b) != crc32.ChecksumIEEE(b[4:]) {
		return record{}, false
	}
	return record{
		kind: b[4], id: binary.LittleEndian.Uint64(b[5:]), seq: binary.LittleEndian.Uint64(b[13:]),
		second: int64(binary.LittleEndian.Uint64(b[21:])), n: int64(binary.LittleEndian.Uint64(b[29:])),
	}, true
}

// recorder writes records one after the other.
type recorder struct {
	mu  sync.Mutex // guards the fields below
	seq uint64
	buf [recordSize]byte
}

// write appends a record. Where the disk refuses, requests are admitted all the same: a
// restart within the minute would then forget them.
func (l *Limiter) write(r record) {
	if l.cfg.Tape == nil {
		return
	}
	l.tape.mu.Lock()
	defer l.tape.mu.Unlock()
	l.tape.seq++
	r.seq = l.tape.seq
	r.encode(l.tape.buf[:])
	if err := l.cfg.Tape.Append(l.tape.buf[:]); err != nil {
		l.metrics.unkept.Inc()
	}
}

// keepLocked makes the tape hold at least what the second holds, and some ahead, so that a
// busy second takes few records.
func (l *Limiter) keepLocked(c *counter, second int64) {
	if l.cfg.Tape == nil {
		return
	}
	n := c.window.count[second&(slots-1)]
	m := &c.kept[second&1]
	if m.second == second && n <= m.n {
		return
	}
	*m = mark{second, n + n/2}
	l.write(record{kind: byte(c.dim), id: c.id, second: second, n: m.n})
}

// keepLentLocked does the same for what a peer was lent of a limit on requests in flight.
func (l *Limiter) keepLentLocked(c *counter, i int) {
	p := &c.peers[i]
	if n := p.lent(); l.cfg.Tape != nil && n > p.taped {
		p.taped = n
		l.write(record{kind: byte(parallel), id: c.id, second: int64(l.net.hashOf(i)), n: n})
	}
}

// retellLocked tells the tape of refunds.
func (l *Limiter) retellLocked(c *counter, second int64) {
	c.refunded, c.retold = false, second
	if l.cfg.Tape == nil {
		return
	}
	c.window.advance(second)
	for s := second - span + 1; s <= second+1; s++ {
		n := c.window.count[s&(slots-1)]
		if n == 0 {
			continue
		}
		if m := &c.kept[s&1]; m.second == s {
			m.n = n
		}
		l.write(record{kind: byte(c.dim), id: c.id, second: s, n: n})
	}
}

// keepMembers makes the tape hold who the members are and were.
func (l *Limiter) keepMembers(v *view) {
	if l.cfg.Tape == nil {
		return
	}
	n := len(v.hashes)
	for i := range v.past {
		n += len(v.past[i].hashes)
	}
	l.write(record{kind: kindMembers, n: int64(n)})
	for _, h := range v.hashes {
		l.write(record{kind: kindMember, id: h})
	}
	for i := range v.past {
		for _, h := range v.past[i].hashes {
			l.write(record{kind: kindMember, id: h, n: int64(i + 1), second: int64(v.past[i].until/time.Second) + 1})
		}
	}
}

// history is who the members were when the tape ended.
type history struct {
	due int64 // records that are still to come; else it is not whole
	now []uint64
	old []past
}

// add takes in one record.
func (h *history) add(r *record, shift int64) {
	h.due--
	if r.n == 0 {
		h.now = append(h.now, r.id)
		return
	}
	for int64(len(h.old)) < r.n {
		h.old = append(h.old, past{until: time.Duration(r.second+shift) * time.Second})
	}
	o := &h.old[r.n-1]
	o.hashes = append(o.hashes, r.id)
}

func (l *Limiter) keepClock(now time.Duration) {
	l.write(record{kind: kindClock, id: hostRun(), second: int64(now / time.Second), n: clock.Now().Unix()})
}

// turn turns the tape when its old side is of no use any more.
func (l *Limiter) turn(v *view, now time.Duration) {
	if l.cfg.Tape == nil || now-l.net.turned < turnEvery {
		return
	}
	l.net.turned = now
	if err := l.cfg.Tape.Turn(); err != nil {
		l.metrics.unkept.Inc()
		return
	}
	l.keepClock(now)
	l.keepMembers(v)
	l.each(func(c *counter) bool {
		for i := range c.peers {
			c.peers[i].taped = 0
			if c.dim == parallel {
				l.keepLentLocked(c, i)
			}
		}
		return true
	})
}

// remember takes in what the tape holds.
func (l *Limiter) remember(now time.Duration) {
	if l.cfg.Tape == nil {
		return
	}
	byHash := make(map[int64]int)
	for _, id := range l.members() {
		i, p := l.net.peerLocked(id)
		byHash[int64(p.hash)] = i
	}
	second, shift := int64(now/time.Second), int64(0)
	var told history
	err := l.cfg.Tape.Each(func(b []byte) {
		r, ok := parseRecord(b)
		if !ok {
			return
		}
		l.tape.seq = r.seq
		switch d := dimension(r.kind); {
		case r.kind == kindMembers:
			told = history{due: r.n}
		case r.kind == kindMember:
			if told.add(&r, shift); told.due == 0 {
				l.before = told
			}
		case r.kind == kindClock:
			if shift = 0; r.id != hostRun() || r.id == 0 { // another machine, or started anew
				shift = (r.n - r.second) - (clock.Now().Unix() - second)
			}
		case d == parallel:
			if i, ok := byHash[r.second]; ok {
				c := l.lock(r.id, d)
				p := c.peerLocked(i)
				p.held, p.taped, p.word, c.touched = r.n, r.n, now, second
				c.mu.Unlock()
			}
		case d < dimensions && r.second+shift > second-span:
			c := l.lock(r.id, d)
			c.window.advance(second)
			c.window.restore(r.second+shift, r.n)
			c.touched = second
			c.mu.Unlock()
		}
	})
	if err != nil {
		l.metrics.unkept.Inc()
	}
	l.net.turned = now
	l.keepClock(now)
}

// hostRun names the machine's start; 0: that is not known.
func hostRun() uint64 {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	return xxhash.Sum64(b)
}

// FileTape is a Tape in a folder. What was written survives the process, not the machine.
type FileTape struct {
	dir string

	mu   sync.Mutex // guards the fields below
	side uint64
	f    *os.File
}

const sidePrefix = "side-"

// OpenTape opens the tape in the folder, which is made if it is not there.
func OpenTape(dir string) (*FileTape, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of the tape: %w", err)
	}
	t := &FileTape{dir: dir}
	sides, err := t.sides()
	if err != nil {
		return nil, err
	}
	if len(sides) > 0 {
		t.side = sides[len(sides)-1]
	}
	return t, t.open()
}

// sides lists the sides that there are.
func (t *FileTape) sides() (out []uint64, err error) {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return nil, fmt.Errorf("list tape: %w", err)
	}
	for _, e := range entries {
		if s, ok := strings.CutPrefix(e.Name(), sidePrefix); ok {
			if n, err := strconv.ParseUint(s, 10, 64); err == nil {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

func (t *FileTape) path(side uint64) string {
	return filepath.Join(t.dir, sidePrefix+strconv.FormatUint(side, 10))
}

// open opens the side for more, after its last whole record.
func (t *FileTape) open() error {
	f, err := os.OpenFile(t.path(t.side), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open tape: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size()%recordSize != 0 {
		err = f.Truncate(info.Size() - info.Size()%recordSize)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open tape: %w", err), f.Close())
	}
	t.f = f
	return nil
}

// Append implements Tape.
func (t *FileTape) Append(record []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.f.Write(record)
	return err
}

// Turn implements Tape.
func (t *FileTape) Turn() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.f
	t.side++
	if err := t.open(); err != nil {
		t.side--
		t.f = old
		return err
	}
	err := old.Close()
	if sides, e := t.sides(); e == nil {
		for _, s := range sides {
			if s+1 < t.side {
				err = errors.Join(err, os.Remove(t.path(s)))
			}
		}
	}
	return err
}

// Each implements Tape.
func (t *FileTape) Each(f func(record []byte)) error {
	sides, err := t.sides()
	if err != nil {
		return err
	}
	for _, s := range sides {
		b, err := os.ReadFile(t.path(s))
		if err != nil {
			return fmt.Errorf("read tape: %w", err)
		}
		for r := range slices.Chunk(b, recordSize) {
			f(r)
		}
	}
	return nil
}

// Close ends the writing.
func (t *FileTape) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.f.Close()
}
