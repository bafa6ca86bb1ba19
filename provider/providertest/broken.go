package providertest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// broken checks that answers in which a value is another are no accident.
func broken(t *testing.T, f *Format) {
	check := func(b []byte, err error) {
		e, ok := errors.AsType[*llm.Error](err)
		if err != nil && (!ok || e.Kind == llm.Internal || e.Message == "" || e.HTTPStatus() < 400) {
			t.Errorf("%s: got %v, want an *llm.Error of the provider's", b, err)
		}
	}
	for _, b := range []string{"", "null", "[]", `"x"`, "{", "<html>", "\xff"} {
		res, err := f.out.DecodeResponse([]byte(b))
		if err == nil {
			t.Errorf("%q: read as %+v", b, res)
		}
		check([]byte(b), err)
	}
	list := answers(f)
	for i, a := range list {
		mutate(f.Script.Answer(a.res), func(b []byte) {
			_, err := f.out.DecodeResponse(b)
			check(b, err)
		})
		if !f.lacks(Streams) && (i == 0 || i >= len(f.Finishes)) { // those before differ in a reason alone
			f.brokenEvents(a.res, check)
		}
	}
	if f.lacks(Streams) {
		return
	}
	for _, raw := range []string{"", "<html>\n<body>Bad Gateway</body>\n</html>\n", "{}", "data: {\n\n", "\xff\xfe\n\n", ": ping\n\n"} {
		if res, err := f.read(strings.NewReader(raw)); err == nil {
			t.Errorf("the stream %q: read as %+v", raw, res)
		}
	}
}

// brokenEvents decodes streams in each of whose events a value is another.
func (f *Format) brokenEvents(res *chat.Response, check func([]byte, error)) {
	var data []llm.Event
	events := f.frames(bytes.NewReader(bytes.Join(f.Script.Stream(chat.Chunks(nil, res)), nil)), 0)
	for {
		e, err := events.Next()
		if err != nil {
			break
		}
		data = append(data, llm.Event{Data: bytes.Clone(e.Data), Type: bytes.Clone(e.Type)})
	}
	for i := range data {
		mutate(data[i].Data, func(b []byte) {
			dec := f.out.NewDecoder()
			for k, e := range data {
				if k == i {
					e.Data = b
				}
				if _, err := dec.Decode(nil, e); err != nil {
					check(b, err)
					return
				}
			}
			_, err := dec.End(nil)
			check(b, err)
		})
	}
}

// failures checks that an error in a stream is one, wherever it stands.
func failures(t *testing.T, f *Format) {
	said := chat.Choice{Parts: []chat.Part{words("a"), call("c1", "look", `{}`)}, Finish: chat.FinishTools}
	if f.lacks(Tools) {
		said = chat.Choice{Parts: []chat.Part{words("a"), words("b"), words("c")}, Finish: chat.FinishStop}
	}
	events := f.Script.Stream(chat.Chunks(nil, reply(said)))
	for i := range len(events) - 1 {
		raw := append(bytes.Join(events[:i], nil), f.Failure...)
		_, err := f.read(bytes.NewReader(raw))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind == llm.Internal || e.Code == "upstream_cut" || e.Message == "" {
			t.Errorf("after %d events: got %v, want the provider's error\n%s", i, err, raw)
		}
		if r, err := f.measure(bytes.NewReader(raw)); err == nil && !r.HasError {
			t.Errorf("after %d events: measured %+v, want the provider's error\n%s", i, r, raw)
		}
	}
}

// large checks that an event beyond the limit is refused, and one below it read.
func large(t *testing.T, f *Format) {
	const size, most = 300 << 10, 100 << 10
	said := reply(chat.Choice{Parts: []chat.Part{words(strings.Repeat("x", size))}, Finish: f.Finishes[0]})
	raw := bytes.Join(f.Script.Stream(chat.Chunks(nil, said)), nil)
	got, err := f.read(bytes.NewReader(raw))
	if err != nil || len(got.Choices) != 1 || len(chat.Text(got.Choices[0].Parts)) != size {
		t.Errorf("an event of %d bytes: got %v", size, err)
	}
	events := f.frames(bytes.NewReader(raw), most)
	for err = nil; err == nil; {
		_, err = events.Next()
	}
	if !errors.Is(err, llm.ErrEventTooLarge) {
		t.Errorf("an event of %d bytes where %d are the limit: got %v, want %v", size, most, err, llm.ErrEventTooLarge)
	}
	events = f.frames(io.MultiReader(bytes.NewReader(raw[:len(raw)/2]), failing{}), 0)
	for err = nil; err == nil; {
		_, err = events.Next()
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a connection that breaks: got %v, want its error", err)
	}
}

// failing is a connection that breaks.
type failing struct{}

// Read implements io.Reader.
func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
