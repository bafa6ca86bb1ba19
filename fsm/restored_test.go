package fsm_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestApply_Restored applies one long log to state machines of which one has its file as it grew, and the
// others have it as snapshots make it anew, again and again, at other places and with batches of other
// sizes: how a file's pages lie must not be seen in the state.
func TestApply_Restored(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.boot("n1", "n2")
			r := rand.New(rand.NewPCG(seed, 7))
			hashes := grow(h, r, 4000)
			for range 3 {
				g := start(t)
				for at := 0; at < len(h.log); {
					n := min(1+r.IntN(120), len(h.log)-at)
					g.f.ApplyBatch(append([]*raft.Log{}, h.log[at:at+n]...))
					at += n
					upTo := h.log[at-1].Index
					if gotIndex, got := g.f.Hash(); gotIndex != upTo || hashes[upTo] != [16]byte{} && got != hashes[upTo] {
						t.Fatalf("after entry %d: got %d %x, want %x", upTo, gotIndex, got, hashes[upTo])
					}
					if r.IntN(8) == 0 {
						b := g.snapshot()
						g = start(t)
						if err := g.f.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		})
	}
}

// grow has a log of so many entries: keys that come, change and go, sessions that end, and days of sums. It
// returns the hash after each.
func grow(h *harness, r *rand.Rand, entries int) map[uint64][16]byte {
	hashes := map[uint64][16]byte{}
	for i := range entries {
		h.index += uint64(r.IntN(60))
		id := fmt.Sprintf("k%d", r.IntN(300))
		account := resource.Account("key", id, "total")
		var read uint64
		if k, ok := h.f.Key(id); ok {
			read = k.Version
		}
		h.now += resource.Time(r.IntN(4e9)) - 1e9
		switch r.IntN(8) {
		case 0, 1, 2:
			k := resource.Key{Meta: meta(id), Name: fmt.Sprint("name", r.IntN(500)), Policy: resource.Policy{
				Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: resource.Money(r.IntN(1000))}}},
				Sessions:  &resource.SessionLimits{Budget: 100},
			}}
			put := h.putKey(k, read)
			put.Windows = []fsm.OpenWindow{{Account: account}}
			h.try(master, put)
		case 3:
			h.try(master, fsm.BlockKey{ID: id, Blocked: i%2 == 0})
		case 4:
			h.try(master, fsm.DeleteKey{ID: id})
		default:
			if r.IntN(20) == 0 {
				h.now += resource.SessionIdle / 4
			}
			h.tick(fsm.Tick{
				Node: []string{"n1", "n2"}[r.IntN(2)], Want: want(account, resource.Window{}, 50, 10), Settle: settle(account, 0, 3),
				Spend: []fsm.SpendDelta{{KeyID: id, Day: int32(r.IntN(3000)), Cost: 3}},
			})
		}
		index, hash := h.f.Hash()
		hashes[index] = hash
	}
	return hashes
}
