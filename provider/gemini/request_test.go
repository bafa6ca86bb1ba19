package gemini_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini"
)

func text(role chat.Role, s string) chat.Message {
	return chat.Message{Role: role, Parts: []chat.Part{{Text: s}}}
}

func call(id, name, args string) chat.Part {
	return chat.Part{Type: chat.PartToolCall, ID: id, Name: name, Arguments: json.RawMessage(args)}
}

func result(id, s string) chat.Part {
	return chat.Part{Type: chat.PartToolResult, ID: id, Parts: []chat.Part{{Text: s}}}
}

var hello = []chat.Message{text(chat.RoleUser, "hi")}

// said wraps generationConfig of a request that says hello.
func said(more string) string {
	return `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]` + more + `}`
}

func TestEncodeRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		model   string // "": gemini-2.5-flash
		req     chat.Request
		options map[string]string
		want    string
		dropped []string
	}{
		{name: "instructions stand apart, also those in the middle", req: chat.Request{Messages: []chat.Message{
			text(chat.RoleSystem, "be kind"), text(chat.RoleUser, "a"), text(chat.RoleUser, "b"), text(chat.RoleDeveloper, "be short"), text(chat.RoleAssistant, "c"), text(chat.RoleUser, ""),
		}}, want: `{"systemInstruction":{"parts":[{"text":"be kind"},{"text":"be short"}]},"contents":[{"role":"user","parts":[{"text":"a"},{"text":"b"}]},{"role":"model","parts":[{"text":"c"}]}]}`},
		{name: "instructions alone", req: chat.Request{Messages: []chat.Message{text(chat.RoleSystem, "go")}}, want: `{"contents":[{"role":"user","parts":[{"text":"go"}]}]}`},
		{name: "parallel calls and their results, in one turn, before what the user says", req: chat.Request{Messages: []chat.Message{
			text(chat.RoleUser, "x"),
			{Role: chat.RoleAssistant, Parts: []chat.Part{{Text: "ok"}, call("1", "f", `{"a":1}`), call("2", "g", "")}},
			{Role: chat.RoleTool, Parts: []chat.Part{result("2", "plain")}},
			text(chat.RoleUser, "and?"),
			{Role: chat.RoleTool, Parts: []chat.Part{result("1", `{"n":1}`)}},
		}}, want: `{"contents":[{"role":"user","parts":[{"text":"x"}]},{"role":"model","parts":[{"text":"ok"},{"functionCall":{"id":"1","name":"f","args":{"a":1}}},{"functionCall":{"id":"2","name":"g","args":{}}}]},
			{"role":"user","parts":[{"functionResponse":{"id":"2","name":"g","response":{"output":"plain"}}},{"functionResponse":{"id":"1","name":"f","response":{"n":1}}},{"text":"and?"}]}]}`},
		{name: "Vertex has no ids", options: map[string]string{"project": "p"}, req: chat.Request{Messages: []chat.Message{
			{Role: chat.RoleAssistant, Parts: []chat.Part{call("1", "f", "{}")}}, {Role: chat.RoleTool, Parts: []chat.Part{{Type: chat.PartToolResult, ID: "1", IsError: true, Parts: []chat.Part{{Text: "no"}}}}},
		}}, want: `{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"error":"no"}}}]}]}`},
		{name: "a result without a call, and broken arguments", req: chat.Request{Messages: []chat.Message{
			{Role: chat.RoleAssistant, Parts: []chat.Part{call("1", "f", `{"a":`)}}, {Role: chat.RoleTool, Parts: []chat.Part{result("9", "lost")}},
		}}, want: `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"1","name":"f","args":{"arguments":"{\"a\":"}}}]},{"role":"user","parts":[{"text":"Result of the tool 9: lost"}]}]}`},
		{name: "the third generation wants the first call signed", model: "gemini-3-pro-preview", req: chat.Request{Messages: []chat.Message{
			{Role: chat.RoleAssistant, Parts: []chat.Part{call("1", "f", "{}"), call("2", "f", "{}")}},
			{Role: chat.RoleTool, Parts: []chat.Part{result("1", "a"), result("2", "b")}},
			{Role: chat.RoleAssistant, Parts: []chat.Part{{Type: chat.PartToolCall, ID: "3", Name: "f", Signature: "c2ln"}}},
		}}, want: `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"1","name":"f","args":{}},"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"id":"2","name":"f","args":{}}}]},
			{"role":"user","parts":[{"functionResponse":{"id":"1","name":"f","response":{"output":"a"}}},{"functionResponse":{"id":"2","name":"f","response":{"output":"b"}}}]},{"role":"model","parts":[{"functionCall":{"id":"3","name":"f","args":{}},"thoughtSignature":"c2ln"}]}]}`},
		{name: "thoughts go back to Google alone", req: chat.Request{Messages: []chat.Message{
			{Role: chat.RoleAssistant, Parts: []chat.Part{{Type: chat.PartReasoning, Text: "theirs", Signature: "other"}, {Type: chat.PartReasoning, Data: "hidden"}, {Type: chat.PartReasoning, Text: "ours", Signature: "google:c2ln"}, {Text: "a"}}},
			text(chat.RoleUser, "b"),
			{Role: chat.RoleAssistant, Parts: []chat.Part{{Text: "c"}, {Type: chat.PartReasoning, Signature: "google:bGFzdA=="}}},
		}}, want: `{"contents":[{"role":"model","parts":[{"text":"ours","thought":true},{"text":"a","thoughtSignature":"c2ln"}]},{"role":"user","parts":[{"text":"b"}]},{"role":"model","parts":[{"text":"c"},{"text":"","thoughtSignature":"bGFzdA=="}]}]}`},
		{name: "media", req: chat.Request{Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{
			{Type: chat.PartImage, Media: &chat.Media{Data: "iVBORw0KGgo=", MIME: "image/png"}},
			{Type: chat.PartImage, Media: &chat.Media{Data: "iVBORw0KGgoAAAAN"}},
			{Type: chat.PartImage, Media: &chat.Media{URL: "https://h/a.webp?x=1"}},
			{Type: chat.PartImage, Media: &chat.Media{URL: "data:image/gif;base64,R0lG"}},
			{Type: chat.PartFile, Media: &chat.Media{FileID: "files/abc"}},
			{Type: chat.PartFile, Media: &chat.Media{URL: "gs://b/x.pdf"}},
			{Type: chat.PartVideo, Media: &chat.Media{URL: "https://www.youtube.com/watch?v=1"}},
			{Type: chat.PartAudio, Media: &chat.Media{Data: "AA==", MIME: "audio/wav"}},
		}}}}, want: `{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}},{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgoAAAAN"}},
			{"fileData":{"mimeType":"image/webp","fileUri":"https://h/a.webp?x=1"}},{"inlineData":{"mimeType":"image/gif","data":"R0lG"}},{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/abc"}},
			{"fileData":{"mimeType":"application/pdf","fileUri":"gs://b/x.pdf"}},{"fileData":{"fileUri":"https://www.youtube.com/watch?v=1"}},{"inlineData":{"mimeType":"audio/wav","data":"AA=="}}]}]}`},
		{name: "numbers", req: chat.Request{
			Messages: hello, MaxTokens: 9, Temperature: new(0.5), TopP: new(0.9), TopK: new(int64(3)), N: 2, Seed: new(int64(7)), Stop: []string{"a", "", "b"},
			FrequencyPenalty: new(0.1), PresencePenalty: new(0.2), LogProbs: true, TopLogProbs: 4,
		}, want: said(`,"generationConfig":{"maxOutputTokens":9,"temperature":0.5,"topP":0.9,"presencePenalty":0.2,"frequencyPenalty":0.1,"topK":3,"candidateCount":2,"seed":7,"stopSequences":["a","b"],"responseLogprobs":true,"logprobs":4}`)},
		{
			name: "what Google has no word for", req: chat.Request{
				Messages: hello, MinP: new(0.1), LogitBias: json.RawMessage(`{"1":2}`), Seed: new(int64(1 << 40)), Stop: []string{"1", "2", "3", "4", "5", "6"}, User: "u", Verbosity: "low", ServiceTier: "scale",
				CacheKey: "k", Metadata: json.RawMessage(`{}`), Prediction: json.RawMessage(`{}`), Extra: map[string]json.RawMessage{"store": json.RawMessage("true"), "logit": json.RawMessage("1")},
			}, want: said(`,"generationConfig":{"stopSequences":["1","2","3","4","5"]},"store":true`),
			dropped: []string{"logit", "logit_bias", "metadata", "min_p", "prediction", "prompt_cache_key", "seed", "service_tier", "stop", "user", "verbosity"},
		},
		{
			name: "tools", req: chat.Request{Messages: hello, ToolChoice: chat.ToolChoice{Mode: "tool", Name: "f"}, Tools: []chat.Tool{
				{Name: "f", Description: "d", Parameters: json.RawMessage(`{"type":"object","properties":{"a":{"type":"string"}}}`)},
				{Name: "g", Parameters: json.RawMessage(`{"type":"object","properties":{}}`)},
				{Kind: "web_search_20250305", Origin: "messages"},
				{Kind: "code_interpreter", Origin: "responses"},
				{Kind: "mcp", Origin: "responses"},
				{Kind: "googleMaps", Origin: "generate_content", Raw: json.RawMessage(`{"googleMaps":{"x":1}}`)},
			}}, want: said(`,"tools":[{"functionDeclarations":[{"name":"f","description":"d","parameters":{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}},{"name":"g"}]},{"googleSearch":{}},{"codeExecution":{}},{"googleMaps":{"x":1}}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}`),
			dropped: []string{"tools.mcp"},
		},
		{
			name: "some tools, if any", req: chat.Request{Messages: hello, ToolChoice: chat.ToolChoice{Mode: "auto", Only: []string{"g"}}, Tools: []chat.Tool{{Name: "f"}, {Name: "g"}}},
			want: said(`,"tools":[{"functionDeclarations":[{"name":"g"}]}],"toolConfig":{"functionCallingConfig":{"mode":"AUTO"}}`),
		},
		{
			name: "some tools, at least one", req: chat.Request{Messages: hello, ToolChoice: chat.ToolChoice{Mode: "required", Only: []string{"g"}}, Tools: []chat.Tool{{Name: "f"}, {Name: "g"}}},
			want: said(`,"tools":[{"functionDeclarations":[{"name":"f"},{"name":"g"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["g"]}}`),
		},
		{name: "a search asked for in OpenAI's way", req: chat.Request{Messages: hello, WebSearch: json.RawMessage(`{}`)}, want: said(`,"tools":[{"googleSearch":{}}]`)},
		{
			name: "a schema keeps the order of its properties", req: chat.Request{Messages: hello, Format: chat.Format{Type: "json_schema", Schema: json.RawMessage(`{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"}},"additionalProperties":false}`)}},
			want: said(`,"generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","properties":{"z":{"type":"STRING"},"a":{"type":"STRING"}},"propertyOrdering":["z","a"]}}`),
		},
		{
			name: "no schema beside functions before the third generation", req: chat.Request{Messages: hello, Tools: []chat.Tool{{Name: "f"}}, Format: chat.Format{Type: "json_object"}},
			want:    `{"systemInstruction":{"parts":[{"text":"Answer with one JSON object and nothing else: no words around it and no code fence."}]},` + said(`,"tools":[{"functionDeclarations":[{"name":"f"}]}]`)[1:],
			dropped: []string{"response_format"},
		},
		{
			name: "a schema beside functions", model: "gemini-3-flash", req: chat.Request{Messages: hello, Tools: []chat.Tool{{Name: "f"}}, Format: chat.Format{Type: "json_object"}},
			want: said(`,"tools":[{"functionDeclarations":[{"name":"f"}]}],"generationConfig":{"responseMimeType":"application/json"}`),
		},
		{
			name: "speech", req: chat.Request{Messages: hello, Modalities: []string{"text", "audio"}, Audio: json.RawMessage(`{"voice":"Kore","format":"pcm16"}`)},
			want: said(`,"generationConfig":{"responseModalities":["AUDIO"],"speechConfig":{"voiceConfig":{"prebuiltVoiceConfig":{"voiceName":"Kore"}}}}`),
		},
		{name: "pictures", req: chat.Request{Messages: hello, Modalities: []string{"text", "image"}}, want: said(`,"generationConfig":{"responseModalities":["TEXT","IMAGE"]}`)},
		{name: "Google's own members in OpenAI's body", req: chat.Request{Messages: hello, ServiceTier: "flex", Extra: map[string]json.RawMessage{
			"safety_settings": json.RawMessage(`[]`), "cachedContent": json.RawMessage(`"c"`), "generationConfig": json.RawMessage(`{"mediaResolution":"MEDIA_RESOLUTION_LOW"}`),
		}}, want: said(`,"generationConfig":{"mediaResolution":"MEDIA_RESOLUTION_LOW"},"serviceTier":"flex","cachedContent":"c","safetySettings":[]`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := &llm.Target{Model: tt.model, Options: tt.options}
			if tt.model == "" {
				target.Model = "gemini-2.5-flash"
			}
			raw, err := gemini.Dialect{}.EncodeRequest(&tt.req, target)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if json.Unmarshal(raw, &got) != nil || json.Unmarshal([]byte(tt.want), &want) != nil {
				t.Fatalf("got %s, want %s", raw, tt.want)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s\n(-want +got)\n%s", raw, d)
			}
			dropped := slices.Sorted(slices.Values(target.Dropped()))
			if d := cmp.Diff(tt.dropped, dropped); d != "" {
				t.Errorf("dropped (-want +got)\n%s", d)
			}
		})
	}
}

