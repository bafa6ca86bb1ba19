package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/resource"
)

// talker is a stand-in of a vendor whose conversations have a form of its own.
type talker struct {
	provider, model string
	streams         bool
	usage           llm.UsageSource
	serve           func(w http.ResponseWriter, r *http.Request, body string)
}

func talkers() []talker {
	var asked atomic.Int64
	return []talker{
		{"triton", "ensemble", true, llm.UsageEstimated, func(w http.ResponseWriter, r *http.Request, body string) {
			if strings.HasSuffix(r.URL.Path, "/v2/models/ensemble/generate_stream") {
				w.Header().Set("Content-Type", "text/event-stream")
				for _, text := range []string{"hello", " there"} {
					_, _ = fmt.Fprintf(w, "data: {\"model_name\":\"ensemble\",\"text_output\":%q}\n\n", text)
				}
				return
			}
			_, _ = io.WriteString(w, `{"text_output":"hello there"}`)
		}},
		{"nlp_cloud", "dolphin", false, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			_, _ = io.WriteString(w, `{"generated_text":"hello there","nb_input_tokens":11,"nb_generated_tokens":7}`)
		}},
		{"replicate", "meta/llama-3", false, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			switch {
			case r.Method == http.MethodPost && r.URL.Path == "/models/meta/llama-3/predictions" && r.Header.Get("Prefer") == "wait":
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"id":"p1","status":"starting","output":null,"error":null,"urls":{"get":"https://evil.example/"}}`)
			case r.Method == http.MethodGet && r.URL.Path == "/predictions/p1" && asked.Add(1) >= 1:
				_, _ = io.WriteString(w, `{"id":"p1","status":"succeeded","output":["hello"," there"],"metrics":{"input_token_count":11,"output_token_count":7}}`)
			default:
				w.WriteHeader(http.StatusTeapot)
			}
		}},
		{"predibase", "qwen3-8b:repo/1", false, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.URL.Path != "/qwen3-8b/v1/chat/completions" || !strings.HasPrefix(body, `{"model":"repo/1"`) {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			_, _ = io.WriteString(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`)
		}},
		{"gigachat", "GigaChat-2", true, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.Header.Get("Authorization") != "Bearer sk-provider" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if strings.Contains(body, `"stream":true`) {
				w.Header().Set("Content-Type", "text/event-stream")
				for _, data := range []string{
					`{"choices":[{"delta":{"content":"hello","role":"assistant"},"index":0}],"created":1,"model":"GigaChat-2"}`,
					`{"choices":[{"delta":{"content":" there"},"index":0,"finish_reason":"stop"}],"created":1,"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`, `[DONE]`,
				} {
					_, _ = io.WriteString(w, "data: "+data+"\n\n")
				}
				return
			}
			_, _ = io.WriteString(w, `{"choices":[{"message":{"role":"assistant","content":"hello there"},"index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`)
		}},
		{"sagemaker", "ep", true, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.Header.Get("Authorization") == "" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			const last = `{"token":{"text":" there"},"generated_text":"hello there","details":{"finish_reason":"eos_token","generated_tokens":7,"input_length":11}}`
			if r.URL.Path != "/endpoints/ep/invocations-response-stream" {
				_, _ = io.WriteString(w, `[{"generated_text":"hello there","details":{"finish_reason":"eos_token","generated_tokens":7,"input_length":11}}]`)
				return
			}
			w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
			for _, data := range []string{`{"token":{"text":"hello"},"generated_text":null}`, last} {
				_, _ = w.Write(bedrock.AppendEvent(nil, "PayloadPart", func(b []byte) []byte { return append(b, "data:"+data+"\n\n"...) }))
			}
		}},
		{"anthropic_text", "claude-2.1", true, llm.UsageEstimated, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.URL.Path != "/v1/complete" || r.Header.Get("X-Api-Key") != "sk-provider" || r.Header.Get("Anthropic-Version") == "" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			if !strings.Contains(body, `"stream":true`) {
				_, _ = io.WriteString(w, `{"type":"completion","id":"compl_1","completion":"hello there","stop_reason":"stop_sequence"}`)
				return
			}
			serveEvents(w, `{"type":"completion","completion":"hello","stop_reason":null}`, `{"type":"ping"}`, `{"type":"completion","completion":" there","stop_reason":"stop_sequence"}`)
		}},
		{"langgraph", "agent", true, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.Header.Get("X-Api-Key") != "sk-provider" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			if r.URL.Path == "/runs/wait" {
				_, _ = io.WriteString(w, `{"messages":[{"type":"human","content":"say hello"},{"type":"ai","content":"hello there","usage_metadata":{"input_tokens":11,"output_tokens":7}}]}`)
				return
			}
			serveEvents(w, `{"run_id":"r1"}`, `[{"type":"AIMessageChunk","content":"hello","usage_metadata":{"input_tokens":11,"output_tokens":0}},{}]`, `[{"type":"AIMessageChunk","content":" there","usage_metadata":{"input_tokens":0,"output_tokens":7}},{}]`)
		}},
		{"langflow", "flow", false, llm.UsageEstimated, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.URL.RequestURI() != "/api/v1/run/flow?stream=false" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			_, _ = io.WriteString(w, `{"outputs":[{"outputs":[{"results":{"message":{"text":"hello there"}}}]}]}`)
		}},
		{"petals", "m", false, llm.UsageEstimated, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.URL.Path != "/api/v1/generate" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || !strings.Contains(body, "inputs=") {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			_, _ = io.WriteString(w, `{"ok":true,"outputs":"hello there"}`)
		}},
		{"manus", "manus-1.6", false, llm.UsageEstimated, func(w http.ResponseWriter, r *http.Request, body string) {
			if v := r.Header["Api_key"]; len(v) != 1 || v[0] != "sk-provider" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, `{"id":"t1","status":"completed","output":[{"role":"assistant","content":[{"type":"output_text","text":"hello there"}]}]}`)
		}},
		{"microsoft_365_copilot", "copilot", true, llm.UsageEstimated, func(w http.ResponseWriter, r *http.Request, body string) {
			asks := strings.HasPrefix(body, `{"message":{"text":"`) && strings.Contains(body, `"locationHint":{"timeZone":"UTC"}`)
			switch at := r.Method + " " + r.URL.Path; {
			case r.Header.Get("Authorization") != "Bearer sk-provider":
				w.WriteHeader(http.StatusUnauthorized)
			case at == "POST /copilot/conversations" && body == "{}" && r.Header.Get("Accept") == "application/json":
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"id":"c/1","displayName":"","state":"active","turnCount":0}`)
			case at == "POST /copilot/conversations/c/1/chat" && asks:
				_, _ = io.WriteString(w, `{"id":"c/1","state":"active","turnCount":1,"messages":[{"text":"say hello"},{"text":"hello there"}]}`)
			case at == "POST /copilot/conversations/c/1/chatOverStream" && asks && r.Header.Get("Accept") == "text/event-stream":
				serveEvents(w, `{"id":"c/1","state":"active","turnCount":0,"messages":[{"text":"hello"}]}`, `{"id":"c/1","state":"active","turnCount":0,"messages":[]}`,
					`{"id":"c/1","state":"active","turnCount":1,"messages":[{"text":"say hello"},{"text":"hello there"}]}`)
			default:
				w.WriteHeader(http.StatusTeapot)
			}
		}},
		{"chatgpt", "gpt-6-sol", true, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.Header.Get("Authorization") != "Bearer at-1" || r.Header.Get("Chatgpt-Account-Id") != "acc" || !strings.Contains(body, `"stream":true`) || r.Header.Get("Accept") != "text/event-stream" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			serveEvents(w, `{"type":"response.created","response":{"id":"r1","model":"gpt-6-sol"}}`,
				`{"type":"response.output_text.delta","output_index":0,"delta":"hello"}`, `{"type":"response.output_text.delta","output_index":0,"delta":" there"}`,
				`{"type":"response.output_item.done","output_index":0,"item":{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hello there"}]}}`,
				`{"type":"response.completed","response":{"id":"r1","status":"completed","output":[],"usage":{"input_tokens":11,"output_tokens":7,"total_tokens":18}}}`)
		}},
		{"aleph_alpha", "luminous", false, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			_, _ = io.WriteString(w, `{"completions":[{"completion":"hello there","finish_reason":"end_of_text"}],"num_tokens_prompt_total":11,"num_tokens_generated":7}`)
		}},
		{"bytez", "google/gemma", false, llm.UsageEstimated, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.Header.Get("Authorization") != "Key sk-provider" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, `{"error":null,"output":{"role":"assistant","content":"hello there"}}`)
		}},
		{"a2a", "planner", false, llm.UsageEstimated, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.URL.Path != "/" && r.URL.Path != "" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			if strings.Contains(body, `"method":"tasks/get"`) {
				_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":"1","result":{"kind":"task","id":"t1","status":{"state":"completed"},"artifacts":[{"parts":[{"kind":"text","text":"hello there"}]}]}}`)
				return
			}
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":"1","result":{"kind":"task","id":"t1","status":{"state":"working"}}}`)
		}},
		{"text-completion-codestral", "codestral", true, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.URL.Path != "/fim/completions" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			if !strings.Contains(body, `"stream":true`) {
				_, _ = io.WriteString(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`)
				return
			}
			serveEvents(w, `{"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}`,
				`{"choices":[{"index":0,"delta":{"content":" there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`, `[DONE]`)
		}},
		{"oci", "meta.llama-4", false, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.Header.Get("Authorization") != "Bearer sk-provider" || r.Header.Get("Opc-Compartment-Id") != "comp" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, `{"id":"c1","choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`)
		}},
	}
}

