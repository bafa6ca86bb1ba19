package requestlog_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// source is a journal in memory, whose odd numbers are reservations.
type source struct {
	mu      sync.Mutex
	records []ledger.Record
	news    chan struct{}
}

func newSource() *source { return &source{news: make(chan struct{})} }

func (s *source) add(rs ...ledger.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rs {
		r.Number = uint64(2 * (len(s.records) + 1))
		s.records = append(s.records, r)
	}
	close(s.news)
	s.news = make(chan struct{})
}

func (s *source) ReadFrom(after uint64, limit int) ([]ledger.Record, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ledger.Record
	next := after
	for _, r := range s.records {
		if r.Number > after && len(out) < limit {
			out, next = append(out, r), r.Number
		}
	}
	return out, next, nil
}

func (s *source) Wait(ctx context.Context, after uint64) error {
	for {
		s.mu.Lock()
		n, news := uint64(2*len(s.records)), s.news
		s.mu.Unlock()
		if n > after {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *source) Last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(2 * len(s.records))
}

func (*source) SetSoftFloor(string, uint64) {}

func dollars(nano int64) resource.Money { return resource.Money(nano) }

// requests are n requests of three keys in two teams, a minute apart.
func requests(from time.Time, n int) []ledger.Record {
	out := make([]ledger.Record, 0, n)
	for i := range n {
		r := ledger.Record{
			RequestID: fmt.Sprintf("r%d-%d", from.Unix(), i), Time: resource.At(from.Add(time.Duration(i) * time.Minute)),
			KeyID: fmt.Sprintf("key_%d", i%3), TeamID: fmt.Sprintf("team_%d", i%2), OrganizationID: "org", UserID: "user_1",
			CustomerID: fmt.Sprintf("c%d", i%5), Model: "demo", DeploymentID: "dep", Provider: "openai", Endpoint: "chat",
			Status: 200, Attempts: 1, Usage: llm.Usage{Input: 10, CacheRead: 2, Output: 5, Source: llm.UsageProvider},
			Cost: resource.Money(1000 + i), Hold: 2000, Duration: time.Second, TTFT: time.Millisecond, Tags: []string{"a", "b", "a"},
			Receipt: ledger.Receipt{Prompt: 12, Completion: 4096, Tries: []ledger.Try{{DeploymentID: "dep", Provider: "openai", Status: 200}}},
			Charges: []ledger.AccountCharge{{Account: "key/key_1/day", Start: 3, Amount: 40}},
		}
		if i%10 == 9 {
			r.Status, r.ErrorKind, r.ErrorCode, r.Attempts, r.Cost, r.Hold, r.Usage = 429, "over_budget", "budget_exceeded", 0, 0, 0, llm.Usage{}
			r.Receipt = ledger.Receipt{Step: "budget", Scope: "key", Entity: r.KeyID, Rule: "Budget day is spent."}
		}
		out = append(out, r)
	}
	return out
}

type fixture struct {
	*requestlog.Log
	source *source
	dir    string
	id     string // "": n1
	now    time.Time
	keep   requestlog.Retention
}

func (f *fixture) open(t *testing.T) {
	t.Helper()
	l, err := requestlog.Open(requestlog.Config{
		Dir: f.dir, NodeID: cmp.Or(f.id, "n1"), Source: f.source, Now: func() time.Time { return f.now },
		Retention: func() requestlog.Retention { return f.keep },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Log = l
	t.Cleanup(func() { _ = l.Close() })
	f.wait(t)
}

func (f *fixture) wait(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.WaitTaken(ctx, f.source.Last()); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, records ...ledger.Record) *fixture {
	t.Helper()
	f := &fixture{source: newSource(), dir: t.TempDir(), now: noon.Add(-24 * time.Hour)} // nothing is sealed by itself
	f.source.add(records...)
	f.open(t)
	return f
}

func (f *fixture) usage(t *testing.T, q rollup.Query) []rollup.Line {
	t.Helper()
	if q.To == 0 {
		q.To = noon.Add(1000 * time.Hour).Unix()
	}
	if err := q.Validate(); err != nil {
		t.Fatal(err)
	}
	lines, err := f.Usage(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func (f *fixture) rows(t *testing.T, q requestlog.Query) requestlog.Page {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = requestlog.MaxRows
	}
	p, err := f.Rows(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Rows are the same, and the sums too, whether the rows are in bbolt, sealed, or some here
// and some there, and after every kind of restart.
func TestLog_SealAndRestart(t *testing.T) {
	t.Parallel()
	f := open(t, requests(noon, 300)...)
	wantRows, wantUsage := f.rows(t, requestlog.Query{}), f.usage(t, rollup.Query{GroupBy: []rollup.Dim{rollup.Key}, Granularity: "hour"})
	if len(wantRows.Rows) != 300 {
		t.Fatalf("got %d rows", len(wantRows.Rows))
	}
	check := func(when string) {
		t.Helper()
		if d := gocmp.Diff(wantRows.Rows, f.rows(t, requestlog.Query{}).Rows); d != "" {
			t.Errorf("rows %s:\n%s", when, d)
		}
		if d := gocmp.Diff(wantUsage, f.usage(t, rollup.Query{GroupBy: []rollup.Dim{rollup.Key}, Granularity: "hour"})); d != "" {
			t.Errorf("usage %s:\n%s", when, d)
		}
	}
	for _, hours := range []int{1, 3, 6} {
		if err := f.Seal(noon.Add(time.Duration(hours)*time.Hour + 5*time.Minute)); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("after %d hours", hours))
	}
	if n := len(f.Segments()); n != 3 {
		t.Errorf("got %d segments, want 3", n)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(f.dir, "segments", "half.parquet") // of a process that died while sealing
	if err := os.WriteFile(half, []byte("PAR1"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.open(t)
	check("after a restart")
	if _, err := os.Stat(half); err == nil {
		t.Error("the half of a segment is still there")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.dir, "recent.db")); err != nil {
		t.Fatal(err)
	}
	f.open(t)
	check("after the loss of recent.db")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "recent.db"), make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	f.open(t)
	check("after damage to recent.db")
}

func TestLog_Rows(t *testing.T) {
	t.Parallel()
	f := open(t, requests(noon, 100)...)
	if err := f.Seal(noon.Add(time.Hour + 5*time.Minute)); err != nil { // 60 of them
		t.Fatal(err)
	}
	money := func(m resource.Money) *resource.Money { return &m }
	for _, tt := range []struct {
		name string
		q    requestlog.Query
		want int
	}{
		{"all", requestlog.Query{}, 100},
		{"a key", requestlog.Query{Filter: requestlog.Filter{Names: map[string][]string{"key": {"key_1"}}}}, 33},
		{"a key that is not there", requestlog.Query{Filter: requestlog.Filter{Names: map[string][]string{"key": {"key_9"}}}}, 0},
		{"two teams", requestlog.Query{Filter: requestlog.Filter{Names: map[string][]string{"team": {"team_0", "team_1"}}}}, 100},
		{"a customer and a model", requestlog.Query{Filter: requestlog.Filter{Names: map[string][]string{"customer": {"c0"}, "model": {"demo"}}}}, 20},
		{"a tag", requestlog.Query{Filter: requestlog.Filter{Names: map[string][]string{"tag": {"b", "x"}}}}, 100},
		{"failures", requestlog.Query{Filter: requestlog.Filter{Status: "failure"}}, 10},
		{"successes", requestlog.Query{Filter: requestlog.Filter{Status: "success"}}, 90},
		{"a code", requestlog.Query{Filter: requestlog.Filter{ErrorCode: "budget_exceeded"}}, 10},
		{"a time", requestlog.Query{Filter: requestlog.Filter{From: resource.At(noon.Add(30 * time.Minute)), To: resource.At(noon.Add(70 * time.Minute))}}, 40},
		{"a request in a segment", requestlog.Query{Filter: requestlog.Filter{RequestID: requests(noon, 1)[0].RequestID}}, 1},
		{"a cost", requestlog.Query{Filter: requestlog.Filter{MinCost: money(1050), MaxCost: money(1052)}}, 3},
		{"cache hits", requestlog.Query{Filter: requestlog.Filter{CacheHitOnly: true}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if p := f.rows(t, tt.q); len(p.Rows) != tt.want || p.Total != int64(tt.want) {
				t.Errorf("got %d rows of %d, want %d", len(p.Rows), p.Total, tt.want)
			}
		})
	}
}

// Pages, forwards and backwards, hold each row once, in order.
func TestLog_Pages(t *testing.T) {
	t.Parallel()
	f := open(t, requests(noon, 100)...)
	if err := f.Seal(noon.Add(time.Hour + 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, ascending := range []bool{false, true} {
		var seen []requestlog.Row
		q := requestlog.Query{Ascending: ascending, Limit: 7}
		for {
			p := f.rows(t, q)
			seen = append(seen, p.Rows...)
			if !p.More {
				break
			}
			last := p.Rows[len(p.Rows)-1]
			q.After = &requestlog.Cursor{Time: last.Time, Number: last.Number, Node: last.Node}
		}
		if d := gocmp.Diff(f.rows(t, requestlog.Query{Ascending: ascending}).Rows, seen); d != "" {
			t.Errorf("ascending %v:\n%s", ascending, d)
		}
	}
	p := f.rows(t, requestlog.Query{Sort: "cost", Limit: 3, Count: true})
	if len(p.Rows) != 3 || p.Rows[0].Cost != 1098 || p.Rows[1].Cost != 1097 || p.Total != 100 {
		t.Errorf("by cost: %d of %d, %v", len(p.Rows), p.Total, p.Rows[0].Cost)
	}
}

func TestLog_Explain(t *testing.T) {
	t.Parallel()
	f := open(t, requests(noon, 10)...)
	p := f.rows(t, requestlog.Query{Filter: requestlog.Filter{Status: "failure"}})
	got, err := p.Rows[0].Explain()
	want := requestlog.Receipt{
		Decision: "refused", Step: "budget", Scope: "key", Entity: "key_0", Rule: "Budget day is spent.",
		Charges: []segment.Charge{{Account: "key/key_1/day", Window: 3, Amount: 40}},
	}
	if d := gocmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("Explain: %v\n%s", err, d)
	}
	got.Facts.Spent = "gpt"
	if said := strings.Join(got.Words(&p.Rows[0]), "\n"); !strings.Contains(said, "The budget for gpt was spent; "+p.Rows[0].Model+" took its place") {
		t.Errorf("another model's place: got %s", said)
	}
}

// A client that goes on although it is refused fills one row, not the log.
func TestLog_MergesRefusals(t *testing.T) {
	t.Parallel()
	one := requests(noon, 10)[9]
	var many []ledger.Record
	for range 10_000 {
		many = append(many, one)
	}
	f := open(t, many...)
	p := f.rows(t, requestlog.Query{})
	if len(p.Rows) > 200 || p.Total != 10_000 {
		t.Errorf("got %d rows for %d requests", len(p.Rows), p.Total)
	}
	if u := f.usage(t, rollup.Query{}); len(u) != 1 || u[0].Sums.Requests != 10_000 || u[0].Sums.Failures != 10_000 {
		t.Errorf("usage is %+v", u)
	}
	if err := f.Seal(noon.Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if p := f.rows(t, requestlog.Query{}); p.Total != 10_000 {
		t.Errorf("sealed rows stand for %d requests", p.Total)
	}
}

func TestLog_Usage(t *testing.T) {
	t.Parallel()
	f := open(t, requests(noon, 100)...)
	total := f.usage(t, rollup.Query{})
	if len(total) != 1 || total[0].Sums.Requests != 100 || total[0].Sums.Failures != 10 || total[0].Sums.Prompt != 90*12 {
		t.Errorf("total is %+v", total)
	}
	for _, d := range []rollup.Dim{rollup.Key, rollup.Team, rollup.Organization, rollup.User, rollup.Model, rollup.Provider, rollup.Customer, rollup.Endpoint} {
		for _, g := range []string{"total", "hour", "day", "month"} {
			var sum rollup.Sums
			for _, l := range f.usage(t, rollup.Query{GroupBy: []rollup.Dim{d}, Granularity: g}) {
				sum.Add(&l.Sums)
			}
			if gocmp.Diff(total[0].Sums, sum) != "" {
				t.Errorf("by %s and %s: %+v, want %+v", d, g, sum, total[0].Sums)
			}
		}
	}
	byTag := f.usage(t, rollup.Query{GroupBy: []rollup.Dim{rollup.Tag}})
	if len(byTag) != 2 || byTag[0].Sums.Requests != 100 { // a tag that is given twice counts once
		t.Errorf("by tag: %+v", byTag)
	}
	part := f.usage(t, rollup.Query{From: noon.Add(30 * time.Minute).Unix(), To: noon.Add(90 * time.Minute).Unix(), Filter: []rollup.Condition{{Dim: rollup.Key, Values: []string{"key_1"}}}})
	if len(part) != 1 || part[0].Sums.Requests != 20 {
		t.Errorf("an hour from half past: %+v", part)
	}
}

func TestLog_Retention(t *testing.T) {
	t.Parallel()
	f := open(t, requests(noon, 300)...)
	if err := f.Seal(noon.Add(6 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	f.source.add(requests(noon.Add(48*time.Hour), 10)...)
	f.wait(t)
	f.now, f.keep.Rows, f.keep.Hours = noon.Add(49*time.Hour), 24*time.Hour, 24*time.Hour
	if err := f.Trim(); err != nil {
		t.Fatal(err)
	}
	if p := f.rows(t, requestlog.Query{}); len(p.Rows) != 10 {
		t.Errorf("%d rows are left", len(p.Rows))
	}
	if files, _ := filepath.Glob(filepath.Join(f.dir, "segments", "*")); len(files) != 0 {
		t.Errorf("files are left: %v", files)
	}
	if u := f.usage(t, rollup.Query{Granularity: "hour"}); len(u) != 1 || u[0].Sums.Requests != 10 {
		t.Errorf("hours that are left: %+v", u)
	}
	if u := f.usage(t, rollup.Query{Granularity: "day"}); len(u) != 2 || u[0].Sums.Requests != 300 {
		t.Errorf("days that are left: %+v", u)
	}
}

// However many rows come, those that are kept take no more of the disk than they may and a twentieth, and the newest are there.
func TestLog_RetentionBySize(t *testing.T) {
	t.Parallel()
	f := &fixture{source: newSource(), dir: t.TempDir(), now: noon.Add(-24 * time.Hour), keep: requestlog.Retention{Bytes: 64 << 10}}
	f.open(t)
	const rounds = 6
	last := ""
	for i := range rounds {
		records := requests(noon, 500) // of one hour that does not end meanwhile
		for k := range records {
			records[k] = records[k%9] // served, not refused: none is merged with another
			records[k].RequestID = fmt.Sprintf("r%d-%d-%x", i, k, sha256.Sum256([]byte{byte(i), byte(k), byte(k >> 8)}))
			records[k].Time = resource.At(noon.Add(time.Duration(500*i+k) * time.Millisecond))
		}
		last = records[len(records)-1].RequestID
		f.source.add(records...)
		f.wait(t)
		if err := errors.Join(f.Seal(noon), f.Trim()); err != nil {
			t.Fatal(err)
		}
		size := int64(0)
		files, err := filepath.Glob(filepath.Join(f.dir, "segments", "*"))
		for _, name := range files {
			info, serr := os.Stat(name)
			if err = errors.Join(err, serr); err == nil {
				size += info.Size()
			}
		}
		if err != nil || size > f.keep.Bytes || len(files) != len(f.Segments()) {
			t.Fatalf("after %d rows %d files of %d bytes are left, want %d at most (%v)", 500*(i+1), len(files), size, f.keep.Bytes, err)
		}
	}
	if p := f.rows(t, requestlog.Query{Limit: 1}); len(p.Rows) != 1 || p.Rows[0].RequestID != last || p.Total >= rounds*500 {
		t.Errorf("got %d rows, the newest %+v", p.Total, p.Rows)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	hot := int64(0)
	for _, v := range f.bucket(t, nil) {
		hot += int64(len(v))
	}
	if hot > f.keep.Bytes/20 {
		t.Errorf("%d bytes are not sealed, want %d at most", hot, f.keep.Bytes/20)
	}
}
