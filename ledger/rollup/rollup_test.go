package rollup_test

import (
	"fmt"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// source is the cells of a batch, in order.
type source struct {
	keys   [3][]string
	values [3][][]byte
}

func sourceOf(b *rollup.Batch) *source {
	s := &source{}
	for _, l := range rollup.Levels {
		_ = b.Each(l, func(key []byte, sums *rollup.Sums) error { // the visit does not fail
			s.keys[l] = append(s.keys[l], string(key))
			s.values[l] = append(s.values[l], sums.Append(nil))
			return nil
		})
	}
	return s
}

func (s *source) Scan(l rollup.Level, first, end []byte, visit func(key, value []byte) error) error {
	for i := sort.SearchStrings(s.keys[l], string(first)); i < len(s.keys[l]) && s.keys[l][i] < string(end); i++ {
		if err := visit([]byte(s.keys[l][i]), s.values[l][i]); err != nil {
			return err
		}
	}
	return nil
}

// Every question is answered with what the records themselves come to, whatever its range
// and granularity.
func TestQuery_isTheFoldOfTheRecords(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 2, 27, 0, 0, 0, 0, time.UTC).Unix()
	rapid.Check(t, func(t *rapid.T) {
		var batch rollup.Batch
		var records []ledger.Record
		for range rapid.IntRange(1, 60).Draw(t, "records") {
			at := start + rapid.Int64Range(0, 4*24*3600-1).Draw(t, "at")
			r := ledger.Record{
				Time: resource.Time(at * 1e9), KeyID: rapid.SampledFrom([]string{"", "k1", "k2"}).Draw(t, "key"),
				Model: rapid.SampledFrom([]string{"m1", "m\x002"}).Draw(t, "model"), Cost: resource.Money(rapid.Int64Range(0, 1e12).Draw(t, "cost")),
				Usage: llm.Usage{Input: rapid.Int64Range(0, 1000).Draw(t, "input")}, Status: rapid.SampledFrom([]int{200, 500}).Draw(t, "status"),
			}
			records = append(records, r)
			batch.Add(&r, 1)
		}
		q := rollup.Query{
			From: start + rapid.Int64Range(-4000, 3*24*3600).Draw(t, "from"), Granularity: rapid.SampledFrom(rollup.Granularities).Draw(t, "granularity"),
			GroupBy: rapid.SampledFrom([][]rollup.Dim{nil, {rollup.Key}, {rollup.Model, rollup.Key}}).Draw(t, "group"),
		}
		q.To = q.From + rapid.Int64Range(1, 3*24*3600).Draw(t, "length")
		if rapid.Bool().Draw(t, "filtered") {
			q.Filter = []rollup.Condition{{Dim: rollup.Key, Values: []string{"k1"}, Not: rapid.Bool().Draw(t, "not")}}
		}
		if err := q.Validate(); err != nil {
			t.Fatal(err)
		}
		lines, err := q.Run(sourceOf(&batch))
		if err != nil {
			t.Fatal(err)
		}
		var got, want rollup.Sums
		for i := range lines {
			got.Add(&lines[i].Sums)
		}
		for i := range records {
			at := int64(records[i].Time) / 1e9
			if at < q.From || at >= q.To || len(q.Filter) > 0 && (records[i].KeyID == "k1") == q.Filter[0].Not {
				continue
			}
			s := rollup.Of(&records[i])
			want.Add(&s)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%+v:\n%s", q, d)
		}
	})
}

func TestQuery_Validate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		q    rollup.Query
		ok   bool
	}{
		{"nothing", rollup.Query{To: 1}, true},
		{"customer by model", rollup.Query{To: 1, GroupBy: []rollup.Dim{rollup.Customer, rollup.Model}}, true},
		{"customer and tag", rollup.Query{To: 1, GroupBy: []rollup.Dim{rollup.Customer, rollup.Tag}}, false},
		{"customers of a deployment", rollup.Query{To: 1, GroupBy: []rollup.Dim{rollup.Customer}, Filter: []rollup.Condition{{Dim: rollup.Deployment}}}, false},
		{"customers by the minute", rollup.Query{To: 1, GroupBy: []rollup.Dim{rollup.Customer}, Granularity: "minute"}, false},
		{"fortnights", rollup.Query{To: 1, Granularity: "fortnight"}, false},
		{"backwards", rollup.Query{From: 1e6, To: 1}, false},
	} {
		if err := tt.q.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	line := func(start, cost int64, names ...string) rollup.Line {
		return rollup.Line{Start: start, Names: names, Sums: rollup.Sums{Cost: cost}}
	}
	got := rollup.Merge([]rollup.Line{line(1, 1, "a"), line(2, 2, "a")}, nil, []rollup.Line{line(1, 4, "a"), line(1, 8, "b")})
	if d := cmp.Diff([]rollup.Line{line(1, 5, "a"), line(1, 8, "b"), line(2, 2, "a")}, got); d != "" {
		t.Error(d)
	}
}

