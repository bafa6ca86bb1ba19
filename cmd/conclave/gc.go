package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	gcRoom  = 24 << 20  // bytes that the heap may grow by between collections, however small it is
	gcMost  = 192 << 20 // bytes that it may grow by however large it is, or by half if that is more
	gcEvery = 10 * time.Second
)

// tuneGC makes collections rare while the heap is small: a node with few keys has some 6 MiB
// of live data, which Go's default would collect every 6 MiB of garbage. With a million keys the
// default would keep as much garbage as there are keys. A GOGC in the environment is left alone. It returns when ctx ends.
func tuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(gcEvery)
	defer tick.Stop()
	for {
		metrics.Read(live)
		debug.SetGCPercent(gcPercent(live[0].Value.Uint64()))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// gcPercent is GOGC for so many bytes of live heap.
func gcPercent(live uint64) int {
	live = max(live, 1)
	return int(max(min(100, max(50, gcMost*100/live)), min(400, gcRoom*100/live)))
}
