package llm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

func TestCursor(t *testing.T) {
	t.Parallel()
	c := llm.NewCursor([]byte(`{"t\u0065xt":"a\nb","n":3.0,"f":-1.5,"b":true,"list":[1,"x",null],"no":7,"raw":{"a": 1}}`))
	var text, raw string
	var n int64
	var f float64
	var b bool
	var list []string
	for i := 0; c.Member(i); i++ {
		switch string(c.Name()) {
		case "text":
			text = c.Text()
		case "n":
			n, _ = c.Int()
		case "f":
			f, _ = c.Float()
		case "b":
			b, _ = c.Bool()
		case "list":
			for k := 0; c.Element(k); k++ {
				list = append(list, c.Text())
			}
		case "no":
			for k := 0; c.Member(k); k++ {
				t.Error("a number has members")
			}
		default:
			raw = string(c.Copy())
		}
	}
	if err := c.End(); err != nil || text != "a\nb" || n != 3 || f != -1.5 || !b || len(list) != 3 || list[1] != "x" || raw != `{"a": 1}` {
		t.Errorf("got %q %d %v %v %q %q, %v", text, n, f, b, list, raw, err)
	}
}

func TestCursor_Wrong(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `{`, `{"a"`, `{"a":1,}`, `{"a":1}x`, `[1`} {
		c := llm.NewCursor([]byte(body))
		c.Raw()
		if c.End() == nil {
			t.Errorf("%q: no error", body)
		}
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	b := llm.AppendKey([]byte("{"), "a")
	b = llm.AppendRaw(b, []byte("[1,\r\n2]"))
	b = llm.AppendKey(b, "b")
	b = llm.AppendRaw(b, nil)
	if got := string(b) + "}"; got != `{"a":[1,2],"b":null}` {
		t.Errorf("got %s", got)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"c"}],"d":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := llm.NewCursor(b)
		walk(&c, 0)
		if ok := c.End() == nil; ok && !json.Valid(b) {
			t.Errorf("%q is taken", b)
		}
	})
}

func walk(c *llm.Cursor, depth int) {
	switch c.Next() {
	case '{':
		for n := 0; c.Member(n); n++ {
			walk(c, depth+1)
		}
	case '[':
		for n := 0; c.Element(n); n++ {
			walk(c, depth+1)
		}
	default:
		c.Raw()
	}
}

func TestCursor_Shared(t *testing.T) {
	long := strings.Repeat("A", 100<<10)
	for _, tt := range []struct{ text, want string }{
		{`"short"`, "short"},
		{`""`, ""},
		{`null`, ""},
		{`7`, ""},
		{`"` + long + `"`, long},
		{`"` + long + `\n"`, long + "\n"},
	} {
		c := llm.NewCursor([]byte(tt.text))
		if got := c.Shared(); got != tt.want || c.End() != nil {
			t.Errorf("%.20s: %.20q, %v", tt.text, got, c.Err())
		}
	}
	body := []byte(`"` + long + `"`)
	if n := testing.AllocsPerRun(10, func() { c := llm.NewCursor(body); _ = c.Shared() }); n > 0 {
		t.Errorf("a long string is copied: %v allocations", n)
	}
}
