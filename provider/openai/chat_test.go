package openai_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
)

// same compares JSON.
func same(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("want: %v", err)
	}
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("(-want +got):\n%s\n%s", d, got)
	}
}

func TestChat_Request(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in, want string
		dropped        []string
	}{
		{
			name: "text and numbers",
			in: `{"model":"m","messages":[{"role":"developer","content":"be brief"},{"role":"user","name":"ann","content":"Hi"}],
				"max_completion_tokens":7,"temperature":0.5,"top_p":1,"stop":"x","seed":3,"n":2,"user":"u","logprobs":true,"top_logprobs":2,
				"stream":true,"stream_options":{"include_usage":true},"tags":["a"],"store":true,"new_thing":{"a":[1]}}`,
			want: `{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","name":"ann","content":"Hi"}],
				"max_tokens":7,"temperature":0.5,"top_p":1,"stop":["x"],"seed":3,"n":2,"user":"u","logprobs":true,"top_logprobs":2,
				"stream":true,"stream_options":{"include_usage":true}}`,
			dropped: []string{"new_thing", "store"},
		},
		{
			name: "tools in parallel, with images in a result",
			in: `{"model":"gpt-5","max_tokens":9,"messages":[{"role":"user","content":"go"},
				{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"g","arguments":""}}]},
				{"role":"tool","tool_call_id":"a","content":[{"type":"text","text":"1"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},
				{"role":"tool","tool_call_id":"b","content":"2"},{"role":"tool","tool_call_id":"lost","content":"3"}],
				"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true},"cache_control":{"type":"ephemeral"}}],
				"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false}`,
			want: `{"model":"gpt-5","max_completion_tokens":9,"messages":[{"role":"user","content":"go"},
				{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"a","content":"1"},{"role":"tool","tool_call_id":"b","content":"2"},
				{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"text","text":"3"}]}],
				"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}}],
				"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false}`,
			dropped: []string{"cache_control"},
		},
		{
			name: "functions of old",
			in: `{"model":"m","messages":[{"role":"user","content":"go"},{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"2"}],
				"functions":[{"name":"f","parameters":{"type":"object"}}],"function_call":{"name":"f"}}`,
			want: `{"model":"m","messages":[{"role":"user","content":"go"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1_0","type":"function","function":{"name":"f","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"call_1_0","content":"2"}],
				"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":{"type":"function","function":{"name":"f"}}}`,
		},
		{
			name: "media",
			in: `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://h/i.png","detail":"low"}},
				{"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi"}},{"type":"file","file":{"file_id":"f"}},
				{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"/9j/"}},{"type":"video_url","video_url":{"url":"https://h/v.mp4"}},{"type":"odd","odd":1}]}]}`,
			want: `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://h/i.png","detail":"low"}},
				{"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi"}},{"type":"file","file":{"file_id":"f"}},
				{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,/9j/"}},{"type":"video_url","video_url":{"url":"https://h/v.mp4"}},{"type":"odd","odd":1}]}]}`,
		},
		{
			name: "custom and allowed tools, format, reasoning",
			in: `{"model":"m","messages":[{"role":"user","content":"go"},{"role":"assistant","tool_calls":[{"id":"c","type":"custom","custom":{"name":"patch","input":"a\nb"}}]},{"role":"tool","tool_call_id":"c","content":"ok"}],
				"tools":[{"type":"custom","custom":{"name":"patch","description":"d","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"x"}}}},{"type":"function","function":{"name":"f"}}],
				"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}},
				"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}},"thinking":{"type":"enabled","budget_tokens":2048}}`,
			want: `{"model":"m","messages":[{"role":"user","content":"go"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"custom","custom":{"name":"patch","input":"a\nb"}}]},{"role":"tool","tool_call_id":"c","content":"ok"}],
				"tools":[{"type":"custom","custom":{"name":"patch","description":"d","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"x"}}}},{"type":"function","function":{"name":"f"}}],
				"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}},
				"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}},"reasoning_effort":"medium"}`,
		},
		{
			name:    "thoughts of another model",
			in:      `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"t","thinking_blocks":[{"type":"thinking","thinking":"t","signature":"s"}]},{"role":"user","content":"c"}]}`,
			want:    `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}`,
			dropped: []string{"reasoning_content"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q, err := openai.Chat{}.DecodeRequest([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			target := llm.Target{Model: q.Model}
			got, err := openai.Chat{}.EncodeRequest(q, &target)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, tt.want)
			if d := cmp.Diff(tt.dropped, target.Dropped()); d != "" {
				t.Errorf("dropped: %s", d)
			}
		})
	}
}

func TestChat_Invalid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ body, param string }{
		{`{`, ""},
		{`[]`, "messages"},
		{`{"model":"m"}`, "messages"},
		{`{"messages":[]}`, "messages"},
		{`{"messages":"x"}`, "messages"},
		{`{"messages":[1]}`, "messages[0]"},
		{`{"messages":[{"role":"wizard","content":"x"}]}`, "messages[0].role"},
		{`{"messages":[{"role":"user","content":7}]}`, "messages[0].content"},
		{`{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, "messages[0].content[0].type"},
		{`{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, "messages[0].content[0].image_url"},
		{`{"messages":[{"role":"user","content":"x"}],"temperature":"hot"}`, "temperature"},
		{`{"messages":[{"role":"user","content":"x"}],"stop":[1]}`, "stop[0]"},
		{`{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{}}]}`, "tools[0].function.name"},
		{`{"messages":[{"role":"user","content":"x"}],"tool_choice":"sometimes"}`, "tool_choice"},
		{`{"messages":[{"role":"user","content":"x"}],"response_format":"json"}`, "response_format"},
	} {
		_, err := openai.Chat{}.DecodeRequest([]byte(tt.body))
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || e.Kind != llm.Invalid || e.Param != tt.param {
			t.Errorf("%s: got %+v, want %q", tt.body, err, tt.param)
		}
	}
}

func TestChat_Response(t *testing.T) {
	t.Parallel()
	body := `{"id":"c1","object":"chat.completion","created":5,"model":"m","system_fingerprint":"fp","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null,
		"annotations":[{"type":"url_citation","url_citation":{"url":"https://h","title":"t","start_index":0,"end_index":2}}],
		"reasoning_content":"hm","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"}],
		"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"},"provider_specific_fields":{"thought_signature":"g"}}]},
		"logprobs":{"content":[{"token":"Hi","logprob":-1,"bytes":[72,105],"top_logprobs":[]}],"refusal":null},"finish_reason":"tool_calls"}],
		"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0,"cache_write_tokens":1},
		"completion_tokens_details":{"reasoning_tokens":5,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default"}`
	res, err := openai.Chat{}.DecodeResponse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	got, err := openai.Chat{}.EncodeResponse(&chat.Request{Model: "m"}, res)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, body)
}

func TestChat_Response_Functions(t *testing.T) {
	t.Parallel()
	q, err := openai.Chat{}.DecodeRequest([]byte(`{"messages":[{"role":"user","content":"x"}],"functions":[{"name":"f"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := openai.Chat{}.EncodeResponse(q, &chat.Response{ID: "i", Model: "m", Created: 1, Choices: []chat.Choice{{Parts: []chat.Part{{Type: chat.PartToolCall, ID: "a", Name: "f"}}, Finish: chat.FinishTools}}})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, `{"id":"i","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"annotations":[],"function_call":{"name":"f","arguments":"{}"}},"logprobs":null,"finish_reason":"function_call"}]}`)
}
