package shape_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/resource/shape"
)

// amount reads itself, as amounts of money do.
type amount int64

// UnmarshalJSON implements json.Unmarshaler.
func (a *amount) UnmarshalJSON(b []byte) error {
	if _, err := fmt.Sscan(string(b), (*int64)(a)); err != nil {
		return fmt.Errorf("%s is not an amount of dollars", b)
	}
	return nil
}

type common struct {
	Name   string `json:"name"`
	Hidden string `json:"-"`
}

type sink struct {
	common
	Port  *int            `json:"port,omitempty"`
	Quiet bool            `json:"quiet"`
	Any   json.RawMessage `json:"any"`
}

type value struct {
	Every   string             `json:"every"`
	Share   float64            `json:"share"`
	Cost    amount             `json:"cost"`
	Sinks   []*sink            `json:"sinks"`
	By      map[string]sink    `json:"by"`
	Headers map[string]string  `json:"headers"`
	Numbers map[string][]int64 `json:"numbers"`
}

func TestRead(t *testing.T) {
	t.Parallel()
	const all = "by, cost, every, headers, numbers, share, sinks"
	for _, tt := range []struct {
		name, in string
		known    string // the error of ReadKnown; "": none
		skips    bool   // Read takes it
	}{
		{name: "nothing", in: `{}`, skips: true},
		{name: "null", in: `null`, skips: true},
		{
			name: "everything", skips: true,
			in: `{"every":"1h","SHARE":0.5,"cost":7,"sinks":[{"name":"a","port":5,"quiet":true,"any":{"x":[1]}},null],"by":{"b":{"port":null}},"headers":{"h":"v"},"numbers":{"n":[1]}}`,
		},
		{name: "no JSON", in: `{`, known: "is not JSON"},
		{name: "no object", in: `["1h"]`, known: `["1h"] is not an object with ` + all},
		{name: "an unknown field", in: `{"evrey":"1h"}`, known: "evrey: there is no such field; there are " + all, skips: true},
		{name: "an unknown field within", in: `{"sinks":[{},{"pth":"x"}]}`, known: "sinks[1].pth: there is no such field; there are any, name, port, quiet", skips: true},
		{name: "a hidden field", in: `{"by":{"b":{"Hidden":"x"}}}`, known: "by.b.Hidden: there is no such field; there are any, name, port, quiet", skips: true},
		{name: "no string", in: `{"every":24}`, known: "every: 24 is not a string"},
		{name: "no number", in: `{"share":"half"}`, known: `share: "half" is not a number`},
		{name: "a broken number", in: `{"sinks":[{"port":1.5}]}`, known: "sinks[0].port: 1.5 is not a whole number"},
		{name: "no switch", in: `{"sinks":[{"quiet":"yes"}]}`, known: `sinks[0].quiet: "yes" is not true or false`},
		{name: "no list", in: `{"sinks":{}}`, known: "sinks: {} is not a list"},
		{name: "an element that is no object", in: `{"sinks":["file"]}`, known: `sinks[0]: "file" is not an object with any, name, port, quiet`},
		{name: "no map", in: `{"headers":[]}`, known: "headers: [] is not an object"},
		{name: "an entry", in: `{"headers":{"h":1}}`, known: "headers.h: 1 is not a string"},
		{name: "an entry's element", in: `{"numbers":{"n":[1,"2"]}}`, known: `numbers.n[1]: "2" is not a whole number`},
		{name: "what reads itself", in: `{"cost":"much"}`, known: `cost: "much" is not an amount of dollars`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var strict, lenient, want value
			err := shape.ReadKnown([]byte(tt.in), &strict)
			if got := fmt.Sprint(err); got != tt.known && (err != nil || tt.known != "") {
				t.Errorf("got %s, want %s", got, tt.known)
			}
			if _, ok := errors.AsType[*shape.Error](err); err != nil && !ok {
				t.Errorf("got a %T", err)
			}
			err = shape.Read([]byte(tt.in), &lenient)
			if (err == nil) != tt.skips {
				t.Errorf("without unknown fields: got %v", err)
			}
			if err != nil {
				return
			}
			if err := json.Unmarshal([]byte(tt.in), &want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, lenient, cmp.AllowUnexported(sink{})); d != "" {
				t.Error(d)
			}
		})
	}
}
