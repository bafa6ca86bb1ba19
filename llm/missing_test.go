package llm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

func TestMissing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, names, want string
	}{
		{"none asked for", `{}`, "", ""},
		{"given", `{"model":"m","user":"u"}`, "user", ""},
		{"not given", `{"model":"m"}`, "user", "user"},
		{"null", `{"user":null}`, "user", "user"},
		{"empty text", `{"user": "" }`, "user", "user"},
		{"zero and false are given", `{"a":0,"b":false}`, "a b", ""},
		{"the first is named", `{"b":1}`, "b a c", "a"},
		{"inside", `{"metadata":{"x":{"cost_center":1},"cost_center":"7"}}`, "metadata.cost_center", ""},
		{"one level only", `{"metadata":{"x":{"cost_center":1}}}`, "metadata.cost_center", "metadata.cost_center"},
		{"inside null", `{"metadata":{"cost_center":null}}`, "metadata.cost_center", "metadata.cost_center"},
		{"no object", `{"metadata":[1]}`, "metadata.cost_center", "metadata.cost_center"},
		{"the object and a part", `{"metadata":{"a":1}}`, "metadata metadata.a", ""},
		{"escaped", `{"us\u0065r":"u","metadata":{"\u0061":1}}`, "user metadata.a", ""},
		{"in a text", `{"a":"\"user\":1"}`, "user", "user"},
		{"many", `{"a":1}`, strings.Repeat("a ", 40) + "z", "z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := llm.Peek([]byte(tt.body)); err != nil {
				t.Fatal(err)
			}
			if got := llm.Missing([]byte(tt.body), strings.Fields(tt.names)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzMissing(f *testing.F) {
	f.Add(`{"user":"u","metadata":{"a":1}}`)
	f.Add(`{"user":`)
	f.Fuzz(func(_ *testing.T, body string) {
		llm.Missing([]byte(body), []string{"user", "metadata.a", "metadata"})
	})
}

func BenchmarkMissing(b *testing.B) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 800) + `"}],"metadata":{"cost_center":"7"},"user":"u"}`)
	names := []string{"user", "metadata.cost_center"}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if llm.Missing(body, names) != "" {
			b.Fatal("missing")
		}
	}
}
