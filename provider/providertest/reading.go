package providertest

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// whole checks that an answer is read as it was meant.
func whole(t *testing.T, f *Format, res *chat.Response) {
	t.Helper()
	body := f.Script.Answer(res)
	got, err := f.out.DecodeResponse(body)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if d := cmp.Diff(f.gist(res), f.gist(got)); d != "" {
		t.Errorf("whole (-meant +read)\n%s\n%s", d, body)
	}
	r, err := f.row.Codec.Read(f.Endpoint, body)
	if err != nil || r.HasError {
		t.Fatalf("measured: %+v, %v: %s", r, err, body)
	}
	f.measured(t, "whole", res, got, &r)
	for at := range body { // but what no bytes follow that matter
		if _, err := f.out.DecodeResponse(body[:at]); err == nil && len(bytes.TrimSpace(body[at:])) > 0 {
			t.Errorf("cut after %d bytes, it passes for whole: %s", at, body[:at])
		}
	}
}

// measured checks that the relay, which does not read all of an answer, counts what its reader does.
func (f *Format) measured(t *testing.T, what string, meant, got *chat.Response, r *llm.Report) {
	t.Helper()
	if r.HasUsage == f.lacks(Usages) {
		t.Errorf("%s: measured usage %v, want %v", what, r.HasUsage, !f.lacks(Usages))
	}
	if r.HasUsage {
		if d := cmp.Diff(f.used(got.Usage), f.used(r.Usage)); d != "" {
			t.Errorf("%s: usage (-read +measured)\n%s", what, d)
		}
	}
	if r.HasUsage {
		return // which spares counting the text
	}
	said := int64(0)
	for i := range meant.Choices {
		for _, p := range meant.Choices[i].Parts {
			if p.Type == chat.PartText || p.Type == chat.PartRefusal {
				said += int64(len(p.Text))
			}
		}
	}
	if r.TextBytes < said {
		t.Errorf("%s: measured %d bytes of text, want at least %d", what, r.TextBytes, said)
	}
}

// streams checks that a stream is read as it was meant, however its bytes come, and that none of
// its beginnings passes for the whole. Where a byte stands decides how events are divided, which is
// checked for each; what is read of the events that a cut leaves, for each byte of one stream of a
// dialect, and for the ends and the middles of the events of all others.
func streams(t *testing.T, f *Format, chunks []chat.Chunk, each bool) {
	t.Helper()
	var meant chat.Collector
	for i := range chunks {
		meant.Add(&chunks[i])
	}
	res := meant.Response()
	want := f.gist(res)
	list := f.Script.Stream(chunks)
	raw := bytes.Join(list, nil)
	got, err := f.read(bytes.NewReader(raw))
	r, failed := f.measure(bytes.NewReader(raw))
	if err != nil || failed != nil || r.HasError || !f.whole(&r) {
		t.Fatalf("%v; measured %+v, %v\n%s", err, r, failed, raw)
	}
	if d := cmp.Diff(want, f.gist(got)); d != "" {
		t.Fatalf("streamed (-meant +read)\n%s\n%s", d, raw)
	}
	f.measured(t, "streamed", res, got, &r)
	if f.divides {
		divided(t, f, raw)
	}
	for at := range cuts(list, each) {
		f.truncated(t, raw[:at], want)
	}
}