func TestEncodeRequest_Thinking(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		model string
		r     chat.Reasoning
		want  string // "": nothing
	}{
		{"gemini-2.5-pro", chat.Reasoning{}, ""},
		{"gemini-2.5-pro", chat.Reasoning{Effort: "high"}, `{"includeThoughts":true,"thinkingBudget":24576}`},
		{"gemini-2.5-pro", chat.Reasoning{Effort: "none"}, `{"thinkingBudget":128}`},
		{"gemini-2.5-flash", chat.Reasoning{Effort: "none"}, `{"thinkingBudget":0}`},
		{"gemini-2.5-flash", chat.Reasoning{Effort: "low", Summary: "none"}, `{"thinkingBudget":1024}`},
		{"gemini-2.5-flash", chat.Reasoning{Budget: new(int64(50000))}, `{"includeThoughts":true,"thinkingBudget":24576}`},
		{"gemini-2.5-flash", chat.Reasoning{Budget: new(int64(-1))}, `{"includeThoughts":true,"thinkingBudget":-1}`},
		{"gemini-2.5-flash-lite", chat.Reasoning{Budget: new(int64(100))}, `{"includeThoughts":true,"thinkingBudget":512}`},
		{"gemini-2.5-flash", chat.Reasoning{Adaptive: true}, `{"includeThoughts":true}`},
		{"gemini-2.5-flash", chat.Reasoning{Summary: "auto"}, `{"includeThoughts":true}`},
		{"gemini-3-pro-preview", chat.Reasoning{Effort: "minimal"}, `{"includeThoughts":true,"thinkingLevel":"LOW"}`},
		{"gemini-3-flash", chat.Reasoning{Effort: "none"}, `{"thinkingLevel":"MINIMAL"}`},
		{"models/gemini-3-flash", chat.Reasoning{Effort: "xhigh"}, `{"includeThoughts":true,"thinkingLevel":"HIGH"}`},
		{"gemini-flash-latest", chat.Reasoning{Effort: "medium"}, `{"includeThoughts":true,"thinkingLevel":"MEDIUM"}`},
		{"gemini-2.0-flash", chat.Reasoning{Effort: "high"}, ""},
		{"gemma-3-27b-it", chat.Reasoning{Effort: "high"}, ""},
	} {
		raw, err := gemini.Dialect{}.EncodeRequest(&chat.Request{Messages: hello, Reasoning: tt.r}, &llm.Target{Model: tt.model})
		var body struct {
			Config struct {
				Thinking json.RawMessage `json:"thinkingConfig"`
			} `json:"generationConfig"`
		}
		if err != nil || json.Unmarshal(raw, &body) != nil || string(body.Config.Thinking) != tt.want {
			t.Errorf("%s %+v: got %s (%v), want %s", tt.model, tt.r, raw, err, tt.want)
		}
	}
}

// TestEncodeRequest_Unsayable: what cannot be said names its field.
func TestEncodeRequest_Unsayable(t *testing.T) {
	t.Parallel()
	image := chat.Part{Type: chat.PartImage, Media: &chat.Media{Data: "AA=="}}
	for name, tt := range map[string]struct {
		req   chat.Request
		param string
	}{
		"no turns":           {chat.Request{}, "messages"},
		"empty turns":        {chat.Request{Messages: []chat.Message{text(chat.RoleUser, "")}}, "messages"},
		"another's file":     {chat.Request{Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Type: chat.PartFile, Media: &chat.Media{FileID: "file-1"}}}}}}, "messages[0]"},
		"an empty picture":   {chat.Request{Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Type: chat.PartImage, Media: &chat.Media{}}}}}}, "messages[0]"},
		"an instructing one": {chat.Request{Messages: []chat.Message{{Role: chat.RoleSystem, Parts: []chat.Part{image}}, hello[0]}}, "messages[0]"},
		"another sound":      {chat.Request{Messages: hello, Audio: json.RawMessage(`{"format":"mp3"}`)}, "audio.format"},
	} {
		_, err := gemini.Dialect{}.EncodeRequest(&tt.req, &llm.Target{Model: "m"})
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != tt.param {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
