package proxy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// passWire is a gateway whose one deployment is open to requests in the provider's own words.
func passWire(t *testing.T, provider string, up http.HandlerFunc) *wire {
	w := newWire(t, up)
	d := w.tables.Deployments[0]
	d.Provider, d.APIKey, d.Options = provider, &resource.Sealed{}, map[string]string{"use_in_pass_through": "true"}
	if provider == "anthropic" {
		d.APIBase = strings.TrimSuffix(d.APIBase, "/v1")
	}
	return w
}

func (w *wire) send(ctx context.Context, method, path, body string, edits ...func(*http.Request)) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+goodKey)
	for _, edit := range edits {
		edit(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(got)
}

func TestPassThrough(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider, method, path, body string
		answer, kind                       string
		want                               string // as the provider sees it
		cost                               resource.Money
	}{
		{
			"a list", "openai", "GET", "/openai/v1/vector_stores?limit=2&key=sk-mine", "",
			`{"object":"list"}`, "application/json", "GET /v1/vector_stores?limit=2 Bearer sk-provider ", 0,
		},
		{
			"an array", "openai", "DELETE", "/openai/vector_stores/vs_1", "", `[]`, "application/json", "DELETE /v1/vector_stores/vs_1 Bearer sk-provider ", 0,
		},
		{
			"a conversation with its price", "openai", "POST", "/openai_passthrough/v1/chat/completions", `{"model":"demo","messages":[],"tags":["x"]}`,
			answerBody, "application/json", `POST /v1/chat/completions Bearer sk-provider {"model":"gpt-x","messages":[]}`, 50_000,
		},
		{
			"a stream of Anthropic's", "anthropic", "POST", "/anthropic/v1/complete?beta=true", `{"model":"gpt-x","stream":true}`,
			"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n" +
				"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":20}}\n\n" +
				"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
			"text/event-stream", `POST /v1/complete?beta=true  {"model":"gpt-x","stream":true}`, 50_000,
		},
		{
			"a path of OpenAI's document", "openai", "POST", "/v1/videos", `{"model":"demo","prompt":"sea"}`, `{"id":"video_1"}`, "application/json",
			`POST /v1/videos Bearer sk-provider {"model":"gpt-x","prompt":"sea"}`, 17_000,
		},
		{
			"an upload in parts", "openai", "POST", "/openai/v1/uploads", `{"filename":"in.jsonl","purpose":"batch-output","bytes":5,"mime_type":"text/plain"}`, `{"id":"upload_1"}`, "application/json",
			`POST /v1/uploads Bearer sk-provider {"filename":"in.jsonl","purpose":"batch-output","bytes":5,"mime_type":"text/plain"}`, 0,
		},
		{
			"what its owner keeps", "openai", "GET", "/v1/videos/video_1/content", "", "\x00", "video/mp4", "GET /v1/videos/video_1/content Bearer sk-provider ", 0,
		},
		{
			"a model in the path", "gemini", "POST", "/gemini/v1beta/tunedModels/demo:generateContent", `{"model":"models/demo","contents":[]}`,
			`{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":20}}`, "application/json",
			`POST /v1/v1beta/tunedModels/gpt-x:generateContent  {"model":"models/gpt-x","contents":[]}`, 50_000,
		},
		{
			"the provider's name in the path", "gemini", "POST", "/gemini/v1beta/mod%65ls/gpt-x:embedText", `{}`, `{}`, "application/json",
			`POST /v1/v1beta/mod%65ls/gpt-x:embedText  {}`, 0,
		},
		{
			"bytes", "openai", "GET", "/openai/v1/containers/c/files/f/content", "", "\x00\x01", "application/octet-stream",
			"GET /v1/containers/c/files/f/content Bearer sk-provider ", 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var sent string
			w := passWire(t, tt.provider, func(rw http.ResponseWriter, q *http.Request) {
				b, _ := io.ReadAll(q.Body)
				sent = q.Method + " " + q.URL.RequestURI() + " " + q.Header.Get("Authorization") + " " + string(b)
				rw.Header().Set("Content-Type", tt.kind)
				_, _ = io.WriteString(rw, tt.answer)
			})
			res, got := w.send(t.Context(), tt.method, tt.path, tt.body) //nolint:bodyclose // send closes it
			if res.StatusCode != 200 || got != tt.answer || res.Header.Get("Content-Type") != tt.kind {
				t.Fatalf("got %d %s %q", res.StatusCode, res.Header.Get("Content-Type"), got)
			}
			if sent != tt.want {
				t.Errorf("sent %q, want %q", sent, tt.want)
			}
			if rec := w.record(); rec.Cost != tt.cost || rec.Endpoint != "pass_through" || rec.KeyID != "key_good" || rec.Model != "demo" {
				t.Errorf("recorded %+v", rec)
			}
		})
	}
}

