package proxy_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/resource"
)

const anthropicBody = `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`

// invoked are answers of InvokeModel in the words of models' invoked, each of which has used 10 and 20 tokens.
var invoked = []struct {
	name, body, answer string
	header             map[string]string
}{
	{"Anthropic's", anthropicBody, `{"content":[{"type":"text","text":"a"}],"usage":{"input_tokens":10,"output_tokens":20}}`, nil},
	{"Nova's", `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`, `{"output":{"message":{"content":[{"text":"a"}]}},"usage":{"inputTokens":10,"outputTokens":20}}`, nil},
	{"Titan's", `{"inputText":"hi"}`, `{"inputTextTokenCount":10,"results":[{"tokenCount":20,"outputText":"a"}]}`, nil},
	{"Llama's", `{"prompt":"hi"}`, `{"generation":"a","prompt_token_count":10,"generation_token_count":20}`, nil},
	{"Mistral's", `{"messages":[{"role":"user","content":"hi"}]}`, `{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":10,"completion_tokens":20}}`, nil},
	{
		"Cohere's, in headers", `{"message":"hi"}`, `{"text":"a"}`,
		map[string]string{"X-Amzn-Bedrock-Input-Token-Count": "10", "X-Amzn-Bedrock-Output-Token-Count": "20"},
	},
}

// chunks are frames of InvokeModelWithResponseStream.
func chunks(events ...string) string {
	var all []byte
	for _, e := range events {
		all = bedrock.AppendEvent(all, "chunk", func(b []byte) []byte {
			return append(base64.StdEncoding.AppendEncode(append(b, `{"bytes":"`...), []byte(e)), `","p":"abc"}`...)
		})
	}
	return string(all)
}

// invokedStreams are the same as streams.
var invokedStreams = []struct{ name, body, answer string }{
	{"Anthropic's", anthropicBody, chunks(
		`{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":20}}`,
		`{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":20}}`,
	)},
	{"Nova's", `{"messages":[]}`, chunks(`{"contentBlockDelta":{"delta":{"text":"a"}}}`, `{"metadata":{"usage":{"inputTokens":10,"outputTokens":20}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":20}}`)},
	{"Titan's", `{"inputText":"hi"}`, chunks(`{"outputText":"a","inputTextTokenCount":10,"totalOutputTextTokenCount":20}`)},
	{"Cohere's", `{"message":"hi"}`, chunks(`{"text":"a","is_finished":false}`, `{"is_finished":true,"amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":20}}`)},
}

// atBedrock is a gateway before a Bedrock that gives one answer.
func atBedrock(t *testing.T, answer, kind string, header map[string]string) (*wire, *string) {
	sent := new(string)
	w := passWire(t, "bedrock", func(rw http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		*sent = q.URL.EscapedPath() + " " + string(b)
		rw.Header().Set("Content-Type", kind)
		for name, v := range header {
			rw.Header().Set(name, v)
		}
		_, _ = io.WriteString(rw, answer)
	})
	w.tables.Deployments[0].Options["region"] = "eu-central-1"
	return w, sent
}

// What InvokeModel has used is charged, whoever has made the model, for a model of the gateway's and in Bedrock's own words.
func TestInvoke(t *testing.T) {
	t.Parallel()
	for _, tt := range invoked {
		for path, endpoint := range map[string]string{"/model/demo": "invoke", "/bedrock/model/demo": "invoke", "/bedrock/model/gpt-x": "pass_through"} {
			t.Run(tt.name+path, func(t *testing.T) {
				t.Parallel()
				w, sent := atBedrock(t, tt.answer, "application/json", tt.header)
				res, got := w.send(t.Context(), "POST", path+"/invoke", tt.body) //nolint:bodyclose // send closes it
				if res.StatusCode != 200 || got != tt.answer || !strings.HasSuffix(*sent, "/model/gpt-x/invoke "+tt.body) {
					t.Fatalf("got %d %s, sent %s", res.StatusCode, got, *sent)
				}
				rec := w.record()
				if rec.Cost != 50_000 || rec.Usage.Source != llm.UsageProvider || rec.Endpoint != endpoint {
					t.Errorf("recorded %+v", rec)
				}
				if h := res.Header.Get("X-Amzn-Bedrock-Output-Token-Count"); endpoint == "invoke" && h != "20" {
					t.Errorf("the header says %q tokens", h)
				}
			})
		}
	}
}

