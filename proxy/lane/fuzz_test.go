package lane

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

// FuzzRequest checks that what is made of an event is a request for a stream, with all else kept.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"type":"response.create","model":"m","input":"x","stream":false,"stream_id":"a"}`,
		`{"type":"response.create"}`, `{"type":"x"}`, `{"type":"response.create","background":true}`, `[]`, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := readRequest(raw, true)
		if err != nil {
			var known *llm.Error
			if !errors.As(err, &known) || known.Kind != llm.Invalid {
				t.Fatalf("error %v", err)
			}
			return
		}
		if json.Valid(raw) && !json.Valid(r.body) {
			t.Fatalf("%s became %s", raw, r.body)
		}
		if string(member(r.body, "stream")) != "true" || member(r.body, "background") != nil {
			t.Fatalf("%s became %s", raw, r.body)
		}
		if e := errorEvent(&llm.Error{Message: string(raw)}, r.lane); !json.Valid(e) {
			t.Fatalf("error event %s", e)
		}
		if len(raw) > 1 {
			if n := named(raw, "x"); json.Valid(raw) && raw[len(raw)-1] == '}' && len(raw) > 2 && !json.Valid(n) {
				t.Fatalf("%s became %s", raw, n)
			}
		}
	})
}
