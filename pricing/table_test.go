package pricing

import "testing"

func TestReadTable(t *testing.T) {
	t.Parallel()
	entries, err := readTable(packed)
	if err != nil || len(entries) < 3000 {
		t.Fatalf("got %d entries, %v", len(entries), err)
	}
	for name, e := range entries {
		if e.Price != nil && (e.Price.Input < 0 || e.Price.Output < 0) || (e.Above > 0) != (e.Tier != nil) {
			t.Errorf("%s: got %+v", name, e)
		}
	}
	if _, err := readTable([]byte("x")); err == nil {
		t.Error("read what is no table")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("p\tm\tchat\t10\t5\t1\t2\t\t\t\t9\t3\t\t\t")
	f.Add("p\tm")
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parse(line)
		if err == nil && e.Price != nil && e.Price.Input < 0 {
			t.Fatalf("got %+v", e)
		}
	})
}
