package ledger_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/ledger"
)

// Names are changed in all files while others write; no record is lost or moved, and those
// after the number keep theirs.
func TestJournal_Rewrite(t *testing.T) {
	t.Parallel()
	const canary = "ada-lovelace"
	dir := t.TempDir()
	j, err := ledger.OpenJournal(ledger.Config{Dir: dir, NodeID: "n1", SegmentBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	write := func(n int, who string) {
		for range n {
			holds := []ledger.AccountCharge{{Account: "customer/" + "x" + "/total", Amount: 1}}
			at, err := j.Reserve(&ledger.Reservation{RequestID: "r", CustomerID: who, Holds: holds})
			if err != nil {
				t.Error(err)
				return
			}
			if err := j.Settle(at, &ledger.Record{RequestID: "r", CustomerID: who, Status: 200, Cost: 1}); err != nil {
				t.Error(err)
			}
		}
	}
	write(100, canary)
	upTo := j.Last()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { write(50, "somebody else") })
	}
	n, err := j.Rewrite(upTo, func(n *ledger.Names) bool {
		if n.CustomerID == nil || *n.CustomerID != canary {
			return false
		}
		*n.CustomerID = strings.Repeat("x", len(canary))
		return true
	})
	wg.Wait()
	if err != nil || n != 200 {
		t.Errorf("got %d records, %v, want 200", n, err)
	}
	if _, err := j.Rewrite(j.Last(), func(n *ledger.Names) bool {
		if n.CustomerID != nil {
			*n.CustomerID = "of another length"
		}
		return n.CustomerID != nil
	}); err == nil {
		t.Error("a name of another length is accepted")
	}
	for range 2 {
		records, _, err := j.ReadFrom(0, 1000)
		if err != nil || len(records) != 300 {
			t.Fatalf("got %d records, %v, want 300", len(records), err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if j, err = ledger.OpenJournal(ledger.Config{Dir: dir, NodeID: "n1"}); err != nil || j.Holes() > 0 {
			t.Fatalf("open again: %v, %d holes", err, j.Holes())
		}
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte(canary)) {
			t.Errorf("%s still has the name (%v)", path, err)
		}
	}
}
