package pricing_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/pricing"
)

// TestBook_Map: what is written in the form of the public map is read as the same prices.
func TestBook_Map(t *testing.T) {
	t.Parallel()
	b := pricing.NewBook(nil)
	m := b.Map()
	if len(m) != b.Builtin() {
		t.Fatalf("%d of %d rows have a name of their own", len(m), b.Builtin())
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	file, err := pricing.ReadMap(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Refused)+len(file.Doubles)+len(file.Ignored) > 0 {
		t.Errorf("refused %v, doubles %v, ignored %v", file.Refused, file.Doubles, file.Ignored)
	}
	bad := 0
	for _, got := range file.Entries {
		want, _, ok := b.Row(got.Provider, got.Model)
		if !ok {
			t.Fatalf("%s/%s was not there", got.Provider, got.Model)
		}
		if got.Row() != want.Row() {
			if bad++; bad < 5 {
				t.Errorf("%s/%s (-want +got):\n%s", got.Provider, got.Model, cmp.Diff(want.Row(), got.Row()))
			}
		}
	}
	if bad > 0 || len(file.Entries) != b.Builtin() {
		t.Errorf("%d of %d rows differ", bad, len(file.Entries))
	}
}
