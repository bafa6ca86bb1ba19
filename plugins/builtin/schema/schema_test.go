package schema_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/plugins/builtin/schema"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
)

const config = `{"fences":true,"schema":{"type":"object","properties":{"city":{"type":"string","pattern":"^[A-Z]"},"n":{"$ref":"#/$defs/count"}},
	"required":["city"],"additionalProperties":false,"$defs":{"count":{"type":"integer","minimum":0}}}}`

func configured(t testing.TB) *schema.Schema {
	t.Helper()
	g := &schema.Schema{}
	if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	return g
}

// The texts of answers in every dialect are found where the host finds them.
func TestSchema_Answers(t *testing.T) {
	t.Parallel()
	g := configured(t)
	for _, tt := range []struct{ name, body, found string }{
		{"chat", `{"choices":[{"index":0,"message":{"role":"assistant","content":%q}}]}`, "[]"},
		{"chat, n", `{"choices":[{"index":0,"message":{"content":%q}},{"index":1,"message":{"content":"{}"}}]}`, "[schema]"},
		{"chat parts", `{"choices":[{"index":0,"message":{"content":[{"type":"text","text":%q}]}}]}`, "[]"},
		{"reasoning beside it", `{"choices":[{"index":0,"message":{"content":%q,"reasoning_content":"so"}}]}`, "[]"},
		{"a call of a tool", `{"choices":[{"index":0,"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":%q}}]}}]}`, "[]"},
		{"completions", `{"choices":[{"index":0,"text":%q}]}`, "[]"},
		{"responses", `{"output":[{"type":"message","content":[{"type":"output_text","text":%q}]}]}`, "[]"},
		{"converse", `{"output":{"message":{"role":"assistant","content":[{"text":%q}]}},"stopReason":"end_turn"}`, "[]"},
		{"messages", `{"type":"message","role":"assistant","content":[{"type":"text","text":%q}]}`, "[]"},
		{"generateContent", `{"candidates":[{"content":{"role":"model","parts":[{"text":%q}]}}]}`, "[]"},
	} {
		for text, found := range map[string]string{
			`{"city":"Rome","n":2}`: tt.found, "```json\n{\"city\":\"Rome\"}\n```": tt.found, `{"city":"rome"}`: "schema", `{"city":"Rome","n":-1}`: "schema",
			`{"city":"Rome"} and more`: "not_json", `Rome`: "not_json", strings.Repeat("[", 300): "not_json",
		} {
			body := fmt.Appendf(nil, tt.body, text)
			texts, err := guardrail.Extract(body)
			if err != nil {
				t.Fatalf("%s: %v in %s", tt.name, err, body)
			}
			v, err := g.Check(t.Context(), &sdk.Check{Hook: sdk.After, Texts: texts.List()})
			if err != nil {
				t.Fatal(err)
			}
			want := found
			if tt.name == "a call of a tool" {
				want = "[]"
			}
			if got := fmt.Sprint(v.Findings); !strings.Contains(got, want) || (v.Action == guardrail.Block) != (want != "[]") {
				t.Errorf("%s %s: got %v, %s, want %s", tt.name, text, v.Action, got, want)
			}
		}
	}
}

// backend asks the guardrail as the host asks a plugin.
type backend struct{ *schema.Schema }

func (backend) OpenStream(context.Context, *guardrail.Info) (guardrail.Stream, error) {
	return nil, guardrail.ErrNoStreams
}

