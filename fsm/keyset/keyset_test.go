package keyset_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm/keyset"
)

func TestSet(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 255, 256, 257, 3000} {
		var k keyset.Set
		var all []string
		for _, i := range rnd.Perm(n) {
			key := fmt.Sprintf("key/%d/day", i)
			k.Add(key)
			all = append(all, key)
		}
		slices.Sort(all)
		for _, prefix := range []string{"", "key/1", "key/1/", "key/299", "x", "a"} {
			var want []string
			for _, key := range all {
				if strings.HasPrefix(key, prefix) {
					want = append(want, key)
				}
			}
			got := slices.Sorted(k.With(prefix))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d keys, prefix %q: %s", n, prefix, diff)
			}
		}
		for range k.With("") { // one may stop early
			break
		}
	}
}

func BenchmarkSet(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var k keyset.Set
	for range 10_000 {
		k.Add(fmt.Sprintf("key/%d/day", rnd.Uint64()))
	}
	b.ReportAllocs()
	for b.Loop() {
		for range k.With("key/5/") {
			b.Fatal("there is no such key")
		}
	}
}
