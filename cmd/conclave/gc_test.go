package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// TestTuneGC makes the heap large and small again: the percentage follows with the collections.
func TestTuneGC(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tuneGC(ctx)
	}()
	await := func(what string, ok func(percent uint64) bool) {
		t.Helper()
		gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		for begin := time.Now(); ; runtime.GC() {
			if metrics.Read(gogc); ok(gogc[0].Value.Uint64()) {
				return
			}
			if time.Since(begin) > 10*time.Second {
				t.Fatalf("%s: GOGC is %d", what, gogc[0].Value.Uint64())
			}
		}
	}
	await("small", func(p uint64) bool { return p > 200 })
	large := make([]byte, 64<<20)
	await("large", func(p uint64) bool { return p == 100 })
	runtime.KeepAlive(large)
	await("small again", func(p uint64) bool { return p > 200 })
	cancel()
	<-ended
}

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		live uint64
		want int
	}{
		{"empty", 0, 400},
		{"few keys", 6 << 20, 400},
		{"some keys", 12 << 20, 200},
		{"a hundred thousand keys", 100 << 20, 100},
		{"three hundred thousand keys", 256 << 20, 75},
		{"a million keys", 400 << 20, 50},
	} {
		if got := gcPercent(tt.live); got != tt.want {
			t.Errorf("%s: gcPercent(%d) = %d, want %d", tt.name, tt.live, got, tt.want)
		}
	}
}
