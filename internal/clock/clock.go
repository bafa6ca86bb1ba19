// Package clock reads the clock that goes on while the machine sleeps. Go's monotonic clock
// stops in suspend, so leases, freshness and stalls are measured with Boot.
package clock

import "time"

// start is the origin of the fallback, and of nothing else.
var start = time.Now()

// Func is a source of boot time, for the configurations that inject one.
type Func func() time.Duration

// Boot returns the time since the machine was started, suspend included. Where the system
// has no such clock it is the time since the process was started. It never goes backwards.
func Boot() time.Duration {
	if d, ok := boot(); ok {
		return d
	}
	return time.Since(start)
}