// divided checks that a stream is divided into the same events wherever its bytes are.
func divided(t *testing.T, f *Format, raw []byte) {
	t.Helper()
	want, err := f.events(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	for at := range len(raw) + 1 {
		got, err := f.events(pieces(raw, at))
		if err != nil || !slices.Equal(want, got) {
			t.Fatalf("split at byte %d: %v (-whole +split)\n%s\n%s", at, err, cmp.Diff(want, got), raw)
		}
	}
}

// events are the types and the data of a stream's events.
func (f *Format) events(src io.Reader) (list []string, err error) {
	events := f.frames(src, 0)
	for {
		e, err := events.Next()
		if err != nil {
			if err == io.EOF { //nolint:errorlint // a reader of events returns the very value
				err = nil
			}
			return list, err
		}
		if e.Data != nil {
			list = append(list, string(e.Type)+" "+string(e.Data))
		}
	}
}

// cuts are where a stream is cut: at each byte, or at the ends, the last bytes and the middles of its events.
func cuts(list [][]byte, each bool) iter.Seq[int] {
	return func(yield func(int) bool) {
		begin := 0
		for _, e := range list {
			for i := range e {
				if (each || i == 0 || i == 1 || i == len(e)/2 || i > len(e)-4) && !yield(begin+i) {
					return
				}
			}
			begin += len(e)
		}
	}
}

// truncated checks that the beginning of a stream is an error, unless all of the answer but the
// count of its tokens stands in it, or nothing marks the end.
func (f *Format) truncated(t *testing.T, raw []byte, want []string) {
	t.Helper()
	got, err := f.read(bytes.NewReader(raw))
	if err != nil {
		e, ok := errors.AsType[*llm.Error](err)
		if !errors.Is(err, io.ErrUnexpectedEOF) && (!ok || e.Kind != llm.Upstream || e.Code != "upstream_cut") {
			t.Errorf("cut after %d bytes: got %v, want upstream_cut\n%s", len(raw), err, raw)
		}
		if r, failed := f.measure(bytes.NewReader(raw)); failed == nil && !f.lacks(Ends) && f.whole(&r) {
			t.Errorf("cut after %d bytes, the relay takes it for whole: %+v\n%s", len(raw), r, raw)
		}
		return
	}
	if f.lacks(Ends) {
		return // it ends with an event: read sees to that
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

// frames splits the bytes of a stream into events of at most so many bytes.
func (f *Format) frames(src io.Reader, most int) llm.EventReader {
	if r := f.row.Codec.Frames(f.Endpoint, src, most); r != nil {
		return r
	}
	return llm.NewSSEReader(src, most)
}

// next is the next event with data, io.EOF at the end. Where nothing but the last byte marks the end, that
// of an event is no end.
func (f *Format) next(events llm.EventReader) (llm.Event, error) {
	for {
		e, err := events.Next()
		if err != nil || e.Data != nil {
			return e, err
		}
		if e.Cut && f.lacks(Ends) {
			return e, io.ErrUnexpectedEOF
		}
	}
}

// measure reads a stream as the relay does that passes it on: it counts, and looks for the end.
func (f *Format) measure(src io.Reader) (sum llm.Report, err error) {
	events, meter := f.frames(src, 0), f.row.Codec.Meter(f.Endpoint)
	for !sum.Done {
		e, err := f.next(events)
		if err == io.EOF { //nolint:errorlint // a reader of events returns the very value
			break
		}
		if err != nil {
			return sum, err
		}
		var r llm.Report
		switch {
		case meter != nil:
			r, err = meter.Event(e)
		case string(e.Data) == "[DONE]":
			r.Done = true
		default:
			r, err = f.row.Codec.Read(f.Endpoint, e.Data)
		}
		if err != nil {
			return sum, err
		}
		if r.HasUsage {
			sum.Usage, sum.HasUsage = r.Usage, true
		}
		sum.TextBytes += r.TextBytes
		sum.Seen |= r.Seen
		sum.Finished |= r.Finished
		sum.Done = r.Done
		if sum.HasError = r.HasError; sum.HasError {
			break
		}
	}
	return sum, nil
}

// whole says that the relay takes what it measured for a whole stream.
func (f *Format) whole(r *llm.Report) bool {
	return r.Done || f.row.NoEndMark || r.Seen != 0 && r.Seen == r.Finished
}

// read reads a stream as the gateway does that says it in another dialect.
func (f *Format) read(src io.Reader) (*chat.Response, error) {
	events, dec := f.frames(src, 0), f.out.NewDecoder()
	var c chat.Collector
	done := false
	take := func(list []chat.Chunk) {
		for i := range list {
			c.Add(&list[i])
			done = done || list[i].Type == chat.ChunkEnd
		}
	}
	for !done {
		e, err := f.next(events)
		if err == io.EOF { //nolint:errorlint // a reader of events returns the very value
			break
		}
		if err != nil {
			return nil, err
		}
		list, err := dec.Decode(nil, e)
		switch {
		case err != nil && e.Cut:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
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
	if f.lacks(Tools) || f.lacks(Parallel) {
		return // why, its Lacks say
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
