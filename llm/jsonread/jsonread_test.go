package jsonread_test

import (
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

type read struct {
	name   string
	counts []int64
	stop   []string
	strict bool
}

func decode(body string) (got read, err error) {
	r := jsonread.New([]byte(body))
	r.Members(func(name string) {
		switch name {
		case "name":
			got.name = r.Str()
		case "list":
			r.List(func(int) {
				r.Entry(func(name string) {
					if name == "count" {
						got.counts = append(got.counts, r.Count())
						return
					}
					r.Raw()
				})
			})
		case "options":
			r.Object(func(name string) {
				switch name {
				case "strict":
					got.strict = r.True()
				case "stop":
					got.stop = r.Strs()
				default:
					r.Raw()
				}
			})
		default:
			r.Raw()
		}
	})
	return got, r.Finish()
}

func TestReader(t *testing.T) {
	got, err := decode(`{"name":"a","x":{"y":[1]},"list":[{"count":3},{"count":null,"z":1}],"options":{"strict":true,"stop":"end"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got.name != "a" || len(got.counts) != 2 || got.counts[0] != 3 || got.counts[1] != 0 || !got.strict || got.stop[0] != "end" {
		t.Fatalf("read %+v", got)
	}
}

func TestReader_Null(t *testing.T) {
	if _, err := decode(`{"name":null,"list":null,"options":null}`); err != nil {
		t.Fatal(err)
	}
}

func TestReader_NamesTheField(t *testing.T) {
	for body, param := range map[string]string{
		`{"name":1}`:                          "name",
		`{"list":{}}`:                         "list",
		`{"list":[{"count":1},7]}`:            "list[1]",
		`{"list":[{"count":1},{"count":-1}]}`: "list[1].count",
		`{"list":[{"count":"1"}]}`:            "list[0].count",
		`{"options":[]}`:                      "options",
		`{"options":{"strict":1}}`:            "options.strict",
		`{"options":{"stop":["a",2]}}`:        "options.stop[1]",
		`{"name":2,"options":{"strict":1}}`:   "name",
	} {
		var wrong *llm.Error
		if _, err := decode(body); !errors.As(err, &wrong) || wrong.Param != param {
			t.Errorf("%s: %v, want a word about %s", body, err, param)
		}
	}
}

func TestReader_Syntax(t *testing.T) {
	for _, body := range []string{``, `{`, `{"name":"a"`, `{"list":[}`, `{"name":"a"} x`} {
		if _, err := decode(body); err == nil {
			t.Errorf("%q was read", body)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(`{"name":"a","list":[{"count":3}],"options":{"strict":true,"stop":["x"]}}`)
	f.Add(`{"list":[[{"count":1e99}]]}`)
	f.Fuzz(func(t *testing.T, body string) {
		if got, err := decode(body); err == nil {
			for _, n := range got.counts {
				if n < 0 || n > llm.MaxTokenCount {
					t.Fatalf("count %d", n)
				}
			}
		}
	})
}
