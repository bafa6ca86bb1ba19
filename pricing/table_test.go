package pricing

import (
	"testing"
)

func TestTable(t *testing.T) {
	t.Parallel()
	entries, err := Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	priced := 0
	for _, e := range entries {
		if e.Price != nil {
			priced++
		}
	}
	if len(entries) != 4504 || priced != 4347 {
		t.Errorf("got %d rows, %d priced; docs/formats.md says 4504 and 4347", len(entries), priced)
	}
	if _, err := Unpack([]byte("x")); err == nil {
		t.Error("read what is no table")
	}
}

func FuzzParseRow(f *testing.F) {
	f.Add("p\tm\tchat\t10\t5\tinput=1\toutput=2\t>9 input=3\t>9 batch output=4\tbatch cache_read=1\tquery=5\tgpus=3")
	f.Add("p\tm")
	f.Add("p\tm\tchat\t10\t5\tinput=1\t>0 input=3")
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parseRow(line)
		if err != nil {
			return
		}
		again, err := parseRow(e.Row())
		if err != nil || again.Row() != e.Row() {
			t.Fatalf("got %v of %q, which was written as %q", err, line, e.Row())
		}
	})
}