func TestInvoke_Streams(t *testing.T) {
	t.Parallel()
	for _, tt := range invokedStreams {
		for _, path := range []string{"/model/demo", "/bedrock/model/gpt-x"} {
			t.Run(tt.name+path, func(t *testing.T) {
				t.Parallel()
				w, sent := atBedrock(t, tt.answer, "application/vnd.amazon.eventstream", nil)
				res, got := w.send(t.Context(), "POST", path+"/invoke-with-response-stream", tt.body) //nolint:bodyclose // send closes it
				if res.StatusCode != 200 || got != tt.answer || !strings.HasSuffix(*sent, "/model/gpt-x/invoke-with-response-stream "+tt.body) || res.Header.Get("Content-Type") != "application/vnd.amazon.eventstream" {
					t.Fatalf("got %d %v %q, sent %s", res.StatusCode, res.Header, got, *sent)
				}
				if rec := w.record(); rec.Cost != 50_000 || rec.Usage.Source != llm.UsageProvider {
					t.Errorf("recorded %+v", rec)
				}
			})
		}
	}
}

// Words that are not understood are charged by what came, and never as if it were nothing.
func TestInvoke_Unread(t *testing.T) {
	t.Parallel()
	long := `{"words":"` + strings.Repeat("x", 3000) + `"}`
	for _, tt := range []struct{ name, path, answer, kind string }{
		{"whole", "/model/demo/invoke", long, "application/json"},
		{"in Bedrock's own words", "/bedrock/model/gpt-x/invoke", long, "application/json"},
		{"a stream", "/model/demo/invoke-with-response-stream", chunks(long, `{"end":true}`), "application/vnd.amazon.eventstream"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, _ := atBedrock(t, tt.answer, tt.kind, nil)
			res, got := w.send(t.Context(), "POST", tt.path, `{"unheard":"of"}`) //nolint:bodyclose // send closes it
			rec := w.record()
			if res.StatusCode != 200 || got != tt.answer || rec.Usage.Source != llm.UsageEstimated || rec.Usage.Output < 1000 || rec.Cost < 2_000_000 {
				t.Errorf("got %d, recorded %+v", res.StatusCode, rec)
			}
		})
	}
}

// Anthropic's words reach a model of another maker's, in its own; those of others are refused where nobody understands them.
func TestInvoke_Translates(t *testing.T) {
	t.Parallel()
	w, sent := atBedrock(t, `{"output":{"message":{"role":"assistant","content":[{"text":"a"}]}},"stopReason":"end_turn","usage":{"inputTokens":10,"outputTokens":20}}`, "application/json", nil)
	w.tables.Deployments[0].Upstream = "amazon.nova-pro-v1:0"
	res, got := w.send(t.Context(), "POST", "/model/demo/invoke", anthropicBody) //nolint:bodyclose // send closes it
	if res.StatusCode != 200 || !strings.Contains(got, `"output_tokens":20`) || !strings.Contains(*sent, "/converse ") {
		t.Errorf("got %d %s, sent %s", res.StatusCode, got, *sent)
	}
	asked := false
	other := passWire(t, "openai", func(http.ResponseWriter, *http.Request) { asked = true })
	res, got = other.send(t.Context(), "POST", "/model/demo/invoke", `{"inputText":"hi"}`) //nolint:bodyclose // send closes it
	if res.StatusCode != 400 || !strings.Contains(got, "unsupported_body") || !strings.Contains(got, "ValidationException") || asked {
		t.Errorf("got %d %s (asked: %t)", res.StatusCode, got, asked)
	}
}

