package llm_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
)

type event struct {
	Raw, Data, Type string
	Cut             bool
}

func readEvents(t testing.TB, r io.Reader, maxEvent int) ([]event, error) {
	t.Helper()
	s := llm.NewSSEReader(r, maxEvent)
	var got []event
	for {
		e, err := s.Next()
		if err != nil {
			return got, err
		}
		if len(e.Raw) == 0 {
			t.Fatal("event without bytes")
		}
		got = append(got, event{string(e.Raw), string(e.Data), string(e.Type), e.Cut})
	}
}

func TestSSEReader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   string
		want []event
	}{
		{"empty", "", nil},
		{"two", "data: a\n\ndata: b\n\n", []event{{Raw: "data: a\n\n", Data: "a"}, {Raw: "data: b\n\n", Data: "b"}}},
		{"crlf", "data: a\r\n\r\ndata:b\r\n\r\n", []event{{Raw: "data: a\r\n\r\n", Data: "a"}, {Raw: "data:b\r\n\r\n", Data: "b"}}},
		{"cr", "data: a\r\rdata: b\r\r", []event{{Raw: "data: a\r\r", Data: "a"}, {Raw: "data: b\r\r", Data: "b"}}},
		{"comment", ": ping\n\ndata: a\n\n", []event{{Raw: ": ping\n\n"}, {Raw: "data: a\n\n", Data: "a"}}},
		{"type and id", "id: 7\nevent: x\ndata: a\nretry: 3\n\n", []event{{Raw: "id: 7\nevent: x\ndata: a\nretry: 3\n\n", Data: "a", Type: "x"}}},
		{"lines of data", "data: a\ndata\ndata:  c\n\n", []event{{Raw: "data: a\ndata\ndata:  c\n\n", Data: "a\n\n c"}}},
		{"blank lines before", "\n\r\ndata: a\n\n", []event{{Raw: "\n\r\ndata: a\n\n", Data: "a"}}},
		{"byte order mark", "\xEF\xBB\xBFdata: a\n\n", []event{{Raw: "\xEF\xBB\xBFdata: a\n\n", Data: "a"}}},
		{"cut in a line", "data: a\n\ndata: b", []event{{Raw: "data: a\n\n", Data: "a"}, {Raw: "data: b", Data: "b", Cut: true}}},
		{"cut before the blank line", "data: [DONE]\n", []event{{Raw: "data: [DONE]\n", Data: "[DONE]", Cut: true}}},
		{"cut after a CR", "data: a\r", []event{{Raw: "data: a\r", Data: "a", Cut: true}}},
		{"blank lines after", "data: a\n\n\n\n", []event{{Raw: "data: a\n\n", Data: "a"}, {Raw: "\n\n"}}},
		{"other fields", "datum: a\ndata : b\nd\n\n", []event{{Raw: "datum: a\ndata : b\nd\n\n"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for name, r := range map[string]io.Reader{
				"whole":          strings.NewReader(tt.in),
				"byte by byte":   iotest.OneByteReader(strings.NewReader(tt.in)),
				"data with EOF":  iotest.DataErrReader(strings.NewReader(tt.in)),
				"in two halves":  io.MultiReader(strings.NewReader(tt.in[:len(tt.in)/2]), strings.NewReader(tt.in[len(tt.in)/2:])),
				"half of a read": iotest.HalfReader(strings.NewReader(tt.in)),
			} {
				got, err := readEvents(t, r, 0)
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: got error %v, want EOF", name, err)
				}
				ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Raw" }, cmp.Ignore())
				if d := cmp.Diff(tt.want, withoutBlank(got), ignore); d != "" && name != "whole" {
					if d := cmp.Diff(withoutBlank(tt.want), withoutBlank(got), ignore); d != "" {
						t.Errorf("%s: events (-want +got):\n%s", name, d)
					}
				}
				if name == "whole" {
					if d := cmp.Diff(tt.want, got); d != "" {
						t.Errorf("%s: events (-want +got):\n%s", name, d)
					}
				}
				if all := raws(got); all != tt.in {
					t.Errorf("%s: got bytes %q, want %q", name, all, tt.in)
				}
			}
		})
	}
}

// withoutBlank leaves out events that are blank lines only; where the reads fall decides
// whether there are any.
func withoutBlank(list []event) []event {
	var kept []event
	for _, e := range list {
		if strings.Trim(e.Raw, "\r\n") != "" {
			kept = append(kept, e)
		}
	}
	return kept
}

func raws(list []event) string {
	var b strings.Builder
	for _, e := range list {
		b.WriteString(e.Raw)
	}
	return b.String()
}

func TestSSEReader_Big(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 3<<20)
	in := "data: small\n\ndata: " + big + "\n\ndata: last\n\n"
	got, err := readEvents(t, iotest.HalfReader(strings.NewReader(in)), 4<<20)
	if !errors.Is(err, io.EOF) || len(got) != 3 || got[1].Data != big || got[2].Data != "last" {
		t.Errorf("got %d events and %v, want 3 whole ones and EOF", len(got), err)
	}
	if _, err := readEvents(t, strings.NewReader(in), 1<<20); !errors.Is(err, llm.ErrEventTooLarge) {
		t.Errorf("got %v, want ErrEventTooLarge", err)
	}
}

func TestSSEReader_Error(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	got, err := readEvents(t, io.MultiReader(strings.NewReader("data: a\n\ndata: "), iotest.ErrReader(boom)), 0)
	if !errors.Is(err, boom) || len(got) != 2 || !got[1].Cut {
		t.Errorf("got %v and %v, want a whole and a cut event and boom", got, err)
	}
}

func FuzzSSEReader(f *testing.F) {
	f.Add([]byte("data: a\r\n\r\n: c\n\nevent: x\rdata\r\r"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, err := readEvents(t, bytes.NewReader(in), 0)
		if !errors.Is(err, io.EOF) {
			t.Fatalf("got %v, want EOF", err)
		}
		single, _ := readEvents(t, iotest.OneByteReader(bytes.NewReader(in)), 0)
		if raws(whole) != string(in) || raws(single) != string(in) {
			t.Fatalf("bytes were lost: got %q and %q of %q", raws(whole), raws(single), in)
		}
		ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Raw" }, cmp.Ignore())
		if d := cmp.Diff(withoutBlank(whole), withoutBlank(single), ignore); d != "" {
			t.Fatalf("the reads' sizes change the events (-whole +single):\n%s", d)
		}
	})
}

func TestSSEWriter(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := llm.NewSSEWriter(&b)
	if err := errors.Join(w.Comment("ok"), w.Event("", []byte("a\nb")), w.Event("x", nil)); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), ": ok\n\ndata: a\ndata: b\n\nevent: x\ndata: \n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkSSE(b *testing.B) {
	chunk := `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}` + "\n\n"
	stream := strings.Repeat(chunk, 500)
	src := strings.NewReader(stream)
	r := llm.NewSSEReader(src, 0)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(stream)
		r.Reset(src, 0)
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
	}
}
