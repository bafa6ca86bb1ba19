package providertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// An answer is one that a vendor may give.
type answer struct {
	name string
	res  *chat.Response
}

// answers is the table of answers that the dialect has words for.
func answers(f *Format) (list []answer) {
	add := func(name string, finish chat.Finish, parts []chat.Part, needs ...Lack) {
		if slices.ContainsFunc(needs, f.lacks) {
			return
		}
		list = append(list, answer{name, reply(chat.Choice{Parts: parts, Finish: finish})})
	}
	for _, fin := range f.Finishes {
		parts := []chat.Part{words("Hällo "), words("\"you\"\n")}
		switch fin {
		case chat.FinishTools:
			if f.lacks(Tools) {
				continue
			}
			parts = []chat.Part{call("c1", "look", `{"at":"home"}`)}
		case chat.FinishRefusal:
			if !f.lacks(Refusals) {
				parts = []chat.Part{{Type: chat.PartRefusal, Text: "no"}}
			}
		}
		add(fmt.Sprintf("that ends for reason %d", fin), fin, parts)
	}
	add("of a text and calls", chat.FinishTools, []chat.Part{words("both"), call("c1", "look", `{"at":"a \"b\" \\ é"}`), call("c2", "count", `{}`)}, Tools)
	add("of a call without arguments", chat.FinishTools, []chat.Part{call("c2", "count", ``)}, Tools)
	add("with thoughts", chat.FinishStop, []chat.Part{{Type: chat.PartReasoning, Text: "hm", Signature: "c2lnbmVk"}, words("so")}, Reasoning)
	add("with thoughts and a call", chat.FinishTools, []chat.Part{{Type: chat.PartReasoning, Text: "hm", Signature: "c2lnbmVk"}, call("c1", "look", `{"at":"home"}`)}, Reasoning, Tools)
	add("with hidden thoughts", chat.FinishStop, []chat.Part{{Type: chat.PartReasoning, Data: "aGlkZGVu"}, words("so")}, Reasoning, Redacted)
	if !f.lacks(Choices) {
		list = append(list, answer{"of two choices", reply(
			chat.Choice{Index: 0, Parts: []chat.Part{words("a")}, Finish: chat.FinishStop},
			chat.Choice{Index: 1, Parts: []chat.Part{words("b")}, Finish: chat.FinishLength},
		)})
	}
	return list
}

// reply is an answer of the choices.
func reply(choices ...chat.Choice) *chat.Response {
	return &chat.Response{
		ID: "r1", Model: "model", Created: 1735689600, Choices: choices,
		Usage: llm.Usage{Input: 10, CacheRead: 20, CacheWrite: 5, Output: 7, Reasoning: 3, Source: llm.UsageProvider},
	}
}

// whole checks that an answer is read as it was meant.
func whole(t *testing.T, f *Format, res *chat.Response) {
	t.Helper()
	body := f.Script.Answer(res)
	got, err := f.Out.DecodeResponse(body)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if d := cmp.Diff(f.gist(res), f.gist(got)); d != "" {
		t.Errorf("whole (-meant +read)\n%s\n%s", d, body)
	}
}

// streams checks that a stream is read as it was meant, however its bytes come, and that none of
// its beginnings passes for the whole.
func streams(t *testing.T, f *Format, chunks []chat.Chunk) {
	t.Helper()
	var meant chat.Collector
	for i := range chunks {
		meant.Add(&chunks[i])
	}
	want := f.gist(meant.Response())
	events := f.Script.Stream(chunks)
	raw := bytes.Join(events, nil)
	for at := range len(raw) + 1 {
		got, err := f.read(pieces(raw, at))
		if err != nil {
			t.Fatalf("split at byte %d: %v\n%s", at, err, raw)
		}
		if d := cmp.Diff(want, f.gist(got)); d != "" {
			t.Fatalf("split at byte %d (-meant +read)\n%s\n%s", at, d, raw)
		}
	}
	for at := range raw {
		f.truncated(t, raw[:at], want)
	}
}

// truncated checks that the beginning of a stream is an error, unless all of the answer but the
// count of its tokens stands in it.
func (f *Format) truncated(t *testing.T, raw []byte, want []string) {
	t.Helper()
	got, err := f.read(bytes.NewReader(raw))
	if err != nil {
		e, ok := errors.AsType[*llm.Error](err)
		if !errors.Is(err, io.ErrUnexpectedEOF) && (!ok || e.Kind != llm.Upstream || e.Code != "upstream_cut") {
			t.Errorf("cut after %d bytes: got %v, want upstream_cut\n%s", len(raw), err, raw)
		}
		return
	}
	if d := cmp.Diff(withoutUsage(want), withoutUsage(f.gist(got))); d != "" {
		t.Errorf("cut after %d bytes, it passes for whole (-meant +read)\n%s\n%s", len(raw), d, raw)
	}
}

func withoutUsage(list []string) (kept []string) {
	for _, line := range list {
		if !strings.HasPrefix(line, "usage ") {
			kept = append(kept, line)
		}
	}
	return kept
}

// pieces reads bytes in two pieces; past the end, one by one.
func pieces(b []byte, at int) io.Reader {
	if at == len(b) {
		return &single{b}
	}
	return io.MultiReader(bytes.NewReader(b[:at]), bytes.NewReader(b[at:]))
}

// single reads one byte at a time.
type single struct{ b []byte }

