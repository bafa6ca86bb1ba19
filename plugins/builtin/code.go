package builtin

import (
	"context"
	"time"
)

// Waits between two calls of dropCode: short while the process starts.
const (
	firstDrop   = 100 * time.Millisecond
	slowestDrop = time.Minute
)

// dropCodeSometimes keeps a process small that runs a little part of a large binary.
func dropCodeSometimes(ctx context.Context) {
	for wait := firstDrop; dropCode() == nil; wait = min(2*wait, slowestDrop) { // else it is larger than it need be, and works
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
