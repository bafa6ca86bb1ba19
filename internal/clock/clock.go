// Package clock reads the clocks of the machine: the wall clock, and the one that goes on while the
// machine sleeps. Go's monotonic clock stops in suspend, so leases, freshness and stalls are measured
// with Boot. In a program built with the tag conclave_fault tests move both while it runs (see
// Variable); others have nothing of it.
package clock

import "time"

// Variable is the environment variable that names the file by which tests move the clocks of a program
// built with the tag. The file holds how far the wall clock is off and how much too fast both clocks
// run, as in "1h" or "0s -0.05"; while it is not there, the clocks are right.
const Variable = "CONCLAVE_CLOCK"

// start is the origin of what a process measures by itself.
var start = time.Now()

// Func is a source of boot time, for the configurations that inject one.
type Func func() time.Duration

// Now returns the wall clock's time. It is time.Now but for what tests do to it, so only what is
// compared with another machine's clock, with a date, or with what was read before a restart is read
// here; what lasts from here to there in one process is measured with time.Now.
func Now() time.Time { return moved(time.Now()) }

// Steady returns the time of the wall clock when the process was started, and what has gone by since: nobody
// sets it. It is for times that are kept as numbers and compared in the same process.
func Steady() time.Time { return start.Add(time.Since(start)) }

// Boot returns the time since the machine was started, suspend included. Where the system
// has no such clock it is the time since the process was started. It never goes backwards.
func Boot() time.Duration { return bent(machine()) }

// machine is the machine's own boot time.
func machine() time.Duration {
	if d, ok := boot(); ok {
		return d
	}
	return time.Since(start)
}