func FuzzParseSums(f *testing.F) {
	s := rollup.Sums{Requests: 1, Cost: 5, HoldCharged: 2}
	f.Add(s.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := rollup.ParseSums(b)
		if err != nil {
			return
		}
		if again, err := rollup.ParseSums(s.Append(nil)); err != nil || again != s {
			t.Errorf("sums change when written again: %+v, %+v, %v", s, again, err)
		}
	})
}

func FuzzScan(f *testing.F) {
	var b rollup.Batch
	b.Add(&ledger.Record{Time: 1e18, KeyID: "k", Model: "m", CustomerID: "c"}, 1)
	for _, k := range sourceOf(&b).keys[rollup.Day] {
		f.Add([]byte(k), []byte{2})
	}
	f.Fuzz(func(_ *testing.T, key, value []byte) {
		q := rollup.Query{To: 1 << 37, GroupBy: []rollup.Dim{rollup.Key}}
		_, _ = q.Run(&source{keys: [3][]string{rollup.Day: {string(key)}}, values: [3][][]byte{rollup.Day: {value}}})
	})
}

// BenchmarkQuery groups a month by key: the cells of 10,000,000 requests with 1,000 keys and
// 5 models.
func BenchmarkQuery(b *testing.B) {
	var batch rollup.Batch
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range 30 * 1000 * 5 {
		batch.Add(&ledger.Record{
			Time: resource.At(start.AddDate(0, 0, i%30)), KeyID: fmt.Sprintf("key_%d", i/30%1000), TeamID: "team", Model: fmt.Sprintf("model-%d", i/30000),
			DeploymentID: "dep_1234567890", Provider: "openai", Endpoint: "chat", Cost: 12345, Usage: llm.Usage{Input: 1000, Output: 300}, Duration: time.Second,
		}, 66)
	}
	src := sourceOf(&batch)
	q := rollup.Query{From: start.Unix(), To: start.AddDate(0, 0, 30).Unix(), GroupBy: []rollup.Dim{rollup.Key}}
	if err := q.Validate(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		if lines, err := q.Run(src); err != nil || len(lines) != 1000 {
			b.Fatal(len(lines), err)
		}
	}
}

func BenchmarkBatch_Add(b *testing.B) {
	var batch rollup.Batch
	r := ledger.Record{Time: 1e18, KeyID: "key_1", Model: "m", CustomerID: "c", Tags: []string{"a"}}
	b.ReportAllocs()
	for b.Loop() {
		batch.Add(&r, 1)
	}
}

func TestQuery_Fit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 15, 13, 37, 20, 0, time.UTC)
	for _, tt := range []struct {
		name        string
		ago         time.Duration
		granularity string
		from        string // "": refused
	}{
		{"an hour", time.Hour, "total", "2026-06-15T12:37:00Z"},
		{"a week", 7 * 24 * time.Hour, "total", "2026-06-08T13:00:00Z"},
		{"a quarter", 90 * 24 * time.Hour, "total", "2026-03-17T00:00:00Z"},
		{"minutes of a week", 7 * 24 * time.Hour, "minute", ""},
		{"hours of a quarter", 90 * 24 * time.Hour, "hour", ""},
	} {
		q := rollup.Query{From: now.Add(-tt.ago).Unix(), To: now.Unix(), Granularity: tt.granularity}
		err := q.Fit(now)
		if got := time.Unix(q.From, 0).UTC().Format(time.RFC3339); (err != nil) != (tt.from == "") || err == nil && got != tt.from {
			t.Errorf("%s: from %s, %v", tt.name, got, err)
		}
	}
}
