//go:build conclave_fault

package fault

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Built says whether this program has fail points.
const Built = true

// chosen is the point at which the process ends, "" for none, and after how many times.
var chosen, left = choose(os.Getenv(Variable))

// choose reads the variable's value.
func choose(text string) (name string, left *atomic.Int64) {
	left = new(atomic.Int64)
	name, count, counted := strings.Cut(text, ":")
	left.Store(1)
	if n, err := strconv.ParseInt(count, 10, 64); counted && err == nil {
		left.Store(n)
	}
	if name != "" && name != EntryUnknown && name != EntryCorrupt && !slices.Contains(Points, name) {
		panic("fault: there is no point " + name)
	}
	return name, left
}

// Point ends the process as kill -9 does, if it is the chosen point and has been reached often
// enough.
func Point(name string) {
	if name != chosen || left.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
