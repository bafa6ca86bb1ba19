package llm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
)

// TestReadUsage has what is odd; package pricing has the bodies of many vendors.
func TestReadUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		dialect llm.Dialect
		in      string
		want    *llm.Usage // nil: none
	}{
		{"nothing", llm.DialectAnthropic, `{}`, nil},
		{"not JSON", llm.DialectGemini, `{"usageMetadata":{`, nil},
		{"null", llm.DialectConverse, `{"usage":null}`, nil},
		{"of another kind", llm.DialectGemini, `{"usageMetadata":[1],"message":5}`, nil},
		{"a tier alone", llm.DialectAnthropic, `{"usage":{"service_tier":"batch"}}`, nil},
		{
			"the total is kept", llm.DialectOpenAI, `{"usage":{"prompt_tokens":10,"completion_tokens":0,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":5,"image_tokens":9}}}`,
			&llm.Usage{CacheReadAudio: 5, CacheReadImage: 3, ImageInput: 2},
		},
		{
			"cached text before audio", llm.DialectOpenAI, `{"usage":{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":6,"audio_tokens":5}}}`,
			&llm.Usage{CacheRead: 5, CacheReadAudio: 1, AudioInput: 4, Output: 1},
		},
		{
			"a response that wraps", llm.DialectOpenAI, `{"type":"response.completed","response":{"service_tier":"flex","usage":{"input_tokens":3,"output_tokens":4}}}`,
			&llm.Usage{Input: 3, Output: 4, Service: llm.ServiceFlex},
		},
		{"seconds are rounded up to milliseconds", llm.DialectOpenAI, `{"usage":{"seconds":1.0001}}`, &llm.Usage{Units: llm.Units{InputMS: 1001}}},
		{"seconds that are none", llm.DialectOpenAI, `{"usage":{"seconds":"x"}}`, nil},
		{
			"searches", llm.DialectAnthropic, `{"usage":{"input_tokens":1,"output_tokens":1,"server_tool_use":{"web_search_requests":2}}}`,
			&llm.Usage{Input: 1, Output: 1, Units: llm.Units{Queries: 2}},
		},
		{
			"thinking is a part of the output", llm.DialectAnthropic, `{"usage":{"input_tokens":1,"output_tokens":10,"output_tokens_details":{"thinking_tokens":7}}}`,
			&llm.Usage{Input: 1, Output: 3, Reasoning: 7},
		},
		{
			"a history that was made shorter", llm.DialectAnthropic, `{"usage":{"input_tokens":23,"output_tokens":10,"iterations":[{"type":"compaction","input_tokens":180,"output_tokens":35,"cache_read_input_tokens":2,"cache_creation_input_tokens":null},{"type":"message","input_tokens":23,"output_tokens":10}]}}`,
			&llm.Usage{Input: 203, CacheRead: 2, Output: 45},
		},
		{"negative numbers", llm.DialectConverse, `{"usage":{"inputTokens":-5,"outputTokens":7}}`, &llm.Usage{Output: 7}},
		{"thoughts alone", llm.DialectGemini, `{"usageMetadata":{"promptTokenCount":2,"thoughtsTokenCount":5,"totalTokenCount":7}}`, &llm.Usage{Input: 2, Reasoning: 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := llm.ReadUsage(tt.dialect, []byte(tt.in))
			if ok != (tt.want != nil) {
				t.Fatalf("got %+v, %v", got, ok)
			}
			if !ok {
				return
			}
			tt.want.Source = llm.UsageProvider
			if d := cmp.Diff(*tt.want, got); d != "" {
				t.Errorf("usage (-want +got):\n%s", d)
			}
		})
	}
}

func TestUsageMeter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   []string
		want llm.Usage
	}{
		{
			"anthropic",
			[]string{
				`{"type":"message_start","message":{"usage":{"input_tokens":25,"cache_read_input_tokens":7,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":4},"output_tokens":1,"service_tier":"priority"}}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"usage"}}`,
				`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15,"input_tokens":null,"cache_read_input_tokens":null}}`,
			},
			llm.Usage{Input: 25, CacheRead: 7, CacheWrite: 5, CacheWrite1h: 4, Output: 15, Service: llm.ServicePriority},
		},
		{
			"all of it at the end",
			[]string{
				`{"type":"message_start","message":{"usage":{"input_tokens":0,"output_tokens":0}}}`,
				`{"type":"message_delta","usage":{"input_tokens":30,"cache_read_input_tokens":12,"output_tokens":8,"server_tool_use":{"web_search_requests":2}}}`,
			},
			llm.Usage{Input: 30, CacheRead: 12, Output: 8, Units: llm.Units{Queries: 2}},
		},
		{
			"a prompt corrected by its cached part",
			[]string{
				`{"type":"message_start","message":{"usage":{"input_tokens":100}}}`,
				`{"type":"message_delta","usage":{"input_tokens":40,"cache_read_input_tokens":60,"output_tokens":8}}`,
			},
			llm.Usage{Input: 40, CacheRead: 60, Output: 8},
		},
		{
			"zeros say nothing",
			[]string{
				`{"type":"message_start","message":{"usage":{"input_tokens":100,"output_tokens":3}}}`,
				`{"type":"message_delta","usage":{"input_tokens":0,"output_tokens":0}}`,
			},
			llm.Usage{Input: 100, Output: 3},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := llm.UsageMeter{Dialect: llm.DialectAnthropic}
			var got llm.Usage
			for _, in := range tt.in {
				if u, ok := m.Add([]byte(in)); ok {
					got = u
				}
			}
			tt.want.Source = llm.UsageProvider
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("usage (-want +got):\n%s", d)
			}
		})
	}
	m := llm.UsageMeter{Dialect: llm.DialectAnthropic}
	m.Add([]byte(`{"usage":{"input_tokens":1}}`))
	if _, ok := m.Add([]byte(`{"type":"ping"}`)); ok {
		t.Error("an event without usage has one")
	}
}

func FuzzReadUsage(f *testing.F) {
	f.Add(uint8(1), []byte(`{"usage":{"input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":3}}}`))
	f.Add(uint8(3), []byte(`{"usageMetadata":{"promptTokenCount":5,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":3}]}}`))
	f.Add(uint8(4), []byte(`{"usage":{"inputTokens":5,"cacheDetails":[{"ttl":"1h","inputTokens":3}]},"serviceTier":{"type":"flex"}}`))
	f.Fuzz(func(t *testing.T, dialect uint8, in []byte) {
		u, _ := llm.ReadUsage(llm.Dialect(dialect%6), in)
		for _, n := range []int64{
			u.Input, u.CacheRead, u.CacheWrite, u.CacheWrite1h, u.CacheReadAudio, u.CacheReadImage, u.AudioInput, u.ImageInput,
			u.Output, u.Reasoning, u.AudioOutput, u.ImageOutput, u.Units.InputMS, u.Units.Queries,
		} {
			if n < 0 || n > 1<<50 {
				t.Fatalf("%q: got %+v", in, u)
			}
		}
	})
}
