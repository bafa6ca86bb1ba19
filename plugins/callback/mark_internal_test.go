package callback

import "testing"

func FuzzMark(f *testing.F) {
	f.Add(formatMark(0))
	f.Add(formatMark(1 << 63))
	f.Add([]byte("1 2"))
	f.Fuzz(func(t *testing.T, b []byte) {
		at, err := parseMark(b)
		if err == nil && string(formatMark(at)) != string(b) {
			t.Errorf("%q was read as %d", b, at)
		}
	})
}

func FuzzParseDeadLetters(f *testing.F) {
	f.Add([]byte(`{"position":1,"request_id":"r","reason":"x"}` + "\n" + `{"pos`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if list := parseDeadLetters(b); len(list) > len(b) {
			t.Errorf("%d letters in %d bytes", len(list), len(b))
		}
	})
}
