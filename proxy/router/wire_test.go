package router

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWire(t *testing.T) {
	t.Parallel()
	want := []entry{{1 << 63, report{1, 2, 3, 4, flagSoft, 5}}, {7, report{65535, 65535, 65535, 255, 255, 65535}}}
	b := encode(42, want)
	golden := []byte{
		1, 2, 0, 0, 0, 0, 0, 0, 0, 42,
		128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 4, 1, 0, 5,
		0, 0, 0, 0, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	}
	if !bytes.Equal(b, golden) {
		t.Errorf("encode = %v, want %v", b, golden)
	}
	boot, got, err := decode(b)
	if err != nil || boot != 42 {
		t.Fatalf("decode: %d, %v", boot, err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{}, report{})); diff != "" {
		t.Errorf("decode (-want +got):\n%s", diff)
	}
	if n := len(encode(0, make([]entry, maxEntries))); n > maxPayload {
		t.Errorf("a full payload has %d bytes", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(1, []entry{{2, report{1, 2, 3, 4, 5, 6}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		boot, entries, err := decode(b)
		if err == nil && !bytes.Equal(encode(boot, entries), b) {
			t.Errorf("%x does not survive decoding and encoding", b)
		}
	})
}
