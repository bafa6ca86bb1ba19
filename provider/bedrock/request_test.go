package bedrock_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/openai"
)

// The names of models, one of each family that differs.
const (
	claude3  = "anthropic.claude-3-5-sonnet-20241022-v2:0"
	claude45 = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
	claude46 = "global.anthropic.claude-opus-4-6-v1"
	claude47 = "us.anthropic.claude-opus-4-7"
	nova     = "amazon.nova-lite-v1:0"
	nova2    = "us.amazon.nova-2-lite-v1:0"
	oss      = "openai.gpt-oss-120b-1:0"
	llama    = "meta.llama3-70b-instruct-v1:0"
)

const hi = `"messages":[{"role":"user","content":"hi"}]`

const hiOut = `"messages":[{"role":"user","content":[{"text":"hi"}]}]`

// TestEncodeRequest writes requests of OpenAI's dialect.
func TestEncodeRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, model, in, want, dropped string }{
		{
			"plain", claude3, hi + `,"max_tokens":5,"temperature":0.5,"top_p":0.9,"top_k":7,"stop":["END"," "],"seed":1,"n":2,"logprobs":true,"user":"u"`,
			hiOut + `,"inferenceConfig":{"maxTokens":5,"temperature":0.5,"topP":0.9,"stopSequences":["END"]},"additionalModelRequestFields":{"top_k":7}`, "n seed logprobs user",
		},
		{"one of two", claude45, hi + `,"temperature":0.5,"top_p":0.9`, hiOut + `,"inferenceConfig":{"temperature":0.5}`, "top_p"},
		{"none of both", claude47, hi + `,"temperature":0.5,"top_p":0.9,"top_k":3`, hiOut, "temperature top_p top_k"},
		{"Nova's own place", nova, hi + `,"top_k":7`, hiOut + `,"additionalModelRequestFields":{"inferenceConfig":{"topK":7}}`, ""},
		{"no place", llama, hi + `,"top_k":7`, hiOut, "top_k"},
		{
			"instructions anywhere", claude3, `"messages":[{"role":"system","content":"a"},{"role":"user","content":"hi"},{"role":"developer","content":"b"},{"role":"user","content":"there"}]`,
			`"messages":[{"role":"user","content":[{"text":"hi"},{"text":"there"}]}],"system":[{"text":"a"},{"text":"b"}]`, "",
		},
		{
			"empty texts", claude3, `"messages":[{"role":"system","content":" "},{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"hi"}]},{"role":"assistant","content":""},{"role":"user","content":"go"}]`,
			`"messages":[{"role":"user","content":[{"text":"hi"},{"text":"go"}]}]`, "",
		},
		{
			"an answer to go on with", claude3, `"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"So \n"}]`,
			`"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"text":"So"}]}]`, "",
		},
		{
			"parallel calls", claude3, `"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[` +
				`{"id":"call|1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"c2","type":"function","function":{"name":"g","arguments":""}},{"id":"c3","type":"function","function":{"name":"g","arguments":"{broken"}}]},` +
				`{"role":"tool","tool_call_id":"c2","content":"two"},{"role":"user","content":"and"},{"role":"tool","tool_call_id":"call|1","content":""},{"role":"tool","tool_call_id":"c3","content":"3"},{"role":"tool","tool_call_id":"nobody","content":"lost"}],` +
				`"tools":[{"type":"function","function":{"name":"f","description":"F","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}},{"type":"function","function":{"name":"g"}}],"tool_choice":"required","parallel_tool_calls":false`,
			`"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"call_1_c26e9779d73a23c7","name":"f","input":{"a":1}}},{"toolUse":{"toolUseId":"c2","name":"g","input":{}}},{"toolUse":{"toolUseId":"c3","name":"g","input":{"INVALID_JSON":"{broken"}}}]},` +
				`{"role":"user","content":[{"toolResult":{"toolUseId":"c2","content":[{"text":"two"}]}},{"toolResult":{"toolUseId":"call_1_c26e9779d73a23c7","content":[{"text":"(empty)"}]}},{"toolResult":{"toolUseId":"c3","content":[{"text":"3"}]}},{"text":"and"},{"text":"lost"}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"F","inputSchema":{"json":{"type":"object","properties":{"a":{"type":"integer"}}}}}},{"toolSpec":{"name":"g","inputSchema":{"json":{"type":"object","properties":{}}}}}],"toolChoice":{"any":{}}}`,
			"parallel_tool_calls",
		},
		{
			"calls without tools", nova, `"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"x"}]`,
			`"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"c","name":"f","input":{}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"c","content":[{"text":"x"}]}}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}]}`, "",
		},
		{"tools forbidden", nova, hi + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"`, hiOut, ""},
		{
			"one tool", claude3, hi + `,"tools":[{"type":"function","function":{"name":"f","strict":true}}],"tool_choice":{"type":"function","function":{"name":"f"}}`,
			hiOut + `,"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}],"toolChoice":{"tool":{"name":"f"}}}`, "strict",
		},
		{
			"a schema", claude45, hi + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`,
			hiOut + `,"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"name":"n","schema":"{\"type\":\"object\",\"additionalProperties\":false}"}}}}`, "",
		},
		{
			"no schema", nova, hi + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}}`,
			hiOut + `,"system":[{"text":"Answer with one JSON object and nothing else: no words around it and no code fence. It must be valid under this JSON schema: {}"}]`, "response_format",
		},
		{"any object", claude45, hi + `,"response_format":{"type":"json_object"}`, hiOut + `,"system":[{"text":"Answer with one JSON object and nothing else: no words around it and no code fence."}]`, ""},
		{"a temperature above Converse's highest", nova, hi + `,"temperature":1.5`, hiOut + `,"inferenceConfig":{"temperature":1}`, "temperature"},
		{
			"a strict tool", claude45, hi + `,"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"n":{"type":"integer","maximum":3}}}}}]`,
			hiOut + `,"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}},"strict":true}}]}`, "",
		},
		{
			"media", nova, `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,/9j/4AAQ"}},{"type":"image_url","image_url":{"url":"s3://b/k.png"}},` +
				`{"type":"file","file":{"filename":"my_report.v2.pdf","file_data":"data:application/pdf;base64,JVBERi0="}},{"type":"file","file":{"filename":"my report v2.pdf","file_data":"data:application/pdf;base64,JVBERi0="}},{"type":"video_url","video_url":{"url":"data:video/mp4;base64,AAAA"}}]}]`,
			`"messages":[{"role":"user","content":[{"image":{"format":"jpeg","source":{"bytes":"/9j/4AAQ"}}},{"image":{"format":"png","source":{"s3Location":{"uri":"s3://b/k.png"}}}},` +
				`{"document":{"format":"pdf","name":"my report v2","source":{"bytes":"JVBERi0="}}},{"document":{"format":"pdf","name":"my report v2 2","source":{"bytes":"JVBERi0="}}},{"video":{"format":"mp4","source":{"bytes":"AAAA"}}}]}]`, "",
		},
		{
			"a cache", claude45, `"messages":[{"role":"system","content":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}]},{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]`,
			`"messages":[{"role":"user","content":[{"text":"hi"},{"cachePoint":{"type":"default"}}]}],"system":[{"text":"s"},{"cachePoint":{"type":"default","ttl":"1h"}}]`, "",
		},
		{"no cache", llama, `"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]`, hiOut, "cache_control"},
		{"thinking", claude45, hi + `,"reasoning_effort":"medium","temperature":0.2,"top_k":4`, hiOut + `,"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":2048}}`, "temperature top_k"},
		{"thinking within the limit", claude45, hi + `,"reasoning_effort":"high","max_tokens":2000`, hiOut + `,"inferenceConfig":{"maxTokens":2000},"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1999}}`, ""},
		{"no room to think", claude45, hi + `,"reasoning_effort":"high","max_tokens":500`, hiOut + `,"inferenceConfig":{"maxTokens":500}`, "reasoning_effort"},
		{"thinking as it likes", claude46, hi + `,"reasoning_effort":"xhigh"`, hiOut + `,"additionalModelRequestFields":{"thinking":{"type":"adaptive"},"output_config":{"effort":"max"}}`, ""},
		{"a budget", claude46, hi + `,"thinking":{"type":"enabled","budget_tokens":5000}`, hiOut + `,"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":5000}}`, ""},
		{"a budget where there is none", claude47, hi + `,"thinking":{"type":"enabled","budget_tokens":5000}`, hiOut + `,"additionalModelRequestFields":{"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}}`, ""},
		{"cannot think", claude3, hi + `,"reasoning_effort":"low"`, hiOut, "reasoning_effort"},
		{"not to think", claude45, hi + `,"reasoning_effort":"none"`, hiOut, ""},
		{"Nova thinks", nova2, hi + `,"reasoning_effort":"minimal"`, hiOut + `,"additionalModelRequestFields":{"reasoningConfig":{"type":"enabled","maxReasoningEffort":"low"}}`, ""},
		{"gpt-oss thinks", oss, hi + `,"reasoning_effort":"high"`, hiOut + `,"additionalModelRequestFields":{"reasoning_effort":"high"}`, ""},
		{"Llama does not", llama, hi + `,"reasoning_effort":"high"`, hiOut, "reasoning_effort"},
		{
			"thoughts that were signed", claude45, `"reasoning_effort":"low","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"a","thinking_blocks":[{"type":"thinking","thinking":"t","signature":"c2ln"},{"type":"redacted_thinking","data":"ZGF0YQ=="}]},{"role":"user","content":"go"}]`,
			`"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"t","signature":"c2ln"}}},{"reasoningContent":{"redactedContent":"ZGF0YQ=="}},{"text":"a"}]},{"role":"user","content":[{"text":"go"}]}],` +
				`"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024}}`, "",
		},
		{
			"a call without the thoughts before it", claude45, `"reasoning_effort":"low","messages":[{"role":"user","content":"hi"},{"role":"assistant","reasoning_content":"t","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"x"}]`,
			`"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"c","name":"f","input":{}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"c","content":[{"text":"x"}]}}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}]}`, "reasoning_content reasoning_effort",
		},
		{
			"Bedrock's own members", claude3, hi + `,"guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"1"},"performanceConfig":{"latency":"optimized"},"additionalModelRequestFields":{"anthropic_beta":["x"]},"metadata":{"a":"b"},"service_tier":"flex","other":1`,
			hiOut + `,"additionalModelRequestFields":{"anthropic_beta":["x"]},"guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"1"},"performanceConfig":{"latency":"optimized"},"serviceTier":{"type":"flex"},"requestMetadata":{"a":"b"}`, "other",
		},
		{"metadata that it does not take", claude3, hi + `,"metadata":{"a":{"b":1}}`, hiOut, "metadata"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q, err := openai.Chat{}.DecodeRequest([]byte(`{"model":"m",` + tt.in + `}`))
			if err != nil {
				t.Fatal(err)
			}
			before, _ := json.Marshal(q)
			target := &llm.Target{Model: tt.model}
			got, err := bedrock.Format{}.EncodeRequest(q, target)
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if err := json.Unmarshal(got, &a); err != nil {
				t.Fatalf("%s: %v", got, err)
			}
			if err := json.Unmarshal([]byte("{"+tt.want+"}"), &b); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(b, a); d != "" {
				t.Errorf("(-want +got):\n%s\n%s", d, got)
			}
			want := strings.Fields(tt.dropped)
			slices.Sort(want)
			if dropped := slices.Sorted(slices.Values(target.Dropped())); !slices.Equal(dropped, want) {
				t.Errorf("dropped %v, want %v", dropped, want)
			}
			if after, _ := json.Marshal(q); string(after) != string(before) {
				t.Errorf("the request was changed: %s", after)
			}
		})
	}
}

