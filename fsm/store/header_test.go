package store_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	want := store.Header{FSMVersion: 1, Index: 2, Term: 3, Generation: 4, Size: 5, StateHash: [16]byte{6}, SHA256: [32]byte{7}, ClusterID: "c"}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.ReadHeader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("header differs (-want +got):\n%s", d)
	}
	b[30]++
	if _, err := store.DecodeHeader(b); !errors.Is(err, frame.ErrDamaged) {
		t.Errorf("got %v, want %v", err, frame.ErrDamaged)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	b, err := store.Header{Index: 2, ClusterID: "c"}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := store.DecodeHeader(b)
		if err != nil {
			return
		}
		again, err := h.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is read as what is written %x (%v)", b, again, err)
		}
	})
}
