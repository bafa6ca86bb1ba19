package provider_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/provider/providertest/vendors"
)

// TestRecorded plays all recorded exchanges. There is no codec without one, and no file that nobody plays.
func TestRecorded(t *testing.T) {
	t.Parallel()
	played, codecs := map[string]bool{}, map[string]bool{}
	for _, r := range vendors.Recorded() {
		p, ok := provider.Lookup(r.Provider)
		if !ok {
			t.Fatalf("%q is no row", r.Provider)
		}
		played[r.File] = true
		for _, x := range providertest.Load(t, r.File) {
			if x.Status != 0 {
				codecs[fmt.Sprintf("%T", p.Codec)] = true
			}
		}
		t.Run(r.Provider+"/"+filepath.Base(r.File), func(t *testing.T) {
			t.Parallel()
			providertest.Run(t, p, r.File)
		})
	}
	for _, name := range provider.Names() {
		if p, _ := provider.Lookup(name); !codecs[fmt.Sprintf("%T", p.Codec)] {
			t.Errorf("%s: no recorded errors for %T", name, p.Codec)
		}
	}
	own, _ := filepath.Glob("testdata/*.jsonl")
	theirs, _ := filepath.Glob("*/testdata/*.jsonl")
	for _, file := range slices.Concat(own, theirs) {
		if !played[file] {
			t.Errorf("nobody plays %s", file)
		}
	}
}
