package llm_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
)

func TestAnyUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     llm.Usage // none: there is no usage
	}{
		{"nothing", `{}`, llm.Usage{}},
		{"not JSON", `{"usage":{"input_tokens":1}`, llm.Usage{}},
		{"a list", `[{"usage":{"input_tokens":1}}]`, llm.Usage{}},
		{"no object", `{"usage":7}`, llm.Usage{}},
		{"numbers that are none", `{"prompt_token_count":-1,"generation_token_count":"x"}`, llm.Usage{}},
		{"Anthropic's, beside its cache", `{"usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":5}}`, llm.Usage{Input: 3, Output: 4, CacheRead: 5}},
		{"OpenAI's, with its cache", `{"usage":{"prompt_tokens":10,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":4}}}`, llm.Usage{Input: 6, CacheRead: 4, Output: 4}},
		{"a response of OpenAI's", `{"usage":{"input_tokens":10,"output_tokens":4,"total_tokens":14,"input_tokens_details":{"cached_tokens":4}}}`, llm.Usage{Input: 6, CacheRead: 4, Output: 4}},
		{"Nova's", `{"output":{},"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}`, llm.Usage{Input: 3, Output: 4}},
		{"Titan's", `{"inputTextTokenCount":3,"results":[{"tokenCount":4,"outputText":"a"},{"tokenCount":5}]}`, llm.Usage{Input: 3, Output: 9}},
		{"embeddings of Titan's", `{"embedding":[1],"inputTextTokenCount":3}`, llm.Usage{Input: 3}},
		{"Llama's", `{"generation":"a","prompt_token_count":3,"generation_token_count":4}`, llm.Usage{Input: 3, Output: 4}},
		{"Cohere's", `{"meta":{"billed_units":{"input_tokens":3,"output_tokens":4}}}`, llm.Usage{Input: 3, Output: 4}},
		{"Google's", `{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4}}`, llm.Usage{Input: 3, Output: 4}},
		{"an interaction", `{"usage":{"total_input_tokens":10,"total_cached_tokens":4,"total_output_tokens":5,"total_thought_tokens":6}}`, llm.Usage{Input: 6, CacheRead: 4, Output: 5, Reasoning: 6}},
		{"the end of one", `{"event_type":"interaction.complete","interaction":{"usage":{"total_input_tokens":1,"total_output_tokens":2}}}`, llm.Usage{Input: 1, Output: 2}},
		{"PaLM's", `{"predictions":[{"content":"a"}],"metadata":{"tokenMetadata":{"inputTokenCount":{"totalTokens":3},"outputTokenCount":{"totalTokens":4}}}}`, llm.Usage{Input: 3, Output: 4}},
		{"embeddings at Vertex", `{"predictions":[{"embeddings":{"statistics":{"token_count":3}}},{"embeddings":{"statistics":{"token_count":4}}}]}`, llm.Usage{Input: 7}},
		{"pictures at Vertex", `{"predictions":[{"bytesBase64Encoded":"AA=="},{"bytesBase64Encoded":"AA=="}]}`, llm.Usage{Units: llm.Units{OutputImages: 2}}},
		{"pictures at Bedrock", `{"images":["AA=="]}`, llm.Usage{Units: llm.Units{OutputImages: 1}}},
		{"Bedrock's metrics", `{"outputText":"a","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":4}}`, llm.Usage{Input: 3, Output: 4}},
		{"metrics beside a usage", `{"usage":{"input_tokens":3,"output_tokens":9,"output_tokens_details":{"thinking_tokens":5}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":9}}`, llm.Usage{Input: 3, Output: 4, Reasoning: 5}},
		{"too deep", strings.Repeat(`{"message":`, 9) + `{"usage":{"input_tokens":1}}` + strings.Repeat("}", 9), llm.Usage{}},
	} {
		got, ok := llm.AnyUsage([]byte(tt.in))
		if ok {
			tt.want.Source = llm.UsageProvider
		}
		if d := cmp.Diff(tt.want, got); d != "" || ok != (tt.want.Total() > 0 || tt.want.Units != (llm.Units{})) {
			t.Errorf("%s: %t %s", tt.name, ok, d)
		}
	}
}

func TestAnyMeter(t *testing.T) {
	t.Parallel()
	var m llm.AnyMeter
	var got llm.Usage
	for _, e := range []string{
		`{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_read_input_tokens":2,"output_tokens":1}}}`, `{"type":"ping"}`,
		`{"type":"message_delta","usage":{"output_tokens":20}}`,
		`{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":20,"cacheReadInputTokenCount":2}}`,
	} {
		if u, ok := m.Add([]byte(e)); ok {
			got = u
		}
	}
	if want := (llm.Usage{Input: 10, CacheRead: 2, Output: 20, Source: llm.UsageProvider}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Whatever a body is, what is read of it is within bounds.
func FuzzAnyUsage(f *testing.F) {
	for _, s := range []string{
		`{"usage":{"input_tokens":1}}`, `{"usage":{"total_input_tokens":1,"total_cached_tokens":9}}`, `{"predictions":[{"embeddings":{"statistics":{"token_count":1}}}]}`,
		`{"results":[{"tokenCount":1099511627776},{"tokenCount":1099511627776}]}`, `{"meta":{"billed_units":{}}}`, `{"message":{"message":{}}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		u, ok := llm.AnyUsage([]byte(body))
		if u.Prompt() < 0 || u.Completion() < 0 || !ok && u != (llm.Usage{}) {
			t.Errorf("%s: %+v, %t", body, u, ok)
		}
	})
}