func TestPassThrough_Refuses(t *testing.T) {
	t.Parallel()
	open := func(*wire) {}
	for _, tt := range []struct {
		name, method, path, body string
		edit                     func(*wire)
		header                   func(*http.Request)
		status                   int
		want                     string
	}{
		{"not open", "GET", "/openai/v1/evals", "", func(w *wire) { w.tables.Deployments[0].Options = nil }, nil, 404, "endpoint_not_served"},
		{"not open to OpenAI's document", "GET", "/v1/videos/v", "", func(w *wire) { w.tables.Deployments[0].Options = nil }, nil, 404, "endpoint_not_served"},
		{"an owner that there is not", "GET", "/v1/videos/v", "", open, func(r *http.Request) { r.Header.Set("X-Conclave-Owner", "dep_9") }, 404, "endpoint_not_served"},
		{"another provider", "GET", "/mistral/v1/ocr", "", open, nil, 404, "endpoint_not_served"},
		{"a model that the key may not use", "POST", "/openai/v1/evals", `{"model":"secret"}`, open, nil, 403, "model_access_denied"},
		{"a model that the key may not use, in the path", "GET", "/openai/deployments/secret/x", "", open, nil, 403, "model_access_denied"},
		{"another model in the path than in the body", "POST", "/openai/deployments/gpt-x/x", `{"model":"demo"}`, open, nil, 400, "model_mismatch"},
		{"two models in the path", "GET", "/openai/deployments/demo/models/secret", "", open, nil, 400, "invalid_path"},
		{"a model behind an escaped slash", "GET", "/openai/x%2Fmodels%2Fsecret", "", open, nil, 400, "invalid_path"},
		{"denied to the key", "GET", "/openai/v1/evals", "", func(w *wire) { w.keys[resource.HashSecret(goodKey)].DeniedPassThrough = []string{"/openai/*"} }, nil, 403, "route_not_allowed"},
		{"not allowed to the key", "GET", "/openai/v1/evals", "", func(w *wire) { w.keys[resource.HashSecret(goodKey)].PassThrough = []string{"/anthropic/*"} }, nil, 403, "route_not_allowed"},
		{"no key, in Anthropic's shape", "GET", "/anthropic/v1/skills", "", open, func(r *http.Request) { r.Header.Del("Authorization") }, 401, `"type":"authentication_error"`},
		{"a path that climbs", "GET", "/openai/v1/%2e%2e/%2e%2e/admin", "", open, nil, 400, "invalid_path"},
		{"neither JSON nor a form", "POST", "/openai/v1/uploads", "hello", open, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "unsupported_media_type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := false
			w := passWire(t, "openai", func(http.ResponseWriter, *http.Request) { asked = true })
			tt.edit(w)
			edit := tt.header
			if edit == nil {
				edit = func(*http.Request) {}
			}
			res, got := w.send(t.Context(), tt.method, tt.path, tt.body, edit) //nolint:bodyclose // send closes it
			if res.StatusCode != tt.status || !strings.Contains(got, tt.want) || asked {
				t.Errorf("got %d %s (asked: %t), want %d %s", res.StatusCode, got, asked, tt.status, tt.want)
			}
		})
	}
}

// A file is no prompt: its upload holds nothing and costs nothing, but what the deployment charges for a request.
func TestPassThrough_Upload(t *testing.T) {
	t.Parallel()
	for flat, want := range map[string]resource.Money{"": 0, "0.002": resource.Dollar / 500} {
		w := passWire(t, "openai", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `{"id":"file-1","object":"file","bytes":9}`)
		})
		if flat != "" {
			w.tables.Deployments[0].Options["cost_per_request"] = flat
		}
		body, kind := uploadOf(t, "purpose", "user_data")
		for i, path := range []string{"/v1/files?custom_llm_provider=openai", "/openai/v1/files"} {
			if res, got := w.send(t.Context(), "POST", path, body, header("Content-Type", kind)); res.StatusCode != 200 { //nolint:bodyclose // send closes it
				t.Fatalf("%s: got %d %s", path, res.StatusCode, got)
			}
			all, _, err := w.journal.ReadFrom(0, 10)
			if err != nil || len(all) != i+1 {
				t.Fatalf("%d records, %v", len(all), err)
			}
			if r := all[i]; r.Cost != want || r.Hold != want || r.Usage.Total() != 0 {
				t.Errorf("%s: held %s and charged %s for %d tokens, want %s", path, r.Hold, r.Cost, r.Usage.Total(), want)
			}
		}
	}
}