// An exception ends a stream, and what came before is charged.
func TestInvoke_Exception(t *testing.T) {
	t.Parallel()
	answer := chunks(`{"outputText":"`+strings.Repeat("x", 300)+`"}`) + string(bedrock.AppendException(nil, "throttlingException", "slower"))
	w, _ := atBedrock(t, answer, "application/vnd.amazon.eventstream", nil)
	_, got := w.send(t.Context(), "POST", "/model/demo/invoke-with-response-stream", `{"inputText":"hi"}`) //nolint:bodyclose // send closes it
	rec := w.record()
	if !strings.Contains(got, "throttlingException") || rec.Flags&ledger.Cut == 0 || rec.Usage.Output < 100 {
		t.Errorf("got %q, recorded %+v", got, rec)
	}
}

// Work whose answer tells only that it has begun stays charged at what was held, and so do bytes.
func TestPassThrough_Later(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, provider, path, answer, kind string }{
		{"a film", "gemini", "/gemini/v1beta/models/gpt-x:predictLongRunning", `{"name":"operations/1"}`, "application/json"},
		{"a film at Vertex", "vertex_ai", "/vertex_ai/v1/projects/p/locations/l/publishers/google/models/gpt-x:predictLongRunning", `{"name":"operations/1"}`, "application/json"},
		{"bytes", "gemini", "/gemini/v1beta/models/gpt-x:unheardOf", "\x00\x01", "application/octet-stream"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := passWire(t, tt.provider, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", tt.kind)
				_, _ = io.WriteString(rw, tt.answer)
			})
			res, _ := w.send(t.Context(), "POST", tt.path, `{"instances":[{"prompt":"sea"}]}`) //nolint:bodyclose // send closes it
			rec := w.record()
			if res.StatusCode != 200 || rec.Cost != rec.Hold || rec.Cost == 0 || rec.Usage.Source != llm.UsageEstimated {
				t.Errorf("got %d, recorded %+v", res.StatusCode, rec)
			}
		})
	}
}

// What providers tell of their usage in their own words is charged.
func TestPassThrough_Usage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider, path, body, answer string
		cost                               resource.Money
	}{
		{"Anthropic's at Vertex", "vertex_ai", "/vertex_ai/v1/projects/p/locations/l/publishers/anthropic/models/gpt-x:rawPredict", `{"messages":[]}`, `{"usage":{"input_tokens":10,"output_tokens":20}}`, 50_000},
		{"Mistral's at Vertex", "vertex_ai", "/vertex_ai/v1/projects/p/locations/l/publishers/mistralai/models/gpt-x:rawPredict", `{"messages":[]}`, `{"usage":{"prompt_tokens":10,"completion_tokens":20}}`, 50_000},
		{"embeddings at Vertex", "vertex_ai", "/vertex_ai/v1/projects/p/locations/l/publishers/google/models/gpt-x:predict", `{"instances":[]}`, `{"predictions":[{"embeddings":{"statistics":{"token_count":10}}}]}`, 10_000},
		{"interactions", "gemini", "/gemini/v1beta/interactions", `{"model":"demo","input":"hi"}`, `{"id":"v1_abc123def","usage":{"total_input_tokens":10,"total_output_tokens":20}}`, 50_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := passWire(t, tt.provider, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, tt.answer)
			})
			res, got := w.send(t.Context(), "POST", tt.path, tt.body) //nolint:bodyclose // send closes it
			if rec := w.record(); res.StatusCode != 200 || got != tt.answer || rec.Cost != tt.cost || rec.Usage.Source != llm.UsageProvider {
				t.Errorf("got %d %s, recorded %+v", res.StatusCode, got, rec)
			}
		})
	}
}
