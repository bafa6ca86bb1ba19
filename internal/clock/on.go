//go:build conclave_fault

package clock

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// reread is for how long what the file says is taken to be so.
const reread = 20 * time.Millisecond

// clocks are those of this process.
var clocks = faulty{file: os.Getenv(Variable)}

// faulty are clocks that a file moves.
type faulty struct {
	file string // "": the clocks are right

	mu     sync.Mutex // guards what follows
	read   time.Duration
	text   string
	since  time.Duration // machine time at which text was first read
	off    time.Duration
	drift  float64
	gained time.Duration // by drifts that have ended: the boot clock is never set
}

// look reads the file again, if it is time, and says how far the wall clock and the boot clock are off.
func (f *faulty) look(now time.Duration) (wall, boot time.Duration) {
	if f.file == "" {
		return 0, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read == 0 || now-f.read >= reread {
		f.read = now
		b, _ := os.ReadFile(f.file) // without one the clocks are right
		if text := strings.TrimSpace(string(b)); text != f.text {
			f.gained += f.drifted(now)
			f.text, f.since = text, now
			f.off, f.drift = parse(text)
		}
	}
	d := f.drifted(now)
	return f.off + d, f.gained + d
}

// drifted is what both clocks have gained since the file was changed.
func (f *faulty) drifted(now time.Duration) time.Duration {
	return time.Duration(f.drift * float64(now-f.since))
}

// parse reads what the file says.
func parse(text string) (off time.Duration, drift float64) {
	jump, rate, _ := strings.Cut(text, " ")
	if jump != "" {
		var err error
		if off, err = time.ParseDuration(jump); err != nil {
			panic("clock: " + Variable + ": " + err.Error())
		}
	}
	if rate != "" {
		var err error
		if drift, err = strconv.ParseFloat(rate, 64); err != nil {
			panic("clock: " + Variable + ": " + err.Error())
		}
	}
	return off, drift
}

// moved is the time as the wall clock of this process has it. Its monotonic part stays what it is, as
// when a machine's clock is set: what is measured by it goes on.
func moved(t time.Time) time.Time {
	wall, _ := clocks.look(machine())
	return shift(t, wall)
}

// The parts of the first word of a time.Time with a monotonic reading: a flag, 33 bits of seconds since
// 1885, and nanoseconds.
const (
	hasMonotonic = 1 << 63
	nanoBits     = 30
)

// shift adds to the wall part of a time alone, which package time has no way to do.
func shift(t time.Time, by time.Duration) time.Time {
	word := (*uint64)(unsafe.Pointer(&t)) //nolint:gosec // the first word of a local struct; TestShift finds out if it is another one
	if *word&hasMonotonic == 0 {
		return t.Add(by)
	}
	nanos := int64(*word>>nanoBits&(1<<33-1))*int64(time.Second) + int64(*word&(1<<nanoBits-1)) + int64(by)
	*word = hasMonotonic | uint64(nanos/int64(time.Second))<<nanoBits | uint64(nanos%int64(time.Second))
	return t
}

// bent is the boot clock's time as this process has it.
func bent(d time.Duration) time.Duration {
	_, boot := clocks.look(d)
	return d + boot
}
