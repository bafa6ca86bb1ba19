package provider_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
)

// textExchange is a recorded exchange: what a client of OpenAI's asks, what the vendor is sent, what it answers and
// what that says.
type textExchange struct {
	Name     string            `json:"name"`
	Source   string            `json:"source"` // of the answer's shape; "": what the doc comment of the dialect's package says
	Endpoint string            `json:"endpoint"`
	Model    string            `json:"model"`
	Options  map[string]string `json:"options"`
	Request  json.RawMessage   `json:"request"`
	Sent     json.RawMessage   `json:"sent"`
	Dropped  []string          `json:"dropped"`
	Refused  string            `json:"refused"`
	Answer   json.RawMessage   `json:"answer"`
	Fails    string            `json:"fails"`
	Unread   string            `json:"unread"` // the code of an answer that says nothing
	Text     string            `json:"text"`
	Finish   string            `json:"finish"`
	Usage    []int64           `json:"usage"`
}

// loadTexts reads those of vendors whose conversations have a form of their own, and those that the large vendors publish.
func loadTexts(t testing.TB) []textExchange {
	return append(load[textExchange](t, "testdata/texts.json"), load[textExchange](t, "testdata/chats.json")...)
}

// gistOf is what an answer says, in one line.
func gistOf(parts []chat.Part) string {
	var b strings.Builder
	for _, p := range parts {
		if p.Type == chat.PartToolCall {
			b.WriteString(p.Name + "(" + string(p.Arguments) + ")")
		} else {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

// TestTexts plays the recorded exchanges, of which every dialect of conversations has one.
func TestTexts(t *testing.T) {
	t.Parallel()
	in, _ := provider.InboundOf(llm.Chat)
	played := map[string]bool{llm.PetalsGenerate.String(): true, llm.A2AMessage.String(): true} // forms, and an id of each: their packages have them
	defer func() {
		for _, e := range llm.Endpoints() {
			if _, ok := provider.OutboundOf(e); ok && !played[e.String()] {
				t.Errorf("%s has no recorded exchange", e)
			}
		}
	}()
	for _, x := range loadTexts(t) {
		played[x.Endpoint] = true
		t.Run(x.Endpoint+"/"+x.Name, func(t *testing.T) {
			t.Parallel()
			at := endpointNamed(x.Endpoint)
			out, ok := provider.OutboundOf(at)
			if !ok {
				t.Fatalf("%s is no endpoint", x.Endpoint)
			}
			req, err := in.DecodeRequest(x.Request)
			if err != nil {
				t.Fatal(err)
			}
			req.Model = x.Model
			target := llm.Target{Model: x.Model, Options: x.Options}
			sent, err := out.EncodeRequest(req, &target)
			if x.Refused != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != x.Refused {
					t.Errorf("got %v, want a refusal of %s", err, x.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			same(t, "sent", x.Sent, sent)
			if d := cmp.Diff(x.Dropped, target.Dropped()); d != "" {
				t.Errorf("dropped (-want +got):\n%s", d)
			}
			res, err := out.DecodeResponse(x.Answer)
			report, _ := rowServing(t, at).Codec.Read(at, x.Answer)
			if x.Unread != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != x.Unread || e.Kind != llm.Upstream {
					t.Errorf("got %v, want the code %s", err, x.Unread)
				}
				return
			}
			if x.Fails != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != x.Fails || !report.HasError {
					t.Errorf("got %v and %+v, want the code %s", err, report, x.Fails)
				}
				return
			}
			if err != nil || len(res.Choices) != 1 {
				t.Fatalf("got %+v, %v", res, err)
			}
			if got := gistOf(res.Choices[0].Parts); got != x.Text || res.Choices[0].Finish.String() != x.Finish {
				t.Errorf("got %q and %s, want %q and %s", got, res.Choices[0].Finish, x.Text, x.Finish)
			}
			var used []int64
			if res.Usage.Source != llm.UsageNone {
				used = []int64{res.Usage.Prompt(), res.Usage.Completion()}
			}
			if !slices.Equal(used, x.Usage) || report.HasUsage != (x.Usage != nil) {
				t.Errorf("used %v, reported %+v, want %v", used, report, x.Usage)
			}
		})
	}
}

// TestTexts_Stream reads streams of those that have some, and refuses what was cut.
func TestTexts_Stream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		endpoint llm.Endpoint
		events   []string
		want     string
		fails    bool
	}{
		{llm.TritonChat, []string{`{"text_output":"Hel"}`, `{"text_output":"lo"}`}, "Hello stop", false},
		{llm.TritonChat, []string{`{"text_output":"Hel"}`, `{"error":"it failed"}`}, "", true},
		{llm.GigaChat, []string{`{"choices":[{"delta":{"content":"Hel","role":"assistant"},"index":0}],"model":"G"}`, `{"choices":[{"delta":{"content":"lo"},"index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`, `[DONE]`}, "Hello length", false},
		{llm.GigaChat, []string{`{"choices":[{"delta":{"content":"","function_call":{"name":"look","arguments":{"a":1}}},"index":0,"finish_reason":"function_call"}]}`, `[DONE]`}, `look({"a":1}) tool_calls`, false},
		{llm.GigaChat, []string{`{"choices":[{"delta":{"content":"Hel"},"index":0}]}`}, "", true},
		{llm.GigaChat, []string{`nonsense`}, "", true},
		{llm.SageMakerText, []string{`{"token":{"text":"Hel"},"generated_text":null}`, `{"token":{"text":"lo"}}`, `{"token":{"text":"</s>","special":true},"generated_text":"Hello","details":{"finish_reason":"eos_token"}}`}, "Hello stop", false},
		{llm.SageMakerText, []string{`{"token":{"text":"Hel"},"generated_text":null}`}, "", true},
		{llm.SageMakerText, []string{`{"token":{"text":"Hel"}}`, `{"error":"Request failed during generation","error_type":"generation"}`}, "", true},
		{llm.WatsonxText, []string{`{"system":{"warnings":[]}}`, `{"results":[{"generated_text":"Hel","stop_reason":"not_finished","input_token_count":4,"generated_token_count":1}]}`, `{"results":[{"generated_text":"lo","stop_reason":"MAX_TOKENS","input_token_count":0,"generated_token_count":2}]}`}, "Hello length 4 2", false},
		{llm.WatsonxText, []string{`{"results":[{"generated_text":"Hel","stop_reason":"not_finished"}]}`}, "", true},
		{llm.WatsonxText, []string{`{"errors":[{"code":"x","message":"it failed"}]}`}, "", true},
		{llm.AnthropicComplete, []string{`{"type":"completion","completion":"Hel","stop_reason":null}`, `{"type":"ping"}`, `{"type":"completion","completion":"lo","stop_reason":"stop_sequence"}`}, "Hello stop", false},
		{llm.AnthropicComplete, []string{`{"type":"completion","completion":"Hel","stop_reason":null}`, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`}, "", true},
		{llm.AnthropicComplete, []string{`{"type":"completion","completion":"Hel","stop_reason":null}`}, "", true},
		{llm.LangGraphRun, []string{`{"run_id":"r"}`, `[{"type":"AIMessageChunk","id":"m","content":"Hel","usage_metadata":{"input_tokens":4,"output_tokens":0}},{}]`, `[{"type":"tool","content":"fine"},{}]`, `[{"type":"AIMessageChunk","id":"m","content":[{"type":"text","text":"lo"}],"usage_metadata":{"input_tokens":3,"output_tokens":2}},{}]`}, "Hello stop 7 2", false},
		{llm.LangGraphRun, []string{`{"error":"ValueError","message":"no"}`}, "", true},
		{llm.ChatGPTResponses, []string{`{"type":"response.created","response":{"id":"r","model":"m"}}`, `{"type":"response.output_text.delta","output_index":0,"delta":"Hello"}`, `{"type":"response.completed","response":{"id":"r","status":"completed","output":[],"usage":{"input_tokens":4,"output_tokens":2,"total_tokens":6}}}`}, "Hello stop 4 2", false},
		{llm.M365Chat, []string{`{"id":"c1","displayName":"Intermediate Conversation Update","state":"active","turnCount":0,"messages":[{"id":"m2","text":"Hel"}]}`, `{"id":"c1","state":"active","turnCount":0,"messages":[]}`, `{"id":"c1","turnCount":0,"messages":[{"text":"Hello"}]}`, `{"id":"c1","state":"active","turnCount":1,"messages":[{"text":"Hi"},{"id":"m2","text":"Hello"}]}`}, "Hello stop", false},
		{llm.M365Chat, []string{`{"id":"c1","messages":[{"text":"Hello"}]}`, `{"id":"c1","messages":[{"text":"Hell"}]}`, `{"id":"c1","messages":[{"text":"Hallo"}]}`, `{"id":"c1","messages":[{"text":"Hello!"}]}`}, "Hello! stop", false},
		{llm.M365Chat, []string{`{"id":"c1","messages":[{"text":"Hello"}]}`, `{"id":"c1","turnCount":1,"messages":[{"text":"Hi"},{"text":"Hallo"}]}`}, "Hello\n\nHallo stop", false},
		{llm.M365Chat, []string{`{"id":"c1","messages":[{"text":"Hello"}]}`, `{"id":"c1","messages":[{"text":"Hallo"}]}`}, "Hello\n\nHallo stop", false},
		{llm.M365Chat, []string{`{"id":"c1","messages":[{"text":"He"}]}`, `{"id":"c1","state":"disengagedForRai","turnCount":1,"messages":[]}`}, "He content_filter", false},
		{llm.M365Chat, []string{`{"error":{"code":"x","message":"no"}}`}, "", true},
		{llm.M365Chat, []string{`nonsense`}, "", true},
		{llm.FIMCompletions, []string{`{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}`, `{"id":"c","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}`, `[DONE]`}, "Hello stop 4 2", false},
		{llm.FIMCompletions, []string{`{"id":"c","choices":[{"index":0,"text":"Hello","finish_reason":"length"}]}`, `[DONE]`}, "Hello length", false},
	} {
		out, _ := provider.OutboundOf(tt.endpoint)
		dec, all := out.NewDecoder(), new(chat.Collector)
		var err error
		var list []chat.Chunk
		for _, data := range tt.events {
			if err == nil {
				list, err = dec.Decode(list, llm.Event{Data: []byte(data)})
			}
		}
		if err == nil {
			list, err = dec.End(list)
		}
		if (err != nil) != tt.fails {
			t.Errorf("%s %v: got %v", tt.endpoint, tt.events, err)
		}
		if err != nil {
			continue
		}
		for i := range list {
			all.Add(&list[i])
		}
		res := all.Response()
		got := gistOf(res.Choices[0].Parts) + " " + res.Choices[0].Finish.String()
		if u := res.Usage; u.Source != llm.UsageNone && strings.Count(tt.want, " ") > 1 {
			got += fmt.Sprintf(" %d %d", u.Input, u.Output)
		}
		if got != tt.want || list[len(list)-1].Type != chat.ChunkEnd {
			t.Errorf("%s: got %q, want %q", tt.endpoint, got, tt.want)
		}
	}
}

// textErrors are the recorded errors of vendors who tell them otherwise than most.
var textErrors = map[string]string{
	"sagemaker": "sagemaker/testdata/errors.jsonl", "watsonx_text": "testdata/errors_watsonx.jsonl",
	"anthropic_text": "testdata/errors_anthropic_text.jsonl", "ragflow": "testdata/errors_ragflow.jsonl",
}

// TestTexts_Conformance: the rules for codecs hold for these vendors, which are where they are.
func TestTexts_Conformance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider, model string
		stream          bool
		options         map[string]string
		base, want      string
	}{
		{"triton", "ensemble", true, nil, "http://triton:8000", "http://triton:8000/v2/models/ensemble/generate_stream"},
		{"triton", "m", false, nil, "http://triton:8000/v2/models/m/generate", "http://triton:8000/v2/models/m/generate"},
		{"replicate", "meta/llama-3", false, nil, "", "https://api.replicate.com/v1/models/meta/llama-3/predictions"},
		{"replicate", "deployments/acme/mine", false, nil, "", "https://api.replicate.com/v1/deployments/acme/mine/predictions"},
		{"replicate", "meta/llama-2:02e5", false, nil, "", "https://api.replicate.com/v1/predictions"},
		{"nlp_cloud", "dolphin", false, nil, "", "https://api.nlpcloud.io/v1/gpu/dolphin/generation"},
		{"predibase", "qwen3-8b:repo/1", false, map[string]string{"tenant_id": "t1"}, "", "https://serving.app.predibase.com/t1/deployments/v2/llms/qwen3-8b/v1/chat/completions"},
		{"gigachat", "GigaChat", false, nil, "", "https://gigachat.devices.sberbank.ru/api/v1/chat/completions"},
		{"sagemaker", "my ep", true, map[string]string{"region": "eu-west-1"}, "", "https://runtime.sagemaker.eu-west-1.amazonaws.com/endpoints/my%20ep/invocations-response-stream"},
		{"watsonx_text", "ibm/granite", true, map[string]string{"region": "eu-de"}, "", "https://eu-de.ml.cloud.ibm.com/ml/v1/text/generation_stream?version=2025-05-20"},
		{"watsonx_text", "deployment/d1", false, map[string]string{"region": "eu-de", "api_version": "2026-01-01"}, "", "https://eu-de.ml.cloud.ibm.com/ml/v1/deployments/d1/text/generation?version=2026-01-01"},
		{"aleph_alpha", "m", false, nil, "https://pharia.example/inference", "https://pharia.example/inference/complete"},
		{"anthropic_text", "claude-2.1", false, nil, "", "https://api.anthropic.com/v1/complete"},
		{"bytez", "google/gemma", false, nil, "", "https://api.bytez.com/models/v2/google/gemma"},
		{"langgraph", "agent", true, nil, "", "http://localhost:2024/runs/stream"},
		{"langgraph", "agent", false, nil, "", "http://localhost:2024/runs/wait"},
		{"langflow", "a flow", false, nil, "", "http://localhost:7860/api/v1/run/a%20flow?stream=false"},
		{"ragflow", "chat/c1/gpt", false, nil, "", "http://localhost:9380/api/v1/chats_openai/c1/chat/completions"},
		{"ragflow", "agent/a1", false, nil, "", "http://localhost:9380/api/v1/agents_openai/a1/chat/completions"},
		{"ragflow", "c1", false, nil, "", "http://localhost:9380/api/v1/chats_openai/c1/chat/completions"},
		{"databricks_agent", "agents_main", false, nil, "https://w.example/serving-endpoints", "https://w.example/serving-endpoints/responses"},
		{"a2a", "planner", false, nil, "https://agent.example/a2a", "https://agent.example/a2a"},
		{"text-completion-codestral", "codestral", false, nil, "", "https://codestral.mistral.ai/v1/fim/completions"},
		{"text-completion-inception", "mercury", false, nil, "", "https://api.inceptionlabs.ai/v1/fim/completions"},
		{"manus", "manus-1.6", false, nil, "", "https://api.manus.im/v1/responses"},
		{"manus", "manus-1.6", false, nil, "https://api.manus.ai/v1", "https://api.manus.ai/v1/responses"},
		{"petals", "m", false, nil, "https://chat.petals.dev/api/v1/generate", "https://chat.petals.dev/api/v1/generate"},
		{"petals", "m", false, nil, "http://localhost:5000", "http://localhost:5000/api/v1/generate"},
		{"github_copilot", "gpt-4.1", false, nil, "", "https://api.githubcopilot.com/chat/completions"},
		{"github_copilot", "gpt-6-sol", false, nil, "", "https://api.githubcopilot.com/responses"},
		{"microsoft_365_copilot", "copilot", true, nil, "", "https://graph.microsoft.com/beta/copilot/conversations"},
		{"chatgpt", "gpt-6-sol", true, nil, "", "https://chatgpt.com/backend-api/codex/responses"},
		{"oci", "meta.llama-4", false, map[string]string{"region": "us-chicago-1"}, "", "https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/openai/v1/chat/completions"},
	} {
		t.Run(tt.provider+"/"+tt.model, func(t *testing.T) {
			t.Parallel()
			p, ok := provider.Lookup(tt.provider)
			if !ok {
				t.Fatal("no row")
			}
			p = p.For(tt.model)
			at, _ := p.Way(llm.Chat)
			got, err := p.URL(tt.base, llm.Place{Endpoint: at, Model: tt.model, Stream: tt.stream, Options: tt.options})
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			files := []string{"testdata/errors_texts.jsonl"}
			if own, ok := textErrors[tt.provider]; ok {
				files = []string{own}
			}
			providertest.Run(t, p, files...)
		})
	}
}
