package bedrock_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// TestCount_Path: tokens are counted under the model's own name.
func TestCount_Path(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ model, base, want string }{
		{"anthropic.claude-3-5-sonnet-20241022-v2:0", "", "anthropic.claude-3-5-sonnet-20241022-v2%3A0"},
		{"us.anthropic.claude-sonnet-4-5", "", "anthropic.claude-sonnet-4-5"},
		{"converse/us-gov.amazon.nova-pro-v1:0", "", "amazon.nova-pro-v1%3A0"},
		{"invoke/apac.anthropic.claude", "", "anthropic.claude"},
		{"moonshotai.kimi-k2.5", "", "moonshotai.kimi-k2.5"},
		{"arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude", "", "anthropic.claude"},
		{"arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude", "", "anthropic.claude"},
		{"arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", "us.anthropic.claude", "anthropic.claude"},
		{"arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", "", "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc"},
	} {
		got := bedrock.Codec{}.Path(llm.Place{Endpoint: llm.BedrockCount, Model: tt.model, Options: map[string]string{"base_model": tt.base}})
		if want := "/model/" + tt.want + "/count-tokens"; got != want {
			t.Errorf("%s: got %s, want %s", tt.model, got, want)
		}
	}
}

// TestCount_EncodeRequest: of what Converse is sent, CountTokens takes what has tokens.
func TestCount_EncodeRequest(t *testing.T) {
	t.Parallel()
	half := 0.5
	q := &chat.Request{
		Messages:    []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: "hi"}}}},
		Tools:       []chat.Tool{{Name: "look", Parameters: json.RawMessage(`{"type":"object"}`)}},
		Temperature: &half, MaxTokens: 9,
	}
	got, err := bedrock.Count{}.EncodeRequest(q, &llm.Target{Model: "amazon.nova"})
	const want = `{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hi"}]}],"toolConfig":{"tools":[{"toolSpec":{"name":"look","inputSchema":{"json":{"type":"object"}}}}]}}}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, model := range []string{"amazon.nova", "invoke/anthropic.claude"} {
		if _, err := (bedrock.Count{}).EncodeRequest(&chat.Request{Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Type: chat.PartVideo, Media: &chat.Media{}}}}}}, &llm.Target{Model: model}); err == nil {
			t.Errorf("%s: a video of nothing is counted", model)
		}
	}
}

// FuzzCount: no answer makes the reader panic, and a count is one that can be.
func FuzzCount(f *testing.F) {
	for _, s := range []string{`{"inputTokens":7}`, `{"inputTokens":-1}`, `{"inputTokens":7,"inputTokens":"x"}`, `{"inputTokens":1e300}`, `[]`, `{}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := bedrock.Count{}.DecodeResponse(body)
		if e, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || e.Kind != llm.Upstream) {
			t.Fatalf("%s: got %v", body, err)
		}
		if err == nil && (n < 0 || n > llm.MaxTokenCount) {
			t.Fatalf("%s: got %d", body, n)
		}
	})
}
