package memory

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/resource"
)

func skimSeed(t testing.TB) []byte {
	t.Helper()
	e, err := codec.Encode(resource.Key{
		Meta: resource.Meta{ID: "k1", Owner: resource.OwnerFile, CreatedAt: -5, CreatedBy: "master"}, Name: "näme", TeamID: "t1",
		Hash: resource.HashSecret("one"), OldHashes: []resource.OldHash{{Hash: resource.HashSecret("two"), Until: 7}},
		Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: 5, Per: resource.PerDay}}}, Metadata: []byte(`{"a":[1]}`), Models: []string{"x", "y"}, AccessGroupIDs: []string{"g1", "g2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e.Raw()
}

func TestSkimKey(t *testing.T) {
	t.Parallel()
	got, err := skimKey(string(skimSeed(t)))
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		ID, Name, Team string
		Created        resource.Time
		Hash           resource.Hash
		Old            []resource.Hash
	}
	want := seen{"k1", "näme", "t1", -5, resource.HashSecret("one"), []resource.Hash{resource.HashSecret("two")}}
	if d := cmp.Diff(want, seen{got.id, got.name, skimText(got.packed, "team_id"), resource.Time(skimInt(got.packed, "created_at")), got.hash, got.old}); d != "" {
		t.Errorf("skimmed key differs (-want +got):\n%s", d)
	}
	for id, want := range map[string]bool{"g1": true, "g2": true, "x": false, "g": false} {
		if skimHas(got.packed, "access_group_ids", id) != want {
			t.Errorf("access group %s: want %t", id, want)
		}
	}
}

// FuzzSkimKey holds the skimmer to what the decoder reads.
func FuzzSkimKey(f *testing.F) {
	f.Add(skimSeed(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := skimKey(string(b))
		var k resource.Key
		if codec.Strict(b, &k) != nil || k.ID == "" {
			return // only that it does not panic
		}
		if err != nil {
			t.Fatalf("%x is a key, skimmed: %v", b, err)
		}
		if got.id != k.ID || got.name != k.Name || skimText(got.packed, "team_id") != k.TeamID || resource.Time(skimInt(got.packed, "created_at")) != k.CreatedAt || got.hash != k.Hash ||
			skimHas(got.packed, "access_group_ids", "g1") != slices.Contains(k.AccessGroupIDs, "g1") {
			t.Errorf("got %+v, want %+v", got, k)
		}
	})
}
