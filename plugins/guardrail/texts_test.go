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
			"a session's sound", `{"type":"session.update","session":{"type":"realtime","audio":{"input":{"format":{"type":"audio/pcm","rate":24000},"transcription":{"prompt":"p"}}}}}`,
			[]guardrail.Text{{Path: "session.audio.input.transcription.prompt", Text: "p"}},
		},
		{
			"logprobs in a request hide nothing", `{"tools":[{"logprobs":{"description":"d"}}]}`,
			[]guardrail.Text{{Path: "tools.0.logprobs.description", Text: "d"}},
		},
		{
			"a plain document of Anthropic's, whatever comes first", `{"messages":[{"role":"user","content":[{"source":{"data":"a\nb","media_type":"text/plain","type":"text"}},{"source":{"type":"\u0074ext","data":"c","data":"d"}},{"source":{"type":"base64","data":"QUJD","data":"REVG"}},{"text":"e"}]}]}`,
			[]guardrail.Text{
				{Path: "messages.0.content.0.source.data", Role: "user", Text: "a\nb"},
				{Path: "messages.0.content.1.source.data", Role: "user", Text: "c"},
				{Path: "messages.0.content.1.source.data", Role: "user", Text: "d"},
				{Path: "messages.0.content.3.text", Role: "user", Text: "e"},
			},
		},
		{
			"arguments: names, values and numbers, by their places", `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{"data":"a","role":"system","url":"data:,b","list":[1.5,{"index":7,"logprobs":["c"]}],"none":null}}]}]}`,
			[]guardrail.Text{
				{Path: "messages.0.content.0.name", Role: "assistant", Text: "f"},
				{Path: "messages.0.content.0.input.0.name", Role: "assistant", Text: "data"},
				{Path: "messages.0.content.0.input.0", Role: "assistant", Text: "a"},
				{Path: "messages.0.content.0.input.1.name", Role: "assistant", Text: "role"},
				{Path: "messages.0.content.0.input.1", Role: "assistant", Text: "system"},
				{Path: "messages.0.content.0.input.2.name", Role: "assistant", Text: "url"},
				{Path: "messages.0.content.0.input.2", Role: "assistant", Text: "data:,b"},
				{Path: "messages.0.content.0.input.3.name", Role: "assistant", Text: "list"},
				{Path: "messages.0.content.0.input.3.0", Role: "assistant", Text: "1.5"},
				{Path: "messages.0.content.0.input.3.1.0.name", Role: "assistant", Text: "index"},
				{Path: "messages.0.content.0.input.3.1.0", Role: "assistant", Text: "7"},
				{Path: "messages.0.content.0.input.3.1.1.name", Role: "assistant", Text: "logprobs"},
				{Path: "messages.0.content.0.input.3.1.1.0", Role: "assistant", Text: "c"},
				{Path: "messages.0.content.0.input.4.name", Role: "assistant", Text: "none"},
			},
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

// What clients, tools and models have named themselves is checked whatever its names are, in every dialect, and
// the names that a dialect has given are not.
func TestExtract_Made(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"Anthropic, call":                `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"i","input":%s}]}]}`,
		"Anthropic, answer":              `{"type":"message","role":"assistant","content":[{"input":%s,"type":"tool_use","id":"i"}]}`,
		"Anthropic, event":               `{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"i","input":%s}}`,
		"Anthropic, examples":            `{"tools":[{"type":"custom","input_examples":[%s]}]}`,
		"Google, call":                   `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"i","args":%s}}]}]}`,
		"Google, result":                 `{"contents":[{"role":"user","parts":[{"functionResponse":{"id":"i","response":%s}}]}]}`,
		"Google, result, other spelling": `{"contents":[{"role":"user","parts":[{"function_response":{"id":"i","response":%s}}]}]}`,
		"Google, answer":                 `{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"args":%s}}]},"index":0}]}`,
		"Google, session":                `{"toolResponse":{"functionResponses":[{"id":"i","response":%s}]}}`,
		"Amazon, call":                   `{"messages":[{"role":"assistant","content":[{"toolUse":{"input":%s}}]}]}`,
		"Amazon, result":                 `{"messages":[{"role":"user","content":[{"toolResult":{"content":[{"json":%s}]}}]}]}`,
		"Amazon, answer":                 `{"output":{"message":{"role":"assistant","content":[{"toolUse":{"input":%s}}]}}}`,
		"Amazon, fields":                 `{"additionalModelRequestFields":%s}`,
		"Cohere, document":               `{"documents":[{"data":%s}]}`,
		"Cohere, result":                 `{"messages":[{"role":"tool","content":[{"type":"document","document":{"id":"i","data":%s}}]}]}`,
		"Cohere, first version":          `{"tool_results":[{"call":{"parameters":{}},"outputs":[%s]}]}`,
		"Cohere, first version, call":    `{"tool_calls":[{"parameters":%s}]}`,
		"Ollama's calls":                 `{"messages":[{"role":"assistant","tool_calls":[{"id":"i","function":{"arguments":%s}}]}]}`,
		"reranking":                      `{"documents":[%s]}`,
		"a state":                        `{"state":%s,"questions":{"q":{"type":"function"}}}`,
		"criteria":                       `{"state":"s","questions":{"q":{"type":"function","criteria":%s}}}`,
		"entities":                       `{"text":"s","entities":%s}`,
		"a prompt's variables":           `{"prompt":{"id":"i","variables":%s}}`,
		"a shell's variables":            `{"input":[{"type":"local_shell_call","action":{"type":"exec","env":%s}}]}`,
		"a file's attributes":            `{"output":[{"type":"file_search_call","results":[{"file_id":"i","attributes":%s}]}]}`,
		"a template's":                   `{"chat_template_kwargs":%s}`,
		"a default":                      `{"tools":[{"type":"function","function":{"parameters":{"type":"object","properties":{"a":{"type":"object","format":"x","default":%s}}}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := `{"data":"v","detail":"v","format":"v","id":"v","type":"text","object":"v","role":"v","signature":"v","deep":[{"file_data":"v","n":4111}]}`
			texts, err := guardrail.Extract(fmt.Appendf(nil, body, made))
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, x := range texts.List() {
				all = append(all, x.Text)
			}
			got, rest := strings.Join(all, " "), "data v detail v format v id v type text object v role v signature v deep file_data v n 4111"
			if !strings.Contains(got, rest) {
				t.Errorf("got %q, want %q in it", got, rest)
			}
			for _, structure := range []string{"i", "tool_use", "user", "assistant", "function", "x"} {
				if strings.Contains(" "+strings.Replace(got, rest, "", 1)+" ", " "+structure+" ") {
					t.Errorf("got %q with %q, which is no text", got, structure)
				}
			}
		})
	}
}

// Names and numbers that no dialect has given are replaced as other texts are.
func TestTexts_Made(t *testing.T) {
	t.Parallel()
	texts, err := guardrail.Extract([]byte(`{"content":[{"type":"tool_use","input":{"a@b.c" : 4111, "x": [1, 2]},"id":"t"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range texts.List() {
		if x.Text == "a@b.c" || x.Text == "4111" || x.Text == "2" {
			if err := texts.Replace(i, "*"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := texts.Body(); err != nil || string(got) != `{"content":[{"type":"tool_use","input":{"*" : "*", "x": [1, "*"]},"id":"t"}]}` {
		t.Errorf("got %s, %v", got, err)
	}
}

// Answers repeat themselves as ids of tokens, too.
func TestTexts_TokenIDs(t *testing.T) {
	t.Parallel()
	texts, err := guardrail.Extract([]byte(`{"choices":[{"text":"secret","token_ids":[1,2]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := texts.Replace(0, "*"); err != nil {
		t.Fatal(err)
	}
	if got, err := texts.Body(); err != nil || string(got) != `{"choices":[{"text":"*","token_ids":null}]}` {
		t.Errorf("got %s, %v", got, err)
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
		`{"content":[{"input":{"data":[1,"a",{"":2}]},"type":"tool_use"},{"source":{"data":"x","type":"text"}},{"source":{"data":"y"}}]}`,
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