// serveEvents serves server-sent events.
func serveEvents(w http.ResponseWriter, list ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, data := range list {
		_, _ = io.WriteString(w, "data: "+data+"\n\n")
	}
}

// TestTexts asks every such vendor in every client's dialect, whole and streamed. One that cannot stream
// is streamed as one answer, with its usage.
func TestTexts(t *testing.T) {
	t.Parallel()
	for _, v := range talkers() {
		for _, cl := range clients {
			for _, stream := range []bool{false, true} {
				if v.provider == "oci" && stream && (cl.endpoint == llm.Chat || cl.endpoint == llm.Responses) || v.provider == "oci" && cl.endpoint == llm.Responses {
					continue // is relayed as it is
				}
				t.Run(fmt.Sprintf("%s/%s/stream=%v", v.provider, cl.endpoint, stream), func(t *testing.T) {
					t.Parallel()
					srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						body, _ := io.ReadAll(r.Body)
						w.Header().Set("Content-Type", "application/json")
						v.serve(w, r, string(body))
					}))
					t.Cleanup(srv.Close)
					r := (&embedder{provider: v.provider, model: v.model}).rigFor(t, srv.URL, map[string]string{"oci_compartment_id": "comp"})
					if v.provider == "gigachat" {
						r.tables.Deployments[0].Secrets = map[string]*resource.Sealed{"gigachat_access_token": {}}
					}
					if v.provider == "chatgpt" {
						r.tables.Deployments[0].Secrets = map[string]*resource.Sealed{"chatgpt_auth": {}}
					}
					path, body := cl.path, cl.body
					if stream {
						body = strings.Replace(body, "%s", `,"stream":true`, 1)
						if cl.streamPath != "" {
							path = cl.streamPath
						}
					}
					w := r.do("POST", path, strings.Replace(body, "%s", "", 1))
					got := unframed(w.Body.String())
					if w.Code != 200 || !strings.Contains(got, "hello") || !strings.Contains(got, "there") || stream && !strings.Contains(got, cl.end) {
						t.Fatalf("got %d %s", w.Code, got)
					}
					r.checkBalance()
					u := r.journal.settled[0].Usage
					if u.Source != v.usage || v.usage == llm.UsageProvider && (u.Input != 11 || u.Output != 7) {
						t.Errorf("usage %+v", u)
					}
				})
			}
		}
	}
}

