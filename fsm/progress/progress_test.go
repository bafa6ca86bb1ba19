package progress_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/progress"
	"github.com/conclave-llm/conclave/fsm/store"
)

func TestProgress_Wait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := progress.New()
		done := make(chan error, 1)
		go func() { done <- p.Wait(t.Context(), 3) }()
		for index := uint64(1); index <= 3; index++ {
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("the wait ended at %d: %v", index-1, err)
			default:
			}
			p.Move(store.Position{Index: index}, nil)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Wait(ctx, 4); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

func TestProgress_HashAt(t *testing.T) {
	t.Parallel()
	p := progress.New()
	h := frame.HashOf(1, []byte("k"), nil)
	p.Move(store.Position{Index: 2}, []progress.Mark{{Index: 2, Hash: h}})
	if got, ok := p.HashAt(2); !ok || got != h.Bytes() {
		t.Errorf("got %x, %v", got, ok)
	}
	p.Move(store.Position{Index: 2 + 8192}, []progress.Mark{{Index: 2 + 8192, Hash: h}})
	for _, index := range []uint64{0, 1, 2} {
		if _, ok := p.HashAt(index); ok {
			t.Errorf("there is a hash at %d", index)
		}
	}
}

// TestProgress_Marks has the marks in order, and none of a state that another has replaced.
func TestProgress_Marks(t *testing.T) {
	t.Parallel()
	p := progress.New()
	mark := func(index uint64) progress.Mark {
		return progress.Mark{Index: index, Hash: frame.HashOf(1, []byte{byte(index)}, nil)}
	}
	want := func(indexes ...uint64) {
		t.Helper()
		var got []uint64
		for _, m := range p.Marks() {
			got = append(got, m.Index)
			if h, ok := p.HashAt(m.Index); !ok || h != m.Hash.Bytes() {
				t.Errorf("hash at %d: %x, %v", m.Index, h, ok)
			}
		}
		if !slices.Equal(got, indexes) {
			t.Errorf("marks of %v, want %v", got, indexes)
		}
	}
	want()
	p.Move(store.Position{Index: 4}, []progress.Mark{mark(2), mark(4)})
	p.Move(store.Position{Index: 3 + 8192}, []progress.Mark{mark(3 + 8192)})
	want(4, 3+8192)
	p.Begin(store.Position{Index: 5, Hash: mark(5).Hash})
	want(5)
	p.Move(store.Position{Index: 6}, []progress.Mark{mark(6)})
	want(5, 6)
}
