package erasure_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/node/erasure"
	"github.com/conclave-llm/conclave/resource"
)

// order is an erasure that this node is to carry out; done is what it told.
type order struct {
	e    resource.Erasure
	rows int64
	told chan fsm.NoteErasure
}

func (o *order) PendingErasures() []*resource.Erasure { return []*resource.Erasure{&o.e} }

// Erase renames the rows once.
func (o *order) Erase(context.Context, requestlog.Person, uint64) (int64, error) {
	n := o.rows
	o.rows = 0
	return n, nil
}

func (o *order) EraseCopies(requestlog.Person) error { return nil }

type journal struct{}

func (journal) Rewrite(uint64, func(*ledger.Names) bool) (int, error) { return 0, nil }

type bodies struct{}

func (bodies) Erase(func(*contents.Owners) bool) (int, error) { return 0, nil }

// flaky deletes two things and fails, and then deletes the third.
type flaky struct{ tries int }

func (f *flaky) EraseOf(context.Context, string, string) (int, error) {
	if f.tries++; f.tries == 1 {
		return 2, errors.New("the disk is away")
	}
	return 1, nil
}

// TestRunner_Counts: the receipt counts what tries have erased of which a later part failed.
func TestRunner_Counts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &order{
			rows: 5, told: make(chan fsm.NoteErasure, 1),
			e: resource.Erasure{ID: "e1", Kind: resource.HolderUser, Subject: "ada", Pseudonym: "gone", Nodes: []resource.ErasureNode{{ID: "n1", Stage: resource.ErasureCut}}},
		}
		ctx, stop := context.WithCancel(t.Context())
		r := erasure.New(erasure.Config{
			NodeID: "n1", State: o, Rows: o, Journal: journal{}, Contents: bodies{}, Erasers: []erasure.Eraser{&flaky{}},
			Flush: func(context.Context) error { return nil }, CaughtUp: func() bool { return true }, Member: func(string) bool { return true },
			Propose: func(_ context.Context, cmd fsm.Command) error {
				note, _ := cmd.(fsm.NoteErasure)
				o.told <- note
				stop()
				return nil
			},
		})
		r.Run(ctx)
		if note := <-o.told; note.Rows != 5 || note.Contents != 3 || note.Stage != resource.ErasureOwn {
			t.Errorf("got %d rows and %d things at stage %d, want 5 and 3 at %d", note.Rows, note.Contents, note.Stage, resource.ErasureOwn)
		}
	})
}
