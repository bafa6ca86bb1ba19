package m365_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/m365"
)

// TestOpen: a conversation is made, and the message said in it, whole or as a stream; no conversation ends it.
func TestOpen(t *testing.T) {
	t.Parallel()
	for stream, want := range map[bool]string{false: "/copilot/conversations/a%2Fb/chat", true: "/copilot/conversations/a%2Fb/chatOverStream"} {
		first, next, err := m365.New().Open(llm.Place{Stream: stream}, []byte("BODY"))
		if err != nil || first.Path != "" || string(first.Body) != "{}" {
			t.Fatalf("got %+v, %v", first, err)
		}
		step, err := next([]byte(`{"id":"a/b","turnCount":0}`))
		if err != nil || step.Path != want || string(step.Body) != "BODY" || step.Stream != stream {
			t.Errorf("got %+v, %v, want %s", step, err, want)
		}
		if step, err := next([]byte(`{"id":"a/b","turnCount":1}`)); step != nil || err != nil {
			t.Errorf("got %+v, %v after the answer", step, err)
		}
	}
	for _, answer := range []string{`{}`, `[`, ``} {
		_, next, _ := m365.New().Open(llm.Place{}, nil)
		step, err := next([]byte(answer))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream {
			t.Errorf("%q: got %+v, %v", answer, step, err)
		}
	}
}

// FuzzStream: no events make the decoder or the meter panic. What is said begins with what the first event says,
// and both see as much of it.
func FuzzStream(f *testing.F) {
	f.Add("a", "ab", "ab", 1)
	f.Add("a", "b", "", 0)
	f.Add("ab", "a", "x", 1)
	f.Fuzz(func(t *testing.T, one, two, three string, turns int) {
		form := m365.New()
		dec, meter := form.NewDecoder(), form.Meter(llm.M365Chat)
		var list []chat.Chunk
		seen := int64(0)
		for i, text := range []string{one, two, three} {
			data := llm.AppendString([]byte(`{"id":"c","messages":[{"text":`), text)
			data = append(data, "}]"...)
			if i == 2 && turns > 0 {
				data = append(data, `,"turnCount":1`...)
			}
			e := llm.Event{Data: append(data, '}')}
			r, err := meter.Event(e)
			if err != nil {
				t.Fatal(err)
			}
			seen += r.TextBytes
			if list, err = dec.Decode(list, e); err != nil {
				t.Fatal(err)
			}
		}
		list, err := dec.End(list)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		finished := false
		for i := range list {
			if list[i].Type == chat.ChunkText && finished {
				t.Fatal("something is said after the end")
			}
			finished = finished || list[i].Type == chat.ChunkFinish
			b.WriteString(list[i].Text)
		}
		first := string(llm.AppendString(nil, one))
		if got := string(llm.AppendString(nil, b.String())); !strings.HasPrefix(got, strings.TrimSuffix(first, `"`)) || turns > 0 && int64(b.Len()) != seen {
			t.Fatalf("said %q of %q, %q, %q, and %d bytes were seen", b.String(), one, two, three, seen)
		}
	})
}
