package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// FuzzEvent checks that what is changed in an event leaves valid JSON with all else kept.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{
		`{"type":"response.create","response":{"max_output_tokens":"inf"},"event_id":"x"}`,
		`{"type":"session.update","session":{"audio":{"input":{"turn_detection":null,"format":{"type":"audio/pcmu"}}}}}`,
		`{"type":"conversation.item.create","item":{"content":[{"type":"input_audio","audio":"AAAA"},{"image_url":"data:x"}]}}`,
		`{"type":"error","error":{"event_id":"x"}}`, `{"a":1,"a":2}`, `[`, `{"typ\u0065":"x","usage":{"seconds":1.5}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, strict := range []bool{true, false} {
			e, err := readEvent(raw, strict)
			if err != nil {
				var known *llm.Error
				if !errors.As(err, &known) || known.Kind != llm.Invalid {
					t.Fatalf("error %v", err)
				}
				continue
			}
			changed := putIn(put(e.raw, "event_id", quoted("x")), "response", "max_output_tokens", []byte("7"))
			next, err := readEvent(changed, false)
			if err != nil || json.Valid(raw) && !json.Valid(changed) {
				t.Fatalf("%s became %s: %v", raw, changed, err)
			}
			if next.id != "x" || next.kind != e.kind || string(member(changed, "response", "max_output_tokens")) != "7" {
				t.Fatalf("%s became %s", raw, changed)
			}
			var m meter
			m.item(e.item)
			m.formats(e.session)
			usageOf(e.usage)
			if all, media := m.prompt(); all < media || media < 0 {
				t.Fatalf("%d tokens, %d of media", all, media)
			}
		}
	})
}

// FuzzSecret checks that nothing opens but what was sealed.
func FuzzSecret(f *testing.F) {
	s := &Secrets{Derive: func(...string) ([]byte, error) { return []byte("0123456789abcdef"), nil }, Now: func() time.Time { return time.Unix(1000, 0) }}
	sealed, err := s.Seal(&Grant{Hash: resource.HashSecret("x"), Model: "m", Expires: 2000})
	if err != nil {
		f.Fatal(err)
	}
	if g, err := s.Open(sealed); err != nil || g.Model != "m" {
		f.Fatalf("what was sealed opens as %+v, %v", g, err)
	}
	f.Add("ek_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", []byte(`{"session":{"model":"m"},"expires_after":{"seconds":60}}`))
	f.Add("ek_", []byte(`{"model":"m"}`))
	f.Fuzz(func(t *testing.T, secret string, body []byte) {
		if g, err := s.Open(secret); err == nil {
			t.Fatalf("%q opens as %+v", secret, g)
		}
		for _, bare := range []bool{true, false} {
			if w, err := ReadWish(body, bare); err == nil && json.Valid(body) {
				if out, err := json.Marshal(w.Answer("s", 1, bare)); err != nil || !bytes.Contains(out, []byte(`"s"`)) {
					t.Fatalf("answer %s: %v", out, err)
				}
			}
		}
	})
}
