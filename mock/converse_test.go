package mock_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// converse asks for an answer, whole or as a stream, and reads it.
func converse(t *testing.T, url, body string, stream bool, headers ...string) (*chat.Response, error) {
	t.Helper()
	place := llm.Place{Endpoint: llm.Converse, Model: "vendor.model-v1:0", Stream: stream}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+bedrock.Codec{}.Path(place), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	if !stream || res.StatusCode != http.StatusOK {
		whole, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK {
			e := bedrock.Codec{}.Classify(time.Time{}, res.StatusCode, res.Header, whole)
			return nil, e
		}
		return bedrock.Format{}.DecodeResponse(whole)
	}
	return collect(res.Body)
}

// collect reads a stream.
func collect(src io.Reader) (*chat.Response, error) {
	r, d := bedrock.NewReader(src, 0), bedrock.Format{}.NewDecoder()
	var c chat.Collector
	for {
		e, err := r.Next()
		if err != nil && err != io.EOF { //nolint:errorlint // the reader returns the very value
			return nil, err
		}
		var chunks []chat.Chunk
		if err == nil {
			chunks, err = d.Decode(nil, e)
		} else if chunks, err = d.End(nil); err == nil {
			return c.Response(), nil
		}
		if err != nil {
			return nil, err
		}
		for i := range chunks {
			c.Add(&chunks[i])
		}
	}
}

func TestConverse(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	const said = `"messages":[{"role":"user","content":[{"text":"a b"}]}]`
	const tools = `,"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{"n":{"type":"integer"}}}}}},{"toolSpec":{"name":"g","inputSchema":{"json":{"type":"object"}}}}]`
	thought := chat.Part{Type: chat.PartReasoning, Text: "Let me think.", Signature: "bW9jay1zaWduYXR1cmU="}
	for _, tt := range []struct {
		name, body string
		parts      []chat.Part
		finish     chat.Finish
	}{
		{"echo", said, []chat.Part{{Text: "You said: a b"}}, chat.FinishStop},
		{"limit", said + `,"inferenceConfig":{"maxTokens":1}`, []chat.Part{{Text: "You"}}, chat.FinishLength},
		{"a tool", said + tools + `}`, []chat.Part{{Type: chat.PartToolCall, ID: "tooluse_mock", Name: "f", Arguments: json.RawMessage(`{"n":1}`)}}, chat.FinishTools},
		{
			"thinking and this tool", said + tools + `,"toolChoice":{"tool":{"name":"g"}}},"additionalModelRequestFields":{"thinking":{"type":"adaptive"}}`,
			[]chat.Part{thought, {Type: chat.PartToolCall, ID: "tooluse_mock", Name: "g", Arguments: json.RawMessage(`{}`)}},
			chat.FinishTools,
		},
		{
			"a result", `"messages":[{"role":"user","content":[{"text":"x"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"t","name":"f","input":{}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"t","content":[]}},{"text":"go"}]}]` + tools + `}`,
			[]chat.Part{{Text: "You said: go"}},
			chat.FinishStop,
		},
	} {
		for _, stream := range []bool{false, true} {
			got, err := converse(t, url, "{"+tt.body+"}", stream, "x-mock-usage", "40,9,30")
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			if d := cmp.Diff(tt.parts, got.Choices[0].Parts); d != "" || got.Choices[0].Finish != tt.finish {
				t.Errorf("%s: finish %v (-want +got):\n%s", tt.name, got.Choices[0].Finish, d)
			}
			if u := got.Usage; u.Input != 10 || u.CacheRead != 30 || u.Completion() != 9 {
				t.Errorf("%s: usage %+v", tt.name, u)
			}
		}
	}
}

func TestConverse_Wrong(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	for _, body := range []string{
		`{`, `{}`, `{"messages":[{"role":"assistant","content":[{"text":"a"}]}]}`, `{"messages":[{"role":"user","content":[]}]}`,
		`{"messages":[{"role":"user","content":[{"text":" "}]}]}`,
		`{"messages":[{"role":"user","content":[{"text":"a"}]},{"role":"user","content":[{"text":"a"}]}]}`,
		`{"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"t"}}]}]}`,
		`{"messages":[{"role":"user","content":[{"text":"a"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"t"}}]},{"role":"user","content":[{"text":"b"}]}],"toolConfig":{"tools":[]}}`,
		`{"messages":[{"role":"user","content":[{"text":"a"}]},{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"t","signature":"forged"}}}]}]}`,
	} {
		for _, stream := range []bool{false, true} {
			if _, err := converse(t, url, body, stream); err == nil || !strings.Contains(err.Error(), " ") {
				t.Errorf("%s: got %v", body, err)
			}
		}
	}
	if _, err := converse(t, url, `{"messages":[{"role":"user","content":[{"text":"a b c"}]}]}`, true, "x-mock-cut-after", "2"); err == nil {
		t.Error("a stream that was cut passes for whole")
	}
}
