package guardrail_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/plugins/guardrail"
)

func TestExtract(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		want       []guardrail.Text
	}{
		{
			"chat", `{"model":"m","user":"u","messages":[{"content":"sys","role":"system"},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}`,
			[]guardrail.Text{
				{Path: "messages.0.content", Role: "system", Text: "sys"},
				{Path: "messages.1.content.0.text", Role: "user", Text: "hi"},
			},
		},
		{
			"tools", `{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"q\":\"x\"}"}}]}]}`,
			[]guardrail.Text{
				{Path: "messages.0.tool_calls.0.function.name", Role: "assistant", Text: "f"},
				{Path: "messages.0.tool_calls.0.function.arguments", Role: "assistant", Text: `{"q":"x"}`},
			},
		},
		{"completions", `{"prompt":["a","b"],"suffix":"c"}`, []guardrail.Text{{Path: "prompt.0", Text: "a"}, {Path: "prompt.1", Text: "b"}, {Path: "suffix", Text: "c"}}},
		{"embeddings of tokens", `{"input":[[1,2],[3]]}`, nil},
		{"embeddings", `{"input":"a\u0062\n"}`, []guardrail.Text{{Path: "input", Text: "ab\n"}}},
		{
			"duplicate members are all checked", `{"prompt":"a","prompt":"b"}`,
			[]guardrail.Text{{Path: "prompt", Text: "a"}, {Path: "prompt", Text: "b"}},
		},
		{
			"answer", `{"id":"x","object":"chat.completion","model":"m","choices":[{"message":{"role":"assistant","content":"a","reasoning_content":"r"},"index":1,"finish_reason":"stop","logprobs":{"content":[{"token":"a"}]}}],"usage":{"note":"n"}}`,
			[]guardrail.Text{
				{Path: "choices#1.message.content", Role: "assistant", Text: "a"},
				{Path: "choices#1.message.reasoning_content", Role: "assistant", Text: "r"},
			},
		},
		{
			"a field that a vendor adds", `{"choices":[{"delta":{"thoughts":"t"}}]}`,
			[]guardrail.Text{{Path: "choices.0.delta.thoughts", Text: "t"}},
		},
		{
			"logprobs in a request hide nothing", `{"tools":[{"logprobs":{"description":"d"}}]}`,
			[]guardrail.Text{{Path: "tools.0.logprobs.description", Text: "d"}},
		},
		{"invalid UTF-8", "{\"prompt\":\"a\xff\"}", []guardrail.Text{{Path: "prompt", Text: "a\uFFFD"}}},
		{"bare string", `"a"`, []guardrail.Text{{Text: "a"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			texts, err := guardrail.Extract([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, texts.List()); diff != "" {
				t.Errorf("texts (-want +got):\n%s", diff)
			}
			if got, err := texts.Body(); err != nil || !bytes.Equal(got, []byte(tt.body)) {
				t.Errorf("body changed to %s, %v", got, err)
			}
		})
	}
}

func TestExtract_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, body string }{
		{"empty", ""},
		{"cut", `{"a":"b`},
		{"two values", `{} {}`},
		{"deep", strings.Repeat("[", 100) + strings.Repeat("]", 100)},
		{"too many", "[" + strings.Repeat(`"",`, 1<<16) + `""]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := guardrail.Extract([]byte(tt.body)); !errors.Is(err, guardrail.ErrBody) {
				t.Errorf("got %v, want ErrBody", err)
			}
		})
	}
}

// A body must not be able to make its paths larger than itself.
func TestExtract_LongPaths(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 1000)
	body := fmt.Sprintf(`{%q:{%q:["a","b"]}}`, key, key)
	texts, err := guardrail.Extract([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	a, b := texts.List()[0].Path, texts.List()[1].Path
	if len(a) > 128 || len(b) > 128 || a == b {
		t.Errorf("got paths %q and %q, want short and different ones", a, b)
	}
}

func TestTexts_Body(t *testing.T) {
	t.Parallel()
	const body = `{ "model" : "m",  "choices":[{"message":{"content":"one \u0022two\u0022","refusal":null},"logprobs":{"content":[]} , "index":0}],"x":1.50 }`
	texts, err := guardrail.Extract([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := texts.Replace(0, "three\n\"four\""); err != nil {
		t.Fatal(err)
	}
	got, err := texts.Body()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{ "model" : "m",  "choices":[{"message":{"content":"three\n\"four\"","refusal":null},"logprobs":null , "index":0}],"x":1.50 }`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	texts, err = guardrail.Extract([]byte(`{"prompt":"a","logprobs":5}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := texts.Replace(0, "b"); err != nil {
		t.Fatal(err)
	}
	if got, err := texts.Body(); err != nil || string(got) != `{"prompt":"b","logprobs":5}` {
		t.Errorf("got %s, %v: a request's own logprobs changed", got, err)
	}
	if err := texts.Replace(1, ""); err == nil {
		t.Error("replaced a text that is not there")
	}
}

func FuzzTexts(f *testing.F) {
	for _, s := range []string{
		`{"messages":[{"role":"user","content":"x"}]}`,
		`{"choices":[{"logprobs":{"a":["b"]},"index":2,"delta":{"content":"\ud83d\ude00"}},{"text":""}]}`,
		`[1,"a",[true,null,"b\\"],{"logprobs":null}]`, `{"a":{"index":1,"output_index":2,"delta":"x"}}`,
		"{\"prompt\":\"a\xff\"}",
	} {
		f.Add([]byte(s), "new \"text\"")
	}
	f.Fuzz(func(t *testing.T, body []byte, text string) {
		texts, err := guardrail.Extract(body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q is not JSON but was taken", body)
		}
		text = strings.ToValidUTF8(text, "?")
		n := len(texts.List())
		for i := range n {
			if i%2 == 0 {
				if err := texts.Replace(i, text); err != nil {
					t.Fatal(err)
				}
			}
		}
		out, err := texts.Body()
		if err != nil {
			t.Fatal(err)
		}
		again, err := guardrail.Extract(out)
		if err != nil {
			t.Fatalf("spliced %q into %q, which is no JSON any more: %v", text, out, err)
		}
		if diff := cmp.Diff(texts.List(), again.List()); diff != "" {
			t.Errorf("%q: texts after the splice (-want +got):\n%s", out, diff)
		}
	})
}

func BenchmarkExtract(b *testing.B) {
	body := []byte(`{"model":"m","messages":[{"role":"system","content":"You are kind."},{"role":"user","content":"` + strings.Repeat("word ", 400) + `"}]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := guardrail.Extract(body); err != nil {
			b.Fatal(err)
		}
	}
}
