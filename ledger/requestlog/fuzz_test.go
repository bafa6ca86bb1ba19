package requestlog

import (
	"testing"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
)

func FuzzParseHot(f *testing.F) {
	f.Add(appendHot(nil, &ledger.Record{RequestID: "r", Status: 200, Tags: []string{"a"}}, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, count, err := parseHot(1, b)
		if err != nil {
			return
		}
		if _, again, err := parseHot(1, appendHot(nil, &r, count)); err != nil || again != count {
			t.Errorf("row changes when written again: %d, %d, %v", count, again, err)
		}
		row := segment.RowOf(&r, count)
		if _, err := row.Explain(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	b, err := pack(&reply{Page: Page{Rows: []Row{{RequestID: "r"}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = unpack(b) })
}

func BenchmarkTake(b *testing.B) {
	r := ledger.Record{RequestID: "0d3a4c5e-0000-4000-8000-000000000000", KeyID: "key_ylyrcyei7ggbx7ud", Model: "demo", Status: 200, Endpoint: "chat"}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendHot(buf[:0], &r, 1)
	}
}
