//go:build e2e

package plugins

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/test/cluster"
)

// held is what a process holds.
type held struct {
	files, routines int
	heap, resident  int64 // bytes
}

// holds says what this process holds, without what is garbage.
func holds(t *testing.T) held {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc")
	}
	runtime.GC()
	runtime.GC() // what the first one finalised
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Fscan(bytes.NewReader(b), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return held{len(files), runtime.NumGoroutine(), int64(m.HeapAlloc), pages * int64(os.Getpagesize())}
}

// TestCrashes kills processes of guardrails, each of which has judged before, 300 times in all, and 10,000 times in
// make e2e-full: what the host holds in descriptors, goroutines and memory ends where it was.
func TestCrashes(t *testing.T) {
	crashes := 300
	if os.Getenv("CONCLAVE_FULL") != "" {
		crashes = 10_000
	}
	const together = 4 // guardrails, whose processes die at the same time
	h := plugins.NewHost(plugins.Config{
		Dir: t.TempDir(), Exe: cluster.Binary(t), Crashes: 1 << 30, RestartMin: time.Millisecond, RestartMax: time.Millisecond,
	})
	t.Cleanup(h.Close)
	var specs []plugins.Spec
	for i := range together {
		specs = append(specs, plugins.Spec{
			Kind: plugins.KindGuardrail, ID: fmt.Sprintf("gr_%d", i), Name: fmt.Sprintf("words%d", i), Plugin: "keywords", Config: []byte(`{"words":["forbidden"]}`),
			OnError: resource.OnErrorPass, Deadline: time.Minute,
		})
	}
	if err := h.Sync(specs); err != nil {
		t.Fatal(err)
	}
	pids := make([]int, together)
	crash := func() {
		for _, pid := range pids {
			if pid == 0 {
				continue
			}
			if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "other processes run", func() bool {
			for i, s := range h.Status() {
				if s.State != plugins.StateRunning || s.PID == 0 || s.PID == pids[i] {
					return false
				}
			}
			return true
		})
		for i, s := range h.Status() {
			pids[i] = s.PID
		}
		d, err := h.Guardrails().For("demo", guardrail.Choice{}).Before(t.Context(), &guardrail.Request{
			Info: guardrail.Info{Endpoint: "chat", Model: "demo"}, Body: []byte(`{"model":"demo","messages":[{"role":"user","content":"hello"}]}`),
		})
		if err != nil || len(d.Results) != together {
			t.Fatalf("processes %d judge %+v, %v", pids, d, err)
		}
		for _, r := range d.Results {
			if r.Status != guardrail.StatusPassed {
				t.Fatalf("processes %d: %s says %s, %v", pids, r.Guardrail, r.Status, r.Err)
			}
		}
	}
	for range 10 { // what is made once, and kept, is there then
		crash()
	}
	was := holds(t)
	for range crashes / together {
		crash()
	}
	var now held
	await(t, "descriptors, goroutines and memory are where they were", func() bool {
		now = holds(t)
		return now.files <= was.files+2 && now.routines <= was.routines+3 && now.heap <= was.heap+4<<20 && now.resident <= was.resident+32<<20
	})
	t.Logf("after %d crashes: %d descriptors (%d before), %d goroutines (%d), heap %d KiB (%d), resident %d KiB (%d)", crashes,
		now.files, was.files, now.routines, was.routines, now.heap>>10, was.heap>>10, now.resident>>10, was.resident>>10)
}
