package entry_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm/entry"
	"github.com/conclave-llm/conclave/resource"
)

var sample = entry.Envelope{
	At: 1, Actor: entry.Actor{Kind: "key", ID: "k1", Version: 2}, RequestID: "r",
	CommandID: [16]byte{3}, ReadIndex: 4, FSMVersion: 5,
}

func TestEncode(t *testing.T) {
	t.Parallel()
	b, err := entry.Encode(sample, 16, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	env, kind, body, err := entry.Decode(b)
	if err != nil || kind != 16 || string(body) != "body" {
		t.Errorf("got kind %d, body %q (%v)", kind, body, err)
	}
	if d := cmp.Diff(sample, env); d != "" {
		t.Errorf("envelope differs (-want +got):\n%s", d)
	}
	b[20]++
	if _, _, _, err := entry.Decode(b); !errors.Is(err, entry.ErrMalformed) {
		t.Errorf("a flipped byte: got %v, want %v", err, entry.ErrMalformed)
	}
}

func TestEncode_TooLarge(t *testing.T) {
	t.Parallel()
	if _, err := entry.Encode(sample, 1, make([]byte, entry.MaxSize)); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("got %v, want %v", err, resource.ErrRefused)
	}
	long := sample
	long.RequestID = strings.Repeat("x", 256)
	if _, err := entry.Encode(long, 1, nil); err == nil {
		t.Error("a request id of 256 bytes was taken")
	}
}

func FuzzDecode(f *testing.F) {
	b, err := entry.Encode(sample, 16, []byte("body"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		env, kind, body, err := entry.Decode(b)
		if err != nil {
			return
		}
		if again, err := entry.Encode(env, kind, body); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is read as what is written %x (%v)", b, again, err)
		}
	})
}
