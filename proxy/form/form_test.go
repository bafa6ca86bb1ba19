package form_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/form"
)

const kind = `multipart/form-data; boundary=b`

func part(head, value string) string {
	return "--b\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + value + "\r\n"
}

func TestForm_JSON(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, body, want string }{
		{"nothing", "--b--\r\n", `{}`},
		{"texts", part(`name="model"`, "m") + part(`name="prompt"`, "a\"b\r\nc") + "--b--", `{"model":"m","prompt":"a\"b\u000d\nc"}`},
		{"kinds", part(`name="stream"`, "True") + part(`name="n"`, "2") + part(`name="metadata"`, `{"tags":["x"]}`) + "--b--", `{"stream":true,"n":2,"metadata":{"tags":["x"]}}`},
		{"lists", part(`name="g[]"`, "a") + part(`name="z"`, "") + part(`name="g[]"`, "b") + "--b--", `{"g":["a","b"],"z":""}`},
		{"files are left out", part(`name="file"; filename="a"`, "\x00\xff--b\r\n--c") + part(`name="model"`, "m") + "--b--", `{"model":"m"}`},
		{"preamble", "hello\r\n" + part(`name="a"`, "b") + "--b--\r\nbye", `{"a":"b"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := form.Parse(kind, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.JSON(); err != nil || string(got) != tt.want {
				t.Errorf("got %s and %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestForm_Changed(t *testing.T) {
	t.Parallel()
	body := part(`name="model"`, "m") + part(`name="n"`, "2") + part(`name="g[]"`, "a") + part(`name="p"`, "q") + "--b--"
	f, err := form.Parse(kind, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, body string
		want       map[string]string // nil: an error
	}{
		{"nothing", `{"model":"m","n":2,"g":["a"],"p":"q"}`, map[string]string{}},
		{"other words for the same", `{"model":"m","n":2,"g":["a"],"p":"\u0071"}`, map[string]string{}},
		{"a text", `{"model":"m","n":2,"g":["a"],"p":"r"}`, map[string]string{"p": "r"}},
		{"a list", `{"model":"m","n":2,"g":["b"],"p":"q"}`, nil},
		{"a number", `{"model":"m","n":3,"g":["a"],"p":"q"}`, nil},
		{"a text that is none now", `{"model":"m","n":2,"g":["a"],"p":null}`, nil},
		{"one left out", `{"model":"m","n":2,"g":["a"]}`, nil},
		{"one more", `{"model":"m","n":2,"g":["a"],"p":"q","x":"y"}`, nil},
		{"no object", `[]`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := f.Changed([]byte(tt.body))
			if (err != nil) != (tt.want == nil) || err == nil && !maps.Equal(got, tt.want) {
				t.Errorf("got %v and %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestForm_Pieces(t *testing.T) {
	t.Parallel()
	body := part(`name="tags[]"`, "x") + part(`name="file"; filename="f"`, "SOUND") + part(`name="model"`, "m") + part(`name="p"`, "q") + "--b--"
	for _, tt := range []struct {
		name  string
		edits form.Edits
		want  string
	}{
		{"nothing", form.Edits{}, body + "\r\n"},
		{"model", form.Edits{Model: "other"}, strings.Replace(body, "\r\nm\r\n", "\r\nother\r\n", 1) + "\r\n"},
		{"drop and text", form.Edits{Drop: []string{"tags"}, Texts: map[string]string{"p": "r"}}, strings.Replace(strings.TrimPrefix(body, part(`name="tags[]"`, "x")), "\r\nq\r\n", "\r\nr\r\n", 1) + "\r\n"},
		{"a text is no part", form.Edits{Texts: map[string]string{"p": "r\r\n--b--"}}, strings.Replace(body, "\r\nq\r\n", "\r\nr\r\n--\r\n", 1) + "\r\n"},
		{"model added", form.Edits{Drop: []string{"model"}, Model: "new"}, strings.Replace(body, part(`name="model"`, "m"), "", 1)[:len(body)-len(part(`name="model"`, "m"))-5] + part(`name="model"`, "new") + "--b--\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := form.Parse(kind, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(bytes.Join(f.Pieces(tt.edits), nil)); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, kind, body string }{
		{"no boundary", "multipart/form-data", "--b--"},
		{"another kind", "text/plain; boundary=b", "--b--"},
		{"no part", kind, "hello"},
		{"cut", kind, part(`name="a"`, "b")},
		{"cut header", kind, "--b\r\nContent-Disposition: form-data; name=\"a\""},
		{"cut value", kind, "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nxyz"},
		{"boundary behind a header", kind, "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n--b--"},
		{"boundary behind a line feed", kind, "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\n--b\r\n\r\n--b--"},
		{"no name", kind, part("x=y", "b") + "--b--"},
		{"a longer boundary", kind, "--bc\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b--"},
		{"model in a file", kind, part(`name="model"; filename="m"`, "x") + "--b--"},
		{"encoded", kind, "--b\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--"},
		{"too many", kind, strings.Repeat(part(`name="a"`, "b"), 300) + "--b--"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := form.Parse(tt.kind, []byte(tt.body))
			var e *llm.Error
			if !errors.As(err, &e) || e.Kind != llm.Invalid || e.Code != "invalid_form" {
				t.Errorf("got %v, want invalid_form", err)
			}
		})
	}
}

// What is sent on must mean to another reader of forms what it means here.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		"--b--", part(`name="model"`, "m") + "--b--", part(`name="a[]"`, "x") + part(`name="f"; filename="y"`, "z") + "--b--",
		"pre\r\n" + part(`name="a"`, "") + "--b--\r\npost", part(`name="a`, "b"), "--b\r\n\r\n\r\n--b--",
		"--b\r\nContent-Disposition:form-dAtA;nAme=\"000\"\r\n\r\n--b--0",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := form.Parse(kind, body)
		if err != nil {
			return
		}
		fields, err := p.JSON()
		if err == nil && !json.Valid(fields) {
			t.Fatalf("%q became %s", body, fields)
		}
		r := multipart.NewReader(bytes.NewReader(bytes.Join(p.Pieces(form.Edits{Model: "new"}), nil)), "b")
		models := 0
		for {
			q, err := r.NextPart()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return // a header that the other reader does not take
			}
			v, err := io.ReadAll(q)
			if err != nil {
				return
			}
			if q.FormName() == "model" {
				models++
				if string(v) != "new" {
					t.Fatalf("%q is sent on with the model %q", body, v)
				}
			}
		}
		if models == 0 {
			t.Fatalf("%q is sent on without a model", body)
		}
	})
}
