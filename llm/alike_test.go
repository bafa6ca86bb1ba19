package llm_test

import (
	"fmt"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

func chunk(text string) []byte {
	return fmt.Appendf(nil, `{"id":"c","choices":[{"index":1,"delta":{"content":"%s"},"finish_reason":null}]}`, text)
}

func TestAlike(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, first, next string
		want              bool
	}{
		{"another text", string(chunk("one")), string(chunk("three")), true},
		{"an empty text", string(chunk("one")), string(chunk("")), true},
		{"after an empty text", string(chunk("")), string(chunk("one")), false},
		{"an escape", string(chunk("one")), string(chunk(`a\"b`)), false},
		{"a text that ends the string", string(chunk("one")), string(chunk(`x"},"usage":{"total_tokens":9},"y":{"z":"`)), false},
		{"another choice", string(chunk("one")), `{"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`, false},
		{"the last one", string(chunk("one")), `{"id":"c","choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}`, false},
		{"after the last one", `{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}`, `{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}`, false},
		{"after one with usage", `{"choices":[{"delta":{"content":"a"}}],"usage":{"total_tokens":1}}`, `{"choices":[{"delta":{"content":"b"}}],"usage":{"total_tokens":1}}`, false},
		{"cut short", string(chunk("one")), `{"id":"c","choices":[{"index":1,"delta":{"content":"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a llm.Alike
			r, err := llm.Read([]byte(tt.first))
			if err != nil {
				t.Fatal(err)
			}
			a.Learn([]byte(tt.first), r)
			got, ok := a.Report([]byte(tt.next))
			if ok != tt.want {
				t.Fatalf("Report = %+v, %v, want %v", got, ok, tt.want)
			}
			if !ok {
				return
			}
			if want, err := llm.Read([]byte(tt.next)); err != nil || got != want {
				t.Errorf("Report = %+v, want %+v as Read has it (%v)", got, want, err)
			}
		})
	}
}

// FuzzAlike checks that whatever is taken as alike is what Read says it is.
func FuzzAlike(f *testing.F) {
	f.Add(chunk("one"), chunk("two"))
	f.Add([]byte(`{"choices":[{"text":"a"}]}`), []byte(`{"choices":[{"text":"b"}]}`))
	f.Fuzz(func(t *testing.T, first, next []byte) {
		r, err := llm.Read(first)
		if err != nil {
			return
		}
		var a llm.Alike
		a.Learn(first, r)
		got, ok := a.Report(next)
		if !ok {
			return
		}
		want, err := llm.Read(next)
		if err != nil {
			t.Fatalf("%q after %q was taken for JSON: %v", next, first, err)
		}
		got.TextBytes, want.TextBytes = 0, 0 // an estimate; the wrong one of two contents may be counted
		if got != want {
			t.Fatalf("%q after %q: %+v, want %+v", next, first, got, want)
		}
	})
}
