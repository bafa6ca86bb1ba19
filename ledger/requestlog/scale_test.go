package requestlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// scaleRows is how many rows the sums of TestScale_Usage stand for.
const scaleRows = 10_000_000

// scaleLimit bounds a question of TestScale_Usage.
const scaleLimit = 500 * time.Millisecond

// scalePage bounds a page of TestScale_Rows.
const scalePage = 300 * time.Millisecond

// scaleRecord is request i of 30 days: 1,000 keys in 50 teams, each used for two of ten
// models and by two of 2,000 customers.
func scaleRecord(i int, from time.Time) ledger.Record {
	r := rand.New(rand.NewPCG(uint64(i), 7))
	key := r.IntN(1000)
	model := (key + r.IntN(2)*3) % 10
	return ledger.Record{
		Number: uint64(i), Time: resource.At(from.Add(time.Duration(i) * (30 * 24 * time.Hour / scaleRows))),
		KeyID: fmt.Sprintf("key_%013d", key), TeamID: fmt.Sprintf("team_%012d", key%50), OrganizationID: fmt.Sprintf("org_%012d", key%5),
		UserID: fmt.Sprintf("user_%012d", key/2), CustomerID: fmt.Sprintf("customer-%d", key*2+r.IntN(2)), Tags: []string{fmt.Sprintf("tag-%d", key%20)},
		Model: fmt.Sprintf("model-%d", model), DeploymentID: fmt.Sprintf("dep_%012d", model), Provider: "openai", Endpoint: "chat",
		Status: 200, Cost: resource.Money(r.Int64N(1_000_000)), Duration: time.Second, TTFT: time.Millisecond,
		Usage: llm.Usage{Input: r.Int64N(2000), Output: r.Int64N(500)},
	}
}

// fillCells writes the sums of all rows, and leaves out minutes that are too old, as Trim
// does.
func fillCells(t *testing.T, db *bolt.DB, from time.Time) {
	t.Helper()
	const step = 100_000
	for start := 0; start < scaleRows; start += step {
		var sums rollup.Batch
		for i := start; i < start+step; i++ {
			r := scaleRecord(i, from)
			sums.Add(&r, 1)
		}
		if err := db.Update(func(tx *bolt.Tx) error { return addCells(tx, &sums) }); err != nil {
			t.Fatal(err)
		}
	}
}

