package mock_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/provider/gemini"
)

const googleTools = `,"tools":[{"functionDeclarations":[{"name":"weather","parameters":{"type":"OBJECT","properties":{"city":{"type":"STRING"},"days":{"type":"INTEGER","minimum":3}}}},{"name":"time"}]}]`

func TestGenerateContent(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	said := `"contents":[{"role":"user","parts":[{"text":"hello \"big\" world"}]}]`
	for _, tt := range []struct {
		name, body string
		want       []chat.Part
		finish     chat.Finish
		output     int64
		reasoning  int64
	}{
		{"echo", said, []chat.Part{{Text: `You said: hello "big" world`}}, chat.FinishStop, 5, 0},
		{"maximum", said + `,"generationConfig":{"maxOutputTokens":3}`, []chat.Part{{Text: `You said: hello`}}, chat.FinishLength, 3, 0},
		{"tool", said + googleTools, []chat.Part{{Type: chat.PartToolCall, Name: "weather", Arguments: json.RawMessage(`{"city":"text","days":3}`), Signature: "bW9jay1zaWduYXR1cmU="}}, chat.FinishTools, 3, 0},
		{"chosen tool", said + googleTools + `,"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["time"]}}`, []chat.Part{{Type: chat.PartToolCall, Name: "time", Arguments: json.RawMessage(`{}`), Signature: "bW9jay1zaWduYXR1cmU="}}, chat.FinishTools, 1, 0},
		{"no tool", said + googleTools + `,"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}`, []chat.Part{{Text: `You said: hello "big" world`}}, chat.FinishStop, 5, 0},
		{"after a tool", `"contents":[{"role":"model","parts":[{"functionCall":{"name":"time"}}]},{"parts":[{"functionResponse":{"name":"time","response":{}}}]}]` + googleTools, []chat.Part{{Text: `You said: nothing`}}, chat.FinishStop, 3, 0},
		{"schema", said + `,"generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}}`, []chat.Part{{Text: `{"a":"text"}`}}, chat.FinishStop, 2, 0},
		{"thoughts", said + `,"generationConfig":{"thinkingConfig":{"includeThoughts":true}}`, []chat.Part{
			{Type: chat.PartReasoning, Text: "Let me think.", Signature: "google:bW9jay1zaWduYXR1cmU="}, {Text: `You said: hello "big" world`},
		}, chat.FinishStop, 5, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			status, whole := read(t, url+"/v1beta/models/m:generateContent", `{`+tt.body+`}`)
			res, err := gemini.Dialect{}.DecodeResponse([]byte(whole))
			if err != nil || status != 200 {
				t.Fatalf("got %d %s (%v)", status, whole, err)
			}
			ignore := cmpopts.IgnoreFields(chat.Part{}, "ID")
			if d := cmp.Diff([]chat.Choice{{Parts: tt.want, Finish: tt.finish}}, res.Choices, ignore); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if res.Usage.Output != tt.output || res.Usage.Reasoning != tt.reasoning || res.Model != "m" {
				t.Errorf("got %+v", res)
			}
			status, events := read(t, url+"/v1beta/models/m:streamGenerateContent?alt=sse", `{`+tt.body+`}`)
			if d := cmp.Diff(res, googleStream(t, events), ignore, cmpopts.IgnoreFields(chat.Response{}, "ID")); d != "" || status != 200 {
				t.Errorf("streamed, %d (-whole +stream)\n%s", status, d)
			}
			var list []json.RawMessage
			if _, array := read(t, url+"/v1beta/models/m:streamGenerateContent", `{`+tt.body+`}`); json.Unmarshal([]byte(array), &list) != nil || len(list) < 2 {
				t.Errorf("no array: %s", array)
			}
		})
	}
}

// googleStream makes an answer of a stream.
func googleStream(t *testing.T, events string) *chat.Response {
	t.Helper()
	var c chat.Collector
	dec, r := gemini.Dialect{}.NewDecoder(), llm.NewSSEReader(strings.NewReader(events), 0)
	for {
		e, err := r.Next()
		var chunks []chat.Chunk
		if err == io.EOF { //nolint:errorlint // as the reader says
			chunks, err = dec.End(nil)
		} else {
			chunks, err = dec.Decode(nil, e)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range chunks {
			if c.Add(&chunks[i]); chunks[i].Type == chat.ChunkEnd {
				return c.Response()
			}
		}
	}
}

func TestGenerateContent_Wrong(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{RetryAfter: 1500 * time.Millisecond, Key: "k"})
	user := `"contents":[{"parts":[{"text":"a"}]}]`
	for _, tt := range []struct {
		name, model, body, header, value string
		status                           int
		word, message                    string
	}{
		{"key", "m", `{}`, "X-Goog-Api-Key", "other", 401, "UNAUTHENTICATED", "Incorrect"},
		{"no contents", "m", `{}`, "", "", 400, "INVALID_ARGUMENT", "contents is not specified"},
		{"role", "m", `{"contents":[{"role":"assistant","parts":[{"text":"a"}]}]}`, "", "", 400, "INVALID_ARGUMENT", "valid role"},
		{"no parts", "m", `{"contents":[{"role":"user","parts":[]}]}`, "", "", 400, "INVALID_ARGUMENT", "must not be empty"},
		{"a call without a result", "m", `{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f"}}]},{"parts":[{"text":"a"}]}]}`, "", "", 400, "INVALID_ARGUMENT", "number of function response parts"},
		{"a call that is not signed", "gemini-3-pro", `{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f"}}]}]}`, "", "", 400, "INVALID_ARGUMENT", "missing a thought_signature"},
		{"another's signature", "m", `{"contents":[{"role":"model","parts":[{"text":"a","thoughtSignature":"x"}]}]}`, "", "", 400, "INVALID_ARGUMENT", "Corrupted"},
		{"a schema's reference", "m", `{` + user + `,"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","properties":{"a":{"$ref":"#"}}}}]}]}`, "", "", 400, "INVALID_ARGUMENT", "$ref"},
		{"an array without items", "m", `{` + user + `,"generationConfig":{"responseSchema":{"type":"ARRAY"}}}`, "", "", 400, "INVALID_ARGUMENT", "missing field"},
		{"no functions", "m", `{` + user + `,"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}`, "", "", 400, "INVALID_ARGUMENT", "function_declarations"},
		{"too many", "m", `{}`, "x-mock-status", "429", 429, "RESOURCE_EXHAUSTED", "retryDelay"},
		{"broken", "m", `{`, "", "", 400, "INVALID_ARGUMENT", "JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			headers := []string{"X-Goog-Api-Key", "k"}
			if tt.header != "" {
				headers = append(headers, tt.header, tt.value)
			}
			status, got := read(t, url+"/v1beta/models/"+tt.model+":generateContent", tt.body, headers...)
			if status != tt.status || !strings.Contains(got, `"`+tt.word+`"`) || !strings.Contains(got, tt.message) {
				t.Errorf("got %d %s", status, got)
			}
		})
	}
	if status, got := read(t, url+"/v1beta/models/m:generateContent?key=k", `{`+user+`}`); status != 200 {
		t.Errorf("a key in the query: got %d %s", status, got)
	}
}

func TestCountTokens_Google(t *testing.T) {
	t.Parallel()
	s, url := start(t, mock.Config{})
	if status, got := read(t, url+"/v1beta/models/m:countTokens", `{"contents":[{"parts":[{"text":"abcdefgh"}]}]}`); status != 200 || !strings.Contains(got, `"totalTokens"`) || s.Usage().CompletionTokens != 0 {
		t.Errorf("got %d %s", status, got)
	}
}
