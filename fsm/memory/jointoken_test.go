package memory_test

import (
	"bytes"
	"testing"

	"github.com/conclave-llm/conclave/fsm/memory"
)

func FuzzParseJoinToken(f *testing.F) {
	for _, t := range []memory.JoinToken{
		{Expires: 1}, {Expires: 1 << 60, Created: 5, By: "master"}, {Expires: 7, Replaces: "node_1", By: "key/k", Created: 9},
	} {
		f.Add(t.Encode())
	}
	f.Add([]byte("short"))
	f.Add(append(memory.JoinToken{Expires: 1}.Encode(), 0xa1, 0x61, 'x', 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		tok, err := memory.ParseJoinToken(b)
		if err != nil {
			return
		}
		again, err := memory.ParseJoinToken(tok.Encode())
		if err != nil || again != tok {
			t.Errorf("%x reads as %+v, which reads back as %+v, %v", b, tok, again, err)
		}
		if len(b) == 8 && !bytes.Equal(b, tok.Encode()) {
			t.Errorf("%x is written as %x", b, tok.Encode())
		}
	})
}