// scaleFrom is when the requests of the tests at scale begin.
var scaleFrom = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// scaleLog opens a log in a folder, which fill fills if it is new. It takes minutes, so it needs CONCLAVE_SCALE;
// CONCLAVE_SCALE=DIR keeps the folder there.
func scaleLog(t *testing.T, name string, fill func(*Log)) (l *Log, path string) {
	t.Helper()
	dir := os.Getenv("CONCLAVE_SCALE")
	if dir == "" {
		t.Skip("needs CONCLAVE_SCALE=1, or a folder for its files: it takes minutes")
	}
	if dir == "1" {
		dir = t.TempDir()
	}
	path = filepath.Join(dir, name)
	_, isNew := os.Stat(path)
	l, err := Open(Config{Dir: path, NodeID: "n1", Source: noSource{}, Now: func() time.Time { return scaleFrom.Add(30 * 24 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if isNew != nil {
		began := time.Now()
		fill(l)
		t.Logf("filled in %s", time.Since(began).Round(time.Second))
	}
	return l, path
}

// fillRows writes all rows, of which the newest are in no file yet.
func fillRows(t *testing.T, l *Log) {
	t.Helper()
	for start := 0; start < scaleRows; start += segmentRows {
		l.workMu.Lock()
		err := l.db.Update(func(tx *bolt.Tx) error {
			for i := start; i < start+segmentRows; i++ {
				r := scaleRecord(i, scaleFrom)
				r.Number, r.RequestID, r.Attempts = uint64(i+1), fmt.Sprintf("request_%012d", i), 1
				added, err := l.putRow(tx, &r)
				if err != nil {
					return err
				}
				l.hot.add(added)
			}
			return nil
		})
		l.workMu.Unlock()
		if err == nil {
			err = l.Seal(l.cfg.Now().Add(-30 * 24 * time.Hour)) // for their number alone
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestScale_Rows measures pages of a log of ten million rows.
func TestScale_Rows(t *testing.T) {
	l, path := scaleLog(t, "rows", func(l *Log) { fillRows(t, l) })
	middle := resource.At(scaleFrom.Add(15 * 24 * time.Hour))
	newest, err := l.Rows(t.Context(), Query{Limit: 50})
	if err != nil || len(newest.Rows) != 50 || newest.Rows[0].Number != scaleRows {
		t.Fatalf("got %+v (%v)", newest, err)
	}
	last := newest.Rows[49]
	for _, q := range []struct {
		name string
		Query
	}{
		{"the newest", Query{}},
		{"the next page", Query{After: &Cursor{Time: last.Time, Number: last.Number, Node: last.Node}}},
		{"the oldest", Query{Ascending: true}},
		{"from the middle on", Query{Filter: Filter{To: middle}}},
		{"of one key of a thousand", Query{Filter: Filter{Names: map[string][]string{"key": {"key_0000000000007"}}}}},
	} {
		q.Limit = 50
		var took []time.Duration
		for range 5 {
			began := time.Now()
			p, err := l.Rows(t.Context(), q.Query)
			if err != nil || len(p.Rows) != 50 {
				t.Fatalf("%s: %d rows (%v)", q.name, len(p.Rows), err)
			}
			took = append(took, time.Since(began))
		}
		first := took[0]
		slices.Sort(took)
		t.Logf("%-24s first %s, median %s", q.name, first.Round(time.Millisecond), took[2].Round(time.Millisecond))
		if took[2] > scalePage {
			t.Errorf("%s: median %s, want at most %s", q.name, took[2], scalePage)
		}
	}
	if info, err := os.Stat(filepath.Join(path, "recent.db")); err == nil {
		t.Logf("%d files of rows have %d MiB, the rows in none and the sums %d MiB", len(l.Segments()), l.segmentBytes()>>20, info.Size()>>20)
	}
}

// TestScale_Usage measures questions about the sums of ten million rows in a file.
func TestScale_Usage(t *testing.T) {
	l, path := scaleLog(t, "requests", func(l *Log) { fillCells(t, l.db, scaleFrom) })
	if err := l.Trim(); err != nil {
		t.Fatal(err)
	}
	end := scaleFrom.Add(30 * 24 * time.Hour).Unix()
	for _, q := range []struct {
		name string
		rollup.Query
	}{
		{"the total", rollup.Query{}},
		{"by day and model", rollup.Query{Granularity: "day", GroupBy: []rollup.Dim{rollup.Model}}},
		{"by key", rollup.Query{GroupBy: []rollup.Dim{rollup.Key}}},
		{"by team and day", rollup.Query{Granularity: "day", GroupBy: []rollup.Dim{rollup.Team}}},
		{"by customer", rollup.Query{GroupBy: []rollup.Dim{rollup.Customer}}},
		{"by tag and day", rollup.Query{Granularity: "day", GroupBy: []rollup.Dim{rollup.Tag}}},
		{"one key by day", rollup.Query{Granularity: "day", Filter: []rollup.Condition{{Dim: rollup.Key, Values: []string{"key_0000000000007"}}}}},
		{"the last week by hour", rollup.Query{From: end - 7*24*3600, Granularity: "hour"}},
		{"the last day by minute", rollup.Query{From: end - 24*3600, Granularity: "minute"}},
	} {
		if q.To == 0 {
			q.To = end
		}
		if err := q.Validate(); err != nil {
			t.Fatal(err)
		}
		var took []time.Duration
		var lines []rollup.Line
		for range 5 {
			began := time.Now()
			var err error
			if lines, err = l.Usage(t.Context(), q.Query); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		first := took[0]
		slices.Sort(took)
		t.Logf("%-24s %6d lines: first %s, median %s", q.name, len(lines), first.Round(time.Millisecond), took[2].Round(time.Millisecond))
		if took[2] > scaleLimit {
			t.Errorf("%s: median %s, want at most %s", q.name, took[2], scaleLimit)
		}
		var requests int64
		for i := range lines {
			requests += lines[i].Sums.Requests
		}
		if q.From == 0 && len(q.Filter) == 0 && requests != scaleRows {
			t.Errorf("%s: got %d requests, want %d", q.name, requests, scaleRows)
		}
	}
	if info, err := os.Stat(filepath.Join(path, "recent.db")); err == nil {
		t.Logf("the file has %d MiB", info.Size()>>20)
	}
}

// noSource is a journal without a record.
type noSource struct{}

func (noSource) ReadFrom(after uint64, _ int) ([]ledger.Record, uint64, error) {
	return nil, after, nil
}

func (noSource) Wait(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

func (noSource) Last() uint64                { return 0 }
func (noSource) SetSoftFloor(string, uint64) {}