func TestEncodeRequest_Unsayable(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		`[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]`,
		`[{"type":"image_url","image_url":{"url":"data:image/tiff;base64,AAAA"}}]`,
		`[{"type":"image_url","image_url":{"url":"data:image/png;base64,%%"}}]`,
		`[{"type":"file","file":{"file_id":"file-1"}}]`,
		`" "`,
	} {
		q, err := openai.Chat{}.DecodeRequest([]byte(`{"model":"m","messages":[{"role":"user","content":` + content + `}]}`))
		if err != nil {
			t.Fatal(err)
		}
		_, err = bedrock.Format{}.EncodeRequest(q, &llm.Target{Model: nova})
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != "messages" {
			t.Errorf("%s: got %v", content, err)
		}
	}
}

// own is a request of Bedrock's with everything that all dialects have.
const own = `{"messages":[{"role":"user","content":[{"text":"hi"},{"image":{"format":"png","source":{"bytes":"iVBORw0KGgo="}}},{"document":{"format":"txt","name":"n","source":{"text":"abc"}}},{"cachePoint":{"type":"default"}}]},` +
	`{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"t","signature":"c2ln"}}},{"reasoningContent":{"redactedContent":"ZGF0YQ=="}},{"toolUse":{"toolUseId":"a","name":"f","input":{"x":1}}}]},` +
	`{"role":"user","content":[{"toolResult":{"toolUseId":"a","content":[{"json":{"y":2}},{"text":"z"}],"status":"error"}},{"guardContent":{"text":{"text":"g"}}}]}],` +
	`"system":[{"text":"s"},{"cachePoint":{"type":"default","ttl":"1h"}}],"inferenceConfig":{"maxTokens":3000,"temperature":1,"stopSequences":["E"]},` +
	`"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"type":"object","additionalProperties":false}},"strict":true}},{"cachePoint":{"type":"default"}},{"systemTool":{"name":"nova_grounding"}}],"toolChoice":{"auto":{}}},` +
	`"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1500},"anthropic_beta":["b"]},"guardrailConfig":{"guardrailIdentifier":"g"},"requestMetadata":{"a":"b"},"serviceTier":{"type":"priority"},` +
	`"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{\"type\":\"object\",\"additionalProperties\":false}","name":"n"}}}}}`

