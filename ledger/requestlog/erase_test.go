package requestlog

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// A person is forgotten in rows that are sealed, by this version and by the one before, and in
// those that are not; the chain verifies, amounts stay, and what was changed is found out.
func TestLog_Erase(t *testing.T) {
	t.Parallel()
	const canary = "ada-lovelace"
	now := time.Date(2026, 5, 1, 12, 30, 0, 0, time.UTC)
	j, err := ledger.OpenJournal(ledger.Config{Dir: t.TempDir(), NodeID: "n1", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // of a test
	dir := t.TempDir()
	open := func() *Log {
		l, err := Open(Config{
			Dir: dir, NodeID: "n1", Source: j, Now: func() time.Time { return now },
			Sign: func(parts ...string) ([]byte, error) { return []byte(strings.Join(parts, "|"))[:16], nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	defer func() { _ = l.Close() }()
	write := func() {
		for _, who := range []string{canary, "other", canary} {
			r := ledger.Record{
				RequestID: "r", Model: "demo", Status: 200, Cost: 7, CustomerID: who, SessionID: "s-" + who, User: who, Usage: llm.Usage{Input: 5, Source: llm.UsageProvider},
				Charges: []ledger.AccountCharge{{Account: resource.Account("customer", who, "total"), Amount: 7}},
			}
			if err := j.Settle(0, &r); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.WaitTaken(t.Context(), j.Last()); err != nil {
			t.Fatal(err)
		}
	}
	seal := func(version int) {
		l.workMu.Lock()
		l.sealAs = version
		l.workMu.Unlock()
		if err := l.Seal(now.Add(2 * time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	write()
	seal(1)
	write()
	seal(segment.Version)
	write() // stays in bbolt
	cut := j.Last()
	write()
	before, err := l.Check(t.Context())
	if err != nil || len(before.Differences) > 0 || before.Chained != 2 {
		t.Fatalf("before: got %+v, %v", before, err)
	}
	p := Person{Order: "e1", Kind: resource.HolderCustomer, ID: canary, Pseudonym: "erased-1"}
	for _, want := range []int64{6, 0} {
		if n, err := l.Erase(t.Context(), p, cut); err != nil || n != want {
			t.Fatalf("got %d rows, %v, want %d", n, err, want)
		}
	}
	for round := range 2 {
		after, err := l.Check(t.Context())
		if err != nil || len(after.Differences) > 0 || after.Requests != 12 {
			t.Fatalf("after: got %+v, %v", after, err)
		}
		if after.Head != before.Head {
			t.Errorf("the head of the chain changed from %s to %s", before.Head, after.Head)
		}
		for customer, want := range map[string]int64{canary: 2, p.Pseudonym: 6, "other": 4} {
			q := rollup.Query{To: now.Unix() + 86400, Granularity: "day", Filter: []rollup.Condition{{Dim: rollup.Customer, Values: []string{customer}}}}
			lines, err := l.Usage(t.Context(), q)
			if err != nil || len(lines) != 1 || lines[0].Sums.Requests != want || lines[0].Sums.Cost != 7*want {
				t.Errorf("%s: got %+v, %v, want %d requests", customer, lines, err, want)
			}
			page, err := l.Rows(t.Context(), Query{Limit: 100, Filter: Filter{Names: map[string][]string{"customer": {customer}}}})
			if err != nil || int64(len(page.Rows)) != want {
				t.Errorf("%s: got %d rows, %v, want %d", customer, len(page.Rows), err, want)
			}
			for _, r := range page.Rows {
				if customer == p.Pseudonym && (r.Session != "" || strings.Contains(r.Receipt, canary) || !strings.Contains(r.Receipt, `"amount":7`)) {
					t.Errorf("the row still tells of the person: %+v", r)
				}
			}
		}
		if round == 0 { // and after a restart, with more behind it
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open()
			seal(segment.Version)
			after, err := l.Check(t.Context())
			if err != nil || len(after.Differences) > 0 || after.Chained != 3 {
				t.Fatalf("sealed afterwards: got %+v, %v", after, err)
			}
			before.Head = after.Head
		}
	}
	for _, s := range l.Segments()[:2] {
		b, err := os.ReadFile(l.path(&s))
		if err != nil || strings.Contains(string(b), canary) {
			t.Errorf("segment %s still has the name (%v)", s.Name, err)
		}
	}
	forge(t, l, 0, func(r *Row) { r.Cost++ }) // of a row whose person is forgotten
	forge(t, l, 1, func(r *Row) { r.Cost++ })
	forged, err := l.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range l.Segments()[:2] {
		if !slices.ContainsFunc(forged.Differences, func(d string) bool { return strings.Contains(d, "segment "+s.Name+": row") }) {
			t.Errorf("the changed amount in %s is not found out: %q", s.Name, forged.Differences)
		}
	}
}

// forge writes a segment again with its first row changed, and its chain as it was.
func forge(t *testing.T, l *Log, i int, change func(r *Row)) {
	t.Helper()
	s := l.Segments()[i]
	var rows []Row
	if _, err := segment.Read(l.path(&s), func(r *Row) error { rows = append(rows, *r); return nil }); err != nil {
		t.Fatal(err)
	}
	change(&rows[0])
	f, err := os.Create(l.path(&s))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()              //nolint:errcheck // of a test
	var unlinked segment.Chained // while the rows are written
	out, err := segment.NewWriter(f, "n1", &unlinked)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Write(rows); err != nil {
		t.Fatal(err)
	}
	unlinked = s.Chained
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
