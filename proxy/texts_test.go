package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/llm"
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
		{"oci", "meta.llama-4", false, llm.UsageProvider, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.Header.Get("Authorization") != "Bearer sk-provider" || r.Header.Get("Opc-Compartment-Id") != "comp" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, `{"id":"c1","choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`)
		}},
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
					path, body := cl.path, cl.body
					if stream {
						body = strings.Replace(body, "%s", `,"stream":true`, 1)
						if cl.streamPath != "" {
							path = cl.streamPath
						}
					}
					w := r.do("POST", path, strings.Replace(body, "%s", "", 1))
					got := w.Body.String()
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
