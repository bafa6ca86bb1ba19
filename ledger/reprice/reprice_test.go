package reprice_test

import (
	"context"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/reprice"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// failing writes some records and then fails.
type failing struct {
	*ledger.Journal
	left int
}

func (f *failing) Settle(n uint64, r *ledger.Record) error {
	if f.left == 0 {
		return errors.New("disk is gone")
	}
	f.left--
	return f.Journal.Settle(n, r)
}

// Booking that was interrupted is done by doing it again: each difference is booked once.
func TestOwn_interrupted(t *testing.T) {
	t.Parallel()
	j, err := ledger.OpenJournal(ledger.Config{Dir: t.TempDir(), NodeID: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // of a test
	l, err := requestlog.Open(requestlog.Config{Dir: t.TempDir(), NodeID: "n1", Source: j})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	for range 10 {
		r := ledger.Record{RequestID: "r", Model: "demo", Status: 200, Cost: 5, Usage: llm.Usage{Input: 1000, Source: llm.UsageProvider}}
		if err := j.Settle(0, &r); err != nil {
			t.Fatal(err)
		}
	}
	cached := ledger.Record{Model: "demo", Status: 200, Flags: ledger.Cached, Usage: llm.Usage{Input: 1000, Source: llm.UsageProvider}}
	if err := j.Settle(0, &cached); err != nil {
		t.Fatal(err)
	}
	f := &failing{j, 4}
	p := reprice.New(reprice.Config{
		Log: l, Journal: f, NodeID: "n1", Nodes: func() []requestlog.Node { return []requestlog.Node{{ID: "n1"}} },
		Adjust: func(cs []ledger.AccountCharge) []ledger.AccountCharge { return cs },
	})
	q := reprice.Question{Price: resource.Price{Input: 2 * resource.Dollar}, Apply: true, By: "master"}
	if out, err := p.Reprice(t.Context(), q); err != nil || len(out.Missing) != 1 {
		t.Fatalf("got %+v, %v, want the node missing", out, err)
	}
	f.left = 100
	for _, want := range []int64{6, 0} {
		out, err := p.Reprice(context.Background(), q)
		if err != nil || len(out.Lines) != 1 || out.Lines[0].Booked != want || out.Lines[0].Skipped != 1 {
			t.Errorf("got %+v, %v, want %d booked", out, err, want)
		}
	}
	if err := l.WaitTaken(t.Context(), j.Last()); err != nil {
		t.Fatal(err)
	}
	rep, err := l.Check(t.Context())
	if err != nil || len(rep.Differences) > 0 || rep.Requests != 11 {
		t.Errorf("got %+v, %v", rep, err)
	}
}