// TestDecodeRequest reads a request and writes it again.
func TestDecodeRequest(t *testing.T) {
	t.Parallel()
	q, err := bedrock.Format{}.DecodeRequest([]byte(own))
	if err != nil {
		t.Fatal(err)
	}
	target := &llm.Target{Model: claude45}
	got, err := bedrock.Format{}.EncodeRequest(q, target)
	if err != nil || len(target.Dropped()) != 0 {
		t.Fatalf("%v, dropped %v", err, target.Dropped())
	}
	want := strings.NewReplacer(`{"json":{"y":2}}`, `{"text":"{\"y\":2}"}`, `"source":{"text":"abc"}`, `"source":{"bytes":"YWJj"}`).Replace(own)
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(want), &b) != nil {
		t.Fatalf("no JSON: %s", got)
	}
	if d := cmp.Diff(b, a); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDecodeRequest_Wrong(t *testing.T) {
	t.Parallel()
	for body, param := range map[string]string{
		`{}`:               "messages",
		`{"messages":{}}`:  "messages",
		`{"messages":[1]}`: "messages[0]",
		`{"messages":[{"content":[{"text":"x"}]}]}`:                                                                             "messages[0].role",
		`{"messages":[{"role":"tool","content":[]}]}`:                                                                           "messages[0].role",
		`{"messages":[{"role":"user","content":"hi"}]}`:                                                                         "messages[0].content",
		`{"messages":[{"role":"user","content":[{"text":1}]}]}`:                                                                 "messages[0].content[0].text",
		`{"messages":[{"role":"user","content":[{"toolResult":null}]}]}`:                                                        "messages[0].content[0].toolResult",
		`{"messages":[{"role":"user","content":[{"image":{"source":{"url":"x"}}}]}]}`:                                           "messages[0].content[0].image.source.url",
		`{"messages":[{"role":"user","content":[]}],"inferenceConfig":{"maxTokens":0}}`:                                         "inferenceConfig.maxTokens",
		`{"messages":[{"role":"user","content":[]}],"inferenceConfig":{"topK":1}}`:                                              "inferenceConfig.topK",
		`{"messages":[{"role":"user","content":[]}],"toolConfig":{"tools":[{"toolSpec":{}}]}}`:                                  "toolConfig.tools[0].toolSpec.name",
		`{"messages":[{"role":"user","content":[]}],"toolConfig":{"toolChoice":{"none":{}}}}`:                                   "toolConfig.toolChoice.none",
		`{"messages":[{"role":"user","content":[]}],"outputConfig":{"textFormat":{"structure":{"jsonSchema":{"schema":"{"}}}}}`: "outputConfig.textFormat.structure.jsonSchema.schema",
	} {
		_, err := bedrock.Format{}.DecodeRequest([]byte(body))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != param {
			t.Errorf("%s: got %+v, want an error at %s", body, err, param)
		}
	}
	for _, body := range []string{"", "[]", "{", `{"messages":[{"role":"user","content":[{"text":"x"}]}]} x`} {
		if _, err := (bedrock.Format{}).DecodeRequest([]byte(body)); err == nil {
			t.Errorf("%q passes", body)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(own))
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"text":"x"}]}],"inferenceConfig":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := bedrock.Format{}.DecodeRequest(data)
		if err != nil {
			if _, ok := errors.AsType[*llm.Error](err); !ok {
				t.Errorf("got %T", err)
			}
			return
		}
		b, err := bedrock.Format{}.EncodeRequest(q, &llm.Target{Model: claude45})
		if err == nil && !json.Valid(b) {
			t.Errorf("wrote %s", b)
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	f.Add([]byte(`{"output":{"message":{"role":"assistant","content":[{"text":"x"},{"toolUse":{"toolUseId":"a","name":"f","input":{}}},{"reasoningContent":{"redactedContent":"YQ=="}}]}},"stopReason":"tool_use","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}`))
	f.Add([]byte(`{"output":{"message":{"content":[{"citationsContent":{"content":[{"text":"x"}],"citations":[{}]}},{"image":{"format":"png","source":{"bytes":"aaaa"}}}]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := bedrock.Format{}.DecodeResponse(data)
		if err != nil {
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind == llm.Internal {
				t.Errorf("got %v", err)
			}
			return
		}
		b, err := bedrock.Format{}.EncodeResponse(&chat.Request{}, res)
		if err != nil || !json.Valid(b) {
			t.Errorf("wrote %s, %v", b, err)
		}
	})
}