// A stream that has begun ends in the words of its client's dialect when the answer is too large, and what has passed is charged.
func TestPassThrough_CutStream(t *testing.T) {
	t.Parallel()
	event := func(data string) string { return "data: " + data + "\n\n" }
	pad := strings.Repeat("x", 2<<20)
	for _, tt := range []struct {
		name, provider, path, first string
		want                        string // how the last event begins
	}{
		{
			"Anthropic's", "anthropic", "/anthropic/v1/messages", event(`{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}`),
			"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",",
		},
		{
			"Google's", "gemini", "/gemini/v1beta/models/demo:streamGenerateContent?alt=sse", event(`{"usageMetadata":{"promptTokenCount":10}}`),
			`data: {"error":{"code":502,`,
		},
		{
			"Vertex's", "vertex_ai", "/vertex_ai/v1/projects/p/locations/l/publishers/google/models/demo:streamGenerateContent?alt=sse", event(`{"usageMetadata":{"promptTokenCount":10}}`),
			`data: {"error":{"code":502,`,
		},
		{"responses", "openai", "/openai/v1/responses", event(`{"type":"response.created"}`), "event: error\ndata: {\"type\":\"error\",\"code\":\"response_too_large\","},
		{"OpenAI's", "openai", "/openai/v1/chat/completions", event(`{"choices":[]}`), `data: {"error":{"message":"The answer is larger than 1048576 bytes."`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := passWire(t, tt.provider, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(rw, tt.first+event(`{"pad":"`+pad+`"}`))
			})
			w.keys[resource.HashSecret(goodKey)].MaxResponseMB = &megabyte
			res, got := w.send(t.Context(), "POST", tt.path, `{"model":"demo","stream":true,"messages":[],"contents":[],"input":"hi"}`) //nolint:bodyclose // send closes it
			last, ok := strings.CutPrefix(got, tt.first)
			if res.StatusCode != 200 || !ok || !strings.HasPrefix(last, tt.want) || !strings.Contains(last, "response_too_large") {
				t.Errorf("got %d %.400q, want the end to be %q", res.StatusCode, got, tt.want)
			}
			if rec := w.record(); rec.ErrorCode != "response_too_large" || rec.Cost == 0 {
				t.Errorf("recorded %q at %d", rec.ErrorCode, rec.Cost)
			}
		})
	}
}

// A whole answer that is too large is read on: it says what was used.
func TestPassThrough_TooLarge(t *testing.T) {
	t.Parallel()
	w := passWire(t, "openai", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"pad":"`+strings.Repeat("x", 1<<20)+`","usage":{"prompt_tokens":10,"completion_tokens":20}}`)
	})
	w.keys[resource.HashSecret(goodKey)].MaxResponseMB = &megabyte
	res, got := w.send(t.Context(), "POST", "/openai/v1/chat/completions", `{"model":"demo","messages":[]}`) //nolint:bodyclose // send closes it
	if rec := w.record(); res.StatusCode != 502 || !strings.Contains(got, "response_too_large") || rec.Cost != 50_000 || rec.Usage.Source != llm.UsageProvider {
		t.Errorf("got %d %.200s, recorded %+v", res.StatusCode, got, rec)
	}
}

// The client's credentials stay here; what it marks goes on.
func TestPassThrough_Headers(t *testing.T) {
	t.Parallel()
	var sent http.Header
	w := passWire(t, "openai", func(rw http.ResponseWriter, q *http.Request) {
		sent = q.Header
		rw.WriteHeader(http.StatusNoContent)
	})
	res, _ := w.send(t.Context(), "DELETE", "/openai/v1/containers/c", "", func(r *http.Request) { //nolint:bodyclose // send closes it
		for name, v := range map[string]string{
			"X-Pass-Authorization": "Bearer evil", "X-Pass-X-Api-Key": "evil", "X-Pass-X-Mine": "yes", "Cookie": "c=1", "Openai-Beta": "v2", "X-Other": "no",
		} {
			r.Header.Set(name, v)
		}
	})
	if res.StatusCode != 204 || sent.Get("Authorization") != "Bearer sk-provider" || sent.Get("X-Mine") != "yes" || sent.Get("Openai-Beta") != "v2" ||
		sent.Get("X-Api-Key")+sent.Get("Cookie")+sent.Get("X-Other") != "" {
		t.Errorf("got %d, sent %v", res.StatusCode, sent)
	}
}

// Guardrails, budgets and errors are those of every route.
func TestPassThrough_Chain(t *testing.T) {
	t.Parallel()
	w := passWire(t, "openai", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(400)
		_, _ = io.WriteString(rw, `{"error":{"message":"no such eval","type":"invalid_request_error"}}`)
	})
	if res, got := w.send(t.Context(), "POST", "/openai/v1/evals", `{"name":"x"}`); res.StatusCode != 400 || !strings.Contains(got, "no such eval") { //nolint:bodyclose // send has read it
		t.Errorf("got %d %s", res.StatusCode, got)
	}
	r := newRig(t)
	r.tables = w.tables
	r.guard(&judge{check: func(*guardrail.Check) guardrail.Verdict {
		return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
	}}, resource.HookBefore)
	if got := r.do("POST", "/openai/v1/evals", `{"name":"bad"}`); got.Code != 400 || len(r.journal.settled) != 1 || r.journal.settled[0].Usage.Source != llm.UsageNone {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	r.checkBalance()
}
