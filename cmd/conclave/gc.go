package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	gcRoom = 24 << 20  // bytes that the heap may grow by between collections, however small it is
	gcMost = 192 << 20 // bytes that it may grow by however large it is, or by half if that is more
)

// tuneGC makes collections rare while the heap is small: a node with few keys has some 6 MiB
// of live data, which Go's default would collect every 6 MiB of garbage. With a million keys the
// default would keep as much garbage as there are keys. It decides anew after each collection,
// so that a heap that grows for a moment, as it does while the request log is sealed, does not
// grow by the small one's factor. A GOGC in the environment is left alone. It returns when ctx ends.
func tuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	collected := make(chan struct{}, 1)
	for set := 0; ; {
		metrics.Read(live)
		if percent := gcPercent(live[0].Value.Uint64()); percent != set {
			debug.SetGCPercent(percent)
			set = percent
		}
		notifyCollected(collected)
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
	}
}

// notifyCollected sends once, when the next collection has found an object that nobody has.
func notifyCollected(to chan<- struct{}) {
	lost := new([64]byte) // too large to share its memory with another object
	runtime.AddCleanup(lost, func(to chan<- struct{}) { to <- struct{}{} }, to)
}

// gcPercent is GOGC for so many bytes of live heap, in steps, since each change stops the program.
func gcPercent(live uint64) int {
	const step = 5
	live = max(live, 1)
	percent := int(max(min(100, max(50, gcMost*100/live)), min(400, gcRoom*100/live)))
	return percent / step * step
}
