package transport

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzParseFrame(f *testing.F) {
	for _, fr := range []frame{
		{kind: frameCall, id: 7, timeout: time.Second, name: "propose", body: []byte("x")},
		{kind: frameAnswer, id: 1 << 63, body: []byte{}},
		{kind: frameError, name: "conflict", body: []byte("text")},
	} {
		b, err := fr.appendTo(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := parseFrame(b)
		if err != nil {
			return
		}
		if fr.timeout == 0 || fr.timeout > (1<<31)*time.Millisecond {
			return // written as 1 ms or as the maximum
		}
		again, err := fr.appendTo(nil)
		if err != nil || !bytes.Equal(again[4:], b) {
			t.Errorf("parsed %x, written %x, %v", b, again, err)
		}
		back, err := parseFrame(again[4:])
		if err != nil || !cmp.Equal(fr, back, cmp.AllowUnexported(frame{})) {
			t.Errorf("parsed again: %v, %v", back, err)
		}
	})
}