// Read implements io.Reader.
func (s *single) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	p[0] = s.b[0]
	s.b = s.b[1:]
	return 1, nil
}

// frames splits the bytes of a stream.
func (f *Format) frames(src io.Reader) llm.EventReader {
	if f.Codec != nil {
		if r := f.Codec.Frames(f.Endpoint, src, llm.DefaultMaxEvent); r != nil {
			return r
		}
	}
	return llm.NewSSEReader(src, 0)
}

// read reads a stream as the gateway does.
func (f *Format) read(src io.Reader) (*chat.Response, error) {
	events, dec := f.frames(src), f.Out.NewDecoder()
	var c chat.Collector
	done := false
	take := func(list []chat.Chunk) {
		for i := range list {
			c.Add(&list[i])
			done = done || list[i].Type == chat.ChunkEnd
		}
	}
	for !done {
		e, err := events.Next()
		if err == io.EOF { //nolint:errorlint // a reader of events returns the very value
			break
		}
		if err != nil {
			return nil, err
		}
		if e.Data == nil {
			continue
		}
		list, err := dec.Decode(nil, e)
		if err != nil {
			return nil, err
		}
		clear(e.Data) // chunks must not refer to it
		take(list)
	}
	if !done {
		list, err := dec.End(nil)
		if err != nil {
			return nil, err
		}
		if take(list); !done {
			return nil, errors.New("the stream ended without ChunkEnd")
		}
	}
	return c.Response(), nil
}

// interleaved checks calls in parallel whose pieces come in every order.
func interleaved(t *testing.T, f *Format) {
	if f.lacks(Tools) {
		t.Skip("it has no tools")
	}
	pieces := [2][]chat.Chunk{}
	for i, p := range []chat.Part{call("c1", "look", `{"at":"home"}`), call("c2", "count", `{"n":2}`)} {
		args := string(p.Arguments)
		pieces[i] = []chat.Chunk{
			{Type: chat.ChunkToolStart, Index: i, ID: p.ID, Name: p.Name},
			{Type: chat.ChunkToolArgs, Index: i, Text: args[:4]},
			{Type: chat.ChunkToolArgs, Index: i, Text: args[4:]},
		}
	}
	for order := range 1 << 6 {
		chunks := []chat.Chunk{{Type: chat.ChunkStart, ID: "r1", Model: "model", Created: 1735689600}}
		next := [2]int{}
		for i := range 6 {
			which := order >> i & 1
			if next[which] == 3 || which == 1 && next[0] == 0 { // the first call begins first
				chunks = nil
				break
			}
			chunks = append(chunks, pieces[which][next[which]])
			next[which]++
		}
		if chunks == nil {
			continue
		}
		chunks = append(chunks, chat.Chunk{Type: chat.ChunkFinish, Finish: chat.FinishTools}, chat.Chunk{Type: chat.ChunkUsage, Usage: reply().Usage}, chat.Chunk{Type: chat.ChunkEnd})
		var meant chat.Collector
		for i := range chunks {
			meant.Add(&chunks[i])
		}
		raw := bytes.Join(f.Script.Stream(chunks), nil)
		got, err := f.read(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("order %b: %v\n%s", order, err, raw)
		}
		if d := cmp.Diff(f.gist(meant.Response()), f.gist(got)); d != "" {
			t.Fatalf("order %b (-meant +read)\n%s\n%s", order, d, raw)
		}
	}
}

// broken checks that answers in which a value is another are no accident.
func broken(t *testing.T, f *Format) {
	check := func(b []byte, err error) {
		e, ok := errors.AsType[*llm.Error](err)
		if err != nil && (!ok || e.Kind == llm.Internal || e.Message == "" || e.HTTPStatus() < 400) {
			t.Errorf("%s: got %v, want an *llm.Error of the provider's", b, err)
		}
	}
	for _, b := range []string{"", "null", "[]", `"x"`, "{", "<html>", "\xff"} {
		res, err := f.Out.DecodeResponse([]byte(b))
		if err == nil {
			t.Errorf("%q: read as %+v", b, res)
		}
		check([]byte(b), err)
	}
	for _, a := range answers(f) {
		mutate(f.Script.Answer(a.res), func(b []byte) {
			_, err := f.Out.DecodeResponse(b)
			check(b, err)
		})
		f.brokenEvents(a.res, check)
	}
}

// brokenEvents decodes streams in each of whose events a value is another.
func (f *Format) brokenEvents(res *chat.Response, check func([]byte, error)) {
	var data []llm.Event
	events := f.frames(bytes.NewReader(bytes.Join(f.Script.Stream(chat.Chunks(nil, res)), nil)))
	for {
		e, err := events.Next()
		if err != nil {
			break
		}
		data = append(data, llm.Event{Data: bytes.Clone(e.Data), Type: bytes.Clone(e.Type)})
	}
	for i := range data {
		mutate(data[i].Data, func(b []byte) {
			dec := f.Out.NewDecoder()
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
	events := f.Script.Stream(chat.Chunks(nil, reply(chat.Choice{Parts: []chat.Part{words("a"), call("c1", "look", `{}`)}, Finish: chat.FinishTools})))
	for i := range len(events) - 2 {
		raw := append(bytes.Join(events[:i], nil), f.Failure...)
		_, err := f.read(bytes.NewReader(raw))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind == llm.Internal || e.Code == "upstream_cut" || e.Message == "" {
			t.Errorf("after %d events: got %v, want the provider's error\n%s", i, err, raw)
		}
	}
}
