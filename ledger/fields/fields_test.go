package fields

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func encoded() []byte {
	b := binary.AppendUvarint(nil, 1<<63)
	b = binary.AppendVarint(b, -7)
	b = append(binary.AppendUvarint(b, 3), "one"...)
	b = binary.AppendUvarint(b, 2)
	for _, s := range []string{"", "two"} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

func read(r *Reader) (u uint64, i int64, text string, list []string) {
	return r.Uint(), r.Int(), r.Text(), r.Texts()
}

func TestReader(t *testing.T) {
	t.Parallel()
	whole := encoded()
	r := &Reader{B: whole}
	if u, i, text, list := read(r); u != 1<<63 || i != -7 || text != "one" || !slices.Equal(list, []string{"", "two"}) || r.Done() != nil {
		t.Fatalf("got %d %d %q %q, %v", u, i, text, list, r.Done())
	}
	for n := range whole {
		r := &Reader{B: whole[:n]}
		if _, _, _, list := read(r); !errors.Is(r.Done(), ErrShort) || list != nil || r.Uint() != 0 || r.Count() != 0 {
			t.Errorf("cut at %d: got %v", n, r.Done())
		}
	}
	r = &Reader{B: append(slices.Clone(whole), 0)}
	if read(r); r.Done() == nil {
		t.Error("a byte too many is taken")
	}
}

func FuzzReader(f *testing.F) {
	f.Add(encoded())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Reader{B: b}
		read(r)
		if len(r.B) > len(b) || r.Err != nil && len(r.B) > 0 {
			t.Errorf("%d of %d bytes are left, %v", len(r.B), len(b), r.Err)
		}
	})
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"", 4, ""},
		{"José", 5, "José"},
		{"José", 4, "Jos"},
		{"Jos\xe9", 4, "Jos?"},
		{"\xff\xff", 1, "?"},
		{"日本", 5, "日"},
		{"日本", 2, ""},
		{"\ufffd", 3, "\ufffd"},
	} {
		if got := Cut(tt.in, tt.most); got != tt.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("Jos\xe9", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = min(max(most, 0), 1<<10)
		got := Cut(s, most)
		if !utf8.ValidString(got) || len(got) > most || len(Valid(s)) != len(s) || !strings.HasPrefix(Valid(s), got) {
			t.Errorf("Cut(%q, %d) = %q", s, most, got)
		}
		if again := Cut(got, most); again != got {
			t.Errorf("cut again it is %q, not %q", again, got)
		}
	})
}