// TestTexts_Suffix: what follows a text reaches a provider that fills in the middle, and is refused for
// the others.
func TestTexts_Suffix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider string
		want     int
	}{
		{"text-completion-codestral", 200},
		{"openai", 200},
		{"triton", 400},
		{"anthropic", 400},
	} {
		t.Run(tt.provider, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				w.Header().Set("Content-Type", "application/json")
				if !strings.Contains(string(body), `"suffix":"): pass"`) {
					w.WriteHeader(http.StatusTeapot)
				}
				_, _ = io.WriteString(w, `{"object":"text_completion","choices":[{"index":0,"text":"a, b","finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`)
			}))
			t.Cleanup(srv.Close)
			r := (&embedder{provider: tt.provider, model: "m"}).rigFor(t, srv.URL, nil)
			w := r.do("POST", "/v1/completions", `{"model":"demo","prompt":"def f(","suffix":"): pass"}`)
			if got := w.Body.String(); w.Code != tt.want || tt.want == 200 && !strings.Contains(got, `"text":"a, b"`) || tt.want == 400 && !strings.Contains(got, `"param":"suffix"`) {
				t.Errorf("got %d %s", w.Code, got)
			}
		})
	}
}

// TestTexts_Failed: a prediction that failed is the provider's failure, and its cause is told.
func TestTexts_Failed(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, `{"id":"p1","status":"processing"}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"p1","status":"failed","error":"CUDA out of memory"}`)
	}))
	t.Cleanup(srv.Close)
	r := (&embedder{provider: "replicate", model: "meta/llama-3"}).rigFor(t, srv.URL, nil)
	w := r.do("POST", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`)
	if w.Code != 502 || !strings.Contains(w.Body.String(), "CUDA out of memory") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestManus_Files: files that a client sends along are brought to Manus, with no key where its bytes are put, named
// in the task and removed at its end.
func TestManus_Files(t *testing.T) {
	t.Parallel()
	const pdf = `"data:application/pdf;base64,REFUQQ=="`
	for name, request := range map[string][2]string{
		"chat":      {"/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":[{"type":"text","text":"sum up"},{"type":"file","file":{"filename":"a.pdf","file_data":` + pdf + `}}]}]}`},
		"responses": {"/v1/responses", `{"model":"demo","stream":true,"input":[{"role":"user","content":[{"type":"input_text","text":"sum up"},{"type":"input_file","filename":"a.pdf","file_data":` + pdf + `}]}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan string, 8)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				body := string(raw)
				keyed := len(r.Header["Api_key"]) == 1
				seen <- fmt.Sprint(r.Method, " ", r.RequestURI, " ", keyed)
				w.Header().Set("Content-Type", "application/json")
				switch at := r.Method + " " + r.URL.Path; {
				case at == "POST /v1/files" && body == `{"filename":"a.pdf"}`:
					_, _ = fmt.Fprintf(w, `{"id":"f1","status":"pending","upload_url":"http://%s/bucket/f1?sig=x"}`, r.Host)
				case at == "PUT /bucket/f1" && body == "DATA":
					w.Header().Del("Content-Type")
				case at == "POST /v1/responses" && strings.Contains(body, `{"type":"input_file","file_id":"f1"}`) && !strings.Contains(body, "file_data"):
					_, _ = io.WriteString(w, `{"id":"t1","status":"completed","output":[{"role":"assistant","content":"hello there"}]}`)
				case at == "DELETE /v1/files/f1":
					_, _ = io.WriteString(w, `{"id":"f1","deleted":true}`)
				default:
					w.WriteHeader(http.StatusTeapot)
				}
			}))
			t.Cleanup(srv.Close)
			r := (&embedder{provider: "manus", model: "manus-1.6"}).rigFor(t, srv.URL, nil)
			if w := r.do("POST", request[0], request[1]); w.Code != 200 || !strings.Contains(w.Body.String(), "hello there") {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			close(seen)
			var got []string
			for one := range seen {
				got = append(got, one)
			}
			want := []string{"POST /v1/files true", "PUT /bucket/f1?sig=x false", "POST /v1/responses true", "DELETE /v1/files/f1 true"}
			if !slices.Equal(got, want) {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}

// TestCopilot: GitHub's token is exchanged for one of Copilot's at the address of the options, which conversations,
// responses of models that only have those, and embeddings are asked with.
func TestCopilot(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/copilot_internal/v2/token" && r.Header.Get("Authorization") == "token sk-provider" {
			_, _ = io.WriteString(w, `{"token":"tid=1","expires_at":4000000000,"refresh_in":1500}`)
			return
		}
		if r.Header.Get("Authorization") != "Bearer tid=1" || r.Header.Get("Copilot-Integration-Id") == "" || r.Header.Get("Editor-Version") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/chat/completions":
			_, _ = io.WriteString(w, `{"id":"c1","choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`)
		case "/responses":
			_, _ = io.WriteString(w, `{"id":"r1","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hello there"}]}],"usage":{"input_tokens":11,"output_tokens":7,"total_tokens":18}}`)
		case "/embeddings":
			_, _ = io.WriteString(w, `{"data":[{"index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":11,"total_tokens":11}}`)
		}
	}))
	t.Cleanup(srv.Close)
	for _, tt := range []struct{ model, path, body, want string }{
		{"gpt-4.1", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`, "hello there"},
		{"gpt-6-sol", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`, "hello there"},
		{"gpt-6-sol", "/v1/responses", `{"model":"demo","input":"hi"}`, "hello there"},
		{"text-embedding-3-small", "/v1/embeddings", `{"model":"demo","input":"hi"}`, "0.5"},
	} {
		r := (&embedder{provider: "github_copilot", model: tt.model}).rigFor(t, srv.URL, map[string]string{"github_api_url": srv.URL})
		rec := r.do("POST", tt.path, tt.body)
		if rec.Code != 200 || !strings.Contains(rec.Body.String(), tt.want) {
			t.Errorf("%s at %s: got %d %s", tt.model, tt.path, rec.Code, rec.Body)
		}
		if got := r.journal.settled[0]; got.Usage.Source != llm.UsageProvider || got.Usage.Input != 11 {
			t.Errorf("%s: record %+v", tt.model, got)
		}
	}
}
