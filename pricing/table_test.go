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
	var told, ending, sized int
	for _, e := range entries {
		told, ending, sized = told+min(int(e.Features), 1), ending+min(len(e.DeprecatedOn), 1), sized+int(min(e.Dimensions, 1))
		if e.Price != nil {
			priced++
		}
	}
	if len(entries) != 4504 || priced != 4347 {
		t.Errorf("got %d rows, %d priced; docs/formats.md says 4504 and 4347", len(entries), priced)
	}
	if told < 2500 || ending < 900 || sized < 50 {
		t.Errorf("got %d rows with features, %d with an end and %d with dimensions", told, ending, sized)
	}
	if _, err := Unpack([]byte("x")); err == nil {
		t.Error("read what is no table")
	}
}

func FuzzParseRow(f *testing.F) {
	f.Add("p\tm\tchat\t10\t5\tinput=1\toutput=2\t>9 input=3\t>9 batch output=4\tbatch cache_read=1\tquery=5\tgpus=3")
	f.Add("p\tm")
	f.Add("p\tm\tembedding\t10\t0\tfeatures=vision,tools\tdimensions=3\tdeprecated_on=2026-12-31\tinput=1")
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