// judged is what becomes of a stream of the endpoint with the events.
func judged(t *testing.T, endpoint llm.Endpoint, events [][]byte) error {
	t.Helper()
	m := &guardrail.Member{Name: "schema", OnError: resource.OnErrorBlock}
	m.Set(&guardrail.Live{Backend: backend{configured(t)}, Description: guardrail.Description{Hooks: []resource.Hook{resource.HookAfter}}})
	c := guardrail.NewChain(nil, nil)
	c.Replace([]*guardrail.Member{m})
	check, err := c.For("m", guardrail.Choice{}).Stream(t.Context(), &guardrail.Request{Info: guardrail.Info{Endpoint: endpoint.String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer check.Close()
	for _, e := range events {
		if _, err := check.Feed(t.Context(), e); err != nil {
			return err
		}
	}
	_, err = check.End(t.Context())
	return err
}

// eventsOf are the events that the chunks become for a client of the endpoint.
func eventsOf(t *testing.T, endpoint llm.Endpoint, chunks []chat.Chunk) [][]byte {
	t.Helper()
	in, ok := provider.InboundOf(endpoint)
	if !ok {
		t.Fatalf("no client speaks %s", endpoint)
	}
	enc := in.NewEncoder(&chat.Request{Model: "m", Stream: true})
	var all []byte
	for i := range chunks {
		all = enc.Encode(all, &chunks[i])
	}
	if endpoint != llm.Converse {
		return bytes.SplitAfter(bytes.ReplaceAll(all, []byte("\r\n"), []byte("\n")), []byte("\n\n"))
	}
	var events [][]byte
	for len(all) > 0 {
		n := binary.BigEndian.Uint32(all)
		events, all = append(events, all[:n]), all[n:]
	}
	return events
}

// Answers are judged in streams of every dialect, and what stands beside them is not.
func TestSchema_Streams(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(text string) []chat.Chunk{
		"a text": func(text string) []chat.Chunk {
			return []chat.Chunk{{Type: chat.ChunkText, Text: text[:len(text)/2]}, {Type: chat.ChunkText, Text: text[len(text)/2:]}}
		},
		"behind reasoning": func(text string) []chat.Chunk {
			return []chat.Chunk{{Type: chat.ChunkReasoning, Text: "well, "}, {Type: chat.ChunkReasoning, Text: "so"}, {Type: chat.ChunkText, Text: text}}
		},
		"before a call": func(text string) []chat.Chunk {
			return []chat.Chunk{{Type: chat.ChunkText, Text: text}, {Type: chat.ChunkToolStart, ID: "call_1", Name: "f"}, {Type: chat.ChunkToolArgs, Text: `{"no":`}, {Type: chat.ChunkToolArgs, Text: `1}`}}
		},
	}
	for _, endpoint := range []llm.Endpoint{llm.Chat, llm.Completions, llm.Responses, llm.Messages, llm.GenerateContent, llm.Converse} {
		for name, of := range kinds {
			if name != "a text" && (endpoint == llm.GenerateContent || endpoint == llm.Completions) {
				continue // Google's thoughts are texts like all others, and a completion has neither
			}
			for text, blocks := range map[string]bool{`{"city":"Rome","n":2}`: false, `{"city":"rome"}`: true, `Rome it is`: true} {
				chunks := slices.Concat([]chat.Chunk{{Type: chat.ChunkStart, ID: "x", Model: "m", Created: 1}}, of(text),
					[]chat.Chunk{{Type: chat.ChunkFinish, Finish: chat.FinishStop}, {Type: chat.ChunkUsage}, {Type: chat.ChunkEnd}})
				if err := judged(t, endpoint, eventsOf(t, endpoint, chunks)); (err != nil) != blocks {
					t.Errorf("%s, %s, %s: got %v, want a block: %v", endpoint, name, text, err, blocks)
				}
			}
		}
	}
}

// Streams as vendors write them, each event's data on a line.
func TestSchema_Events(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		events string
		blocks bool
	}{
		{"deltas of a response without its end", `{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"no"}`, true},
		{"a response whose end says something else", `{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"{\"city\":\"Rome\"}"}
{"type":"response.completed","response":{"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"no"}]}]}}`, true},
		{"a call of a response", `{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{}"}
{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{}"}`, false},
		{"a refusal", `{"type":"response.refusal.delta","output_index":0,"content_index":0,"delta":"I will not"}
{"type":"response.refusal.done","output_index":0,"content_index":0,"refusal":"I will not"}`, false},
		{"reasoning of a response", `{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"so"}
{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","summary":[{"type":"summary_text","text":"so"}]}}
{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"{\"city\":\"Rome\"}"}`, false},
		{"a block that begins with a text", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"{"}}
{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\"city\":\"Rome\"}"}}`, false},
		{"thinking", `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"so"}}
{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"no"}}`, true},
		{"what is not JSON", `hello`, true},
	} {
		var events [][]byte
		for line := range strings.Lines(tt.events) {
			events = append(events, []byte("data: "+strings.TrimSpace(line)+"\n\n"))
		}
		if err := judged(t, llm.Responses, events); (err != nil) != tt.blocks {
			t.Errorf("%s: got %v, want a block: %v", tt.name, err, tt.blocks)
		}
	}
}

func TestSchema_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`: "schema: has 0 bytes", `{"schema":{"type":1}}`: "schema: ", `{"schema":{"pattern":"("}}`: "schema: ",
		`{"schema":{"$ref":"https://example.com/x"}}`: "schema: ", `{"schema":[]}`: "schema: ",
	} {
		_, err := (&schema.Schema{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestSchema_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &schema.Schema{} }, plugintest.GuardrailCase{
		Config: []byte(config), Passes: `{"city":"Rome"}`, Bad: [][]byte{[]byte(`{"schema":1}`)},
	})
}

func FuzzSchema(f *testing.F) {
	f.Add(`{"city":"Rome"}`)
	f.Add("```\n[]\n```")
	g := configured(f)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := g.Check(t.Context(), &sdk.Check{Hook: sdk.After, Texts: []sdk.Text{{Path: "choices#0.message.content", Text: text}}}); err != nil {
			t.Error(err)
		}
	})
}
