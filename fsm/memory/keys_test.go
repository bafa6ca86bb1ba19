package memory_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

func put(t *testing.T, keys *memory.Keys, k resource.Key) {
	t.Helper()
	e, err := codec.Encode(k)
	if err != nil {
		t.Fatal(err)
	}
	r, err := memory.NewKeyRecord(frame.Value{Version: 1, Payload: e.Raw()})
	if err != nil {
		t.Fatal(err)
	}
	keys.Put(r)
}

// TestKeys_Rotate follows secrets through a rotation and a deletion.
func TestKeys_Rotate(t *testing.T) {
	t.Parallel()
	one, two := resource.HashSecret("one"), resource.HashSecret("two")
	keys := memory.NewKeys()
	k := resource.Key{Meta: resource.Meta{ID: "k1"}, Hash: one}
	put(t, keys, k)
	k.Hash, k.OldHashes = two, []resource.OldHash{{Hash: one, Until: 9}}
	put(t, keys, k)
	for _, h := range []resource.Hash{one, two} {
		if got, ok := keys.ByHash(h); !ok || got.Hash != two {
			t.Errorf("by %s: got %+v, %v", h, got, ok)
		}
	}
	k.OldHashes = nil
	put(t, keys, k)
	if _, ok := keys.ByHash(one); ok {
		t.Error("the old secret is still there")
	}
	if got, ok := keys.ByID("k1"); !ok || keys.Len() != 1 {
		t.Errorf("got %+v, %d keys", got, keys.Len())
	}
	keys.Delete("k1")
	if _, ok := keys.ByHash(two); ok || keys.Len() != 0 {
		t.Errorf("a deleted key is still there, %d keys", keys.Len())
	}
}

func TestKeys_List(t *testing.T) {
	t.Parallel()
	keys := memory.NewKeys()
	for i := range 25 {
		put(t, keys, resource.Key{
			Meta: resource.Meta{ID: fmt.Sprintf("k%02d", i), CreatedAt: resource.Time(-i)}, Name: fmt.Sprintf("n%d", i%3),
			TeamID: []string{"", "t1"}[i%2], Hash: resource.HashSecret(fmt.Sprint(i)),
		})
	}
	for _, tt := range []struct {
		name  string
		q     memory.Query
		first string
		total int
	}{
		{"by id", memory.Query{Limit: 10}, "k00", 25},
		{"backwards", memory.Query{Limit: 10, Sort: "-id"}, "k24", 25},
		{"by time", memory.Query{Limit: 10, Sort: "created_at"}, "k24", 25},
		{"of a team", memory.Query{Limit: 10, TeamID: "t1"}, "k01", 12},
		{"part of a name", memory.Query{Limit: 3, Q: "N2", Sort: "name"}, "k02", 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			seen := map[string]bool{}
			first := ""
			for q := tt.q; ; {
				items, next, total := keys.List(q)
				if total != tt.total {
					t.Fatalf("total: got %d, want %d", total, tt.total)
				}
				for _, k := range items {
					if first == "" {
						first = k.ID
					}
					if seen[k.ID] {
						t.Errorf("%s is on two pages", k.ID)
					}
					seen[k.ID] = true
				}
				if next == "" {
					break
				}
				q.Cursor = next
			}
			q := tt.q
			for q.Offset = range tt.total { // each key begins a page
				items, _, total := keys.List(q)
				if total != tt.total || len(items) != min(q.Limit, tt.total-q.Offset) || !seen[items[0].ID] {
					t.Fatalf("from %d: got %d of %d keys", q.Offset, len(items), total)
				}
			}
			q.Offset = tt.total
			if items, next, total := keys.List(q); len(items) != 0 || next != "" || total != tt.total {
				t.Errorf("behind the last: got %d of %d keys, next %q", len(items), total, next)
			}
			if d := cmp.Diff(tt.total, len(seen)); d != "" || first != tt.first {
				t.Errorf("first %s, want %s; keys on all pages differ (-want +got):\n%s", first, tt.first, d)
			}
		})
	}
}
