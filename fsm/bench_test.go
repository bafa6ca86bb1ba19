package fsm_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// fill puts n keys into h, a thousand entries a batch.
func (h *harness) fill(n int) {
	h.t.Helper()
	for at := 0; at < n; at += 1000 {
		var logs []*raft.Log
		for i := at; i < min(n, at+1000); i++ {
			id := fmt.Sprintf("key_%016d", i)
			logs = append(logs, h.entry(master, h.putKey(resource.Key{
				Meta: resource.Meta{ID: id, CreatedAt: day0 + resource.Time(i), CreatedBy: "master"},
				Name: "name-" + id, Hint: "sk-...abcd", Policy: resource.Policy{Allowance: resource.Allowance{Limits: resource.Limits{RPM: new(int64(60))}}, Models: []string{"demo"}},
			}, 0)))
		}
		for _, a := range h.f.ApplyBatch(logs) {
			if a, ok := a.(fsm.Applied); !ok || a.Err != nil {
				h.t.Fatalf("fill: %+v", a)
			}
		}
	}
}

func TestKeyByHash_Allocations(t *testing.T) {
	h := start(t)
	h.fill(100)
	hash := resource.HashSecret("sk-key_0000000000000042")
	n := testing.AllocsPerRun(100, func() {
		if _, ok := h.f.KeyByHash(hash); !ok {
			t.Error("not found")
		}
	})
	if n != 0 {
		t.Errorf("a warm lookup allocates %v times, want 0", n)
	}
}

func BenchmarkFSM_KeyByHash(b *testing.B) {
	h := start(b)
	h.fill(10_000)
	hash := resource.HashSecret("sk-key_0000000000000042")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.f.KeyByHash(hash)
		}
	})
}

func BenchmarkFSM_Catalog(b *testing.B) {
	h := start(b)
	b.ReportAllocs()
	for b.Loop() {
		h.f.Catalog()
	}
}

func BenchmarkFSM_ApplyTicks(b *testing.B) {
	h := start(b)
	h.boot("n1")
	h.fill(1000)
	b.ReportAllocs()
	for b.Loop() {
		t := fsm.Tick{Node: "n1"}
		for i := range 50 {
			t.Spend = append(t.Spend, fsm.SpendDelta{KeyID: fmt.Sprintf("key_%016d", i), Model: "demo", Day: 20_000, Cost: 5, Requests: 1})
		}
		h.tick(t)
		h.log = h.log[:0]
	}
}

// lookups looks keys from all over the table up, each for the first time, and gives the time
// that 1 % exceed.
func (h *harness) lookups(n int) time.Duration {
	h.t.Helper()
	hashes := make([]resource.Hash, 0, 50_000)
	for i := range cap(hashes) {
		hashes = append(hashes, resource.HashSecret(fmt.Sprintf("sk-key_%016d", i*max(1, n/cap(hashes))%n)))
	}
	times := make([]time.Duration, 0, len(hashes))
	for _, hash := range hashes {
		began := time.Now()
		if _, ok := h.f.KeyByHash(hash); !ok {
			h.t.Fatal("a key is not found")
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

// TestScale measures a million keys. It runs if CONCLAVE_SCALE names how many.
func TestScale(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("CONCLAVE_SCALE"))
	if err != nil {
		t.Skip("set CONCLAVE_SCALE=1000000 to measure")
	}
	h := start(t)
	h.fill(n)
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	took := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			h.open()
			b.StopTimer()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			t.Logf("heap with %d keys: %d MiB", n, m.HeapAlloc>>20)
			b.StartTimer()
			_ = h.f.Close()
		}
	})
	t.Logf("open and close: %v", took)
	h.open()
	t.Logf("lookup of a key that nobody has asked for: p99 %v", h.lookups(n))
	took = testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			h.snapshot()
		}
	})
	t.Logf("snapshot: %v", took)
	took = testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			h.f.Keys(fsm.ListQuery{Q: "42", Sort: "-created_at"})
		}
	})
	t.Logf("list: %v", took)
}

// BenchmarkFSM_PutKey creates a key, or replaces one, in batches as raft makes them under
// load.
func BenchmarkFSM_PutKey(b *testing.B) {
	for _, bb := range []struct {
		name    string
		replace bool
	}{{"create", false}, {"replace", true}} {
		b.Run(bb.name, func(b *testing.B) {
			h := start(b)
			h.fill(1000)
			k := resource.Key{Name: "name", Hint: "sk-...abcd", Policy: resource.Policy{Allowance: resource.Allowance{Limits: resource.Limits{RPM: new(int64(60))}}, Models: []string{"demo"}}}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				b.StopTimer()
				var logs []*raft.Log
				for i := range 64 {
					n++
					k.Meta, k.UpdatedAt = meta(fmt.Sprintf("key_%016d", 10_000+n)), resource.Time(n)
					var read uint64
					if bb.replace {
						k.ID = fmt.Sprintf("key_%016d", i)
						now, _ := h.f.Key(k.ID)
						read = now.Version
					}
					k.Name, k.Hint = fmt.Sprintf("n-%d", n), fmt.Sprintf("sk-...%d", n)
					k.Hash = resource.HashSecret(k.ID)
					logs = append(logs, h.entry(master, h.putKey(k, read)))
				}
				b.StartTimer()
				for _, a := range h.f.ApplyBatch(logs) {
					if a, ok := a.(fsm.Applied); !ok || a.Err != nil {
						b.Fatalf("%+v", a)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/put")
		})
	}
}

// BenchmarkFSM_ApplyBulk applies entries of a thousand keys each, as calls in bulk make them.
func BenchmarkFSM_ApplyBulk(b *testing.B) {
	const keys = 1000
	h := start(b)
	h.boot("n1")
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch := fsm.Batch{}
		for range keys {
			n++
			id := fmt.Sprintf("key_%016d", n)
			k := resource.Key{
				Meta: meta(id), Name: "name-" + id, Hint: "sk-...abcd", Hash: resource.HashSecret(id),
				Policy: resource.Policy{Allowance: resource.Allowance{
					Budgets: []resource.Terms{{Name: "day", USD: 10 * resource.Dollar, Per: "day"}}, Limits: resource.Limits{RPM: new(int64(100))},
				}},
			}
			put := h.putKey(k, 0)
			put.Windows = []fsm.OpenWindow{{Account: resource.Account("key", id, "day"), Limit: 10 * resource.Dollar}}
			item, err := fsm.ItemOf(put)
			if err != nil {
				b.Fatal(err)
			}
			batch.Items = append(batch.Items, item)
		}
		log := h.entry(master, batch)
		b.StartTimer()
		if a, ok := h.f.Apply(log).(fsm.Applied); !ok || a.Err != nil {
			b.Fatalf("%+v", a)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/key")
}
