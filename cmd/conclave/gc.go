package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	gcRoom  = 24 << 20 // bytes that the heap may grow by between collections, however small it is
	gcEvery = 10 * time.Second
)

// tuneGC makes collections rare while the heap is small: a node with few keys has some 6 MiB
// of live data, which Go's default would collect every 6 MiB of garbage. A large heap keeps
// the default. A GOGC in the environment is left alone. It returns when ctx ends.
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
	return int(max(100, min(400, gcRoom*100/max(live, 1))))
}
