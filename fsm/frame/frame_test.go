package frame_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/fsm/frame"
)

func TestParse(t *testing.T) {
	t.Parallel()
	b := frame.Value{Version: 7, Flags: frame.FlagBlocked, Payload: []byte("x")}.Encode([]byte("a"))
	v, err := frame.Parse([]byte("a"), b)
	if err != nil || v.Version != 7 || v.Flags != frame.FlagBlocked || string(v.Payload) != "x" {
		t.Errorf("got %+v (%v)", v, err)
	}
	if _, err := frame.Parse([]byte("b"), b); !errors.Is(err, frame.ErrDamaged) {
		t.Errorf("under another key: got %v, want %v", err, frame.ErrDamaged)
	}
}

func TestHash_Order(t *testing.T) {
	t.Parallel()
	a, b := frame.HashOf(1, []byte("a"), []byte("x")), frame.HashOf(2, []byte("a"), []byte("x"))
	if a == b {
		t.Error("the bucket does not count")
	}
	if a.Plus(b) != b.Plus(a) || a.Plus(b).Minus(a) != b {
		t.Error("the order counts")
	}
	sum := a.Plus(b).Bytes()
	if frame.HashFrom(sum[:]) != a.Plus(b) {
		t.Error("bytes are read as another hash")
	}
}

func FuzzParse(f *testing.F) {
	key := []byte("key")
	f.Add(frame.Value{Version: 7, Flags: 1, Payload: []byte("x")}.Encode(key))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := frame.Parse(key, b)
		if err == nil && !bytes.Equal(v.Encode(key), b) {
			t.Errorf("%x is read as what is written %x", b, v.Encode(key))
		}
	})
}
