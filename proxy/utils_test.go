package proxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/resource"
)

func TestTokenCounter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, upstream, info, body string
		want                       int
		source, code               string
	}{
		{"a prompt", "gpt-4", ``, `"prompt":"hello world"`, 2, "exact", ""},
		{"prompts", "gpt-4", ``, `"prompt":["hello world","hello world"]`, 4, "exact", ""},
		{"messages", "gpt-4", ``, `"messages":[{"role":"user","content":"hello world"}]`, 9, "exact", ""},
		{"Anthropic's", "gpt-4", ``, `"max_tokens":9,"system":"hello world","messages":[{"role":"user","content":"hello world"}]`, 15, "exact", ""},
		{"Google's", "gpt-4", ``, `"contents":[{"role":"user","parts":[{"text":"hello world"}]}]`, 9, "exact", ""},
		{"another maker's", "claude", ``, `"prompt":"hello world"`, 2, "estimated", ""},
		{"its own encoding", "claude", `{"custom_tokenizer":"r50k_base"}`, `"prompt":"000000"`, 1, "exact", ""},
		{"its own, as an object", "claude", `{"custom_tokenizer":{"identifier":"r50k_base"}}`, `"prompt":"000000"`, 1, "exact", ""},
		{"a file", "claude", `{"custom_tokenizer":{"blob":"d1"}}`, `"prompt":"ab"`, 2, "exact", ""},
		{"a file that is gone", "claude", `{"custom_tokenizer":{"blob":"d2"}}`, `"prompt":"ab"`, 0, "", "tokenizer_unavailable"},
		{"a file that no node gives", "claude", `{"custom_tokenizer":{"blob":"d3"}}`, `"prompt":"ab"`, 0, "", "blob_unavailable"},
		{"an unknown one", "claude", `{"custom_tokenizer":{"identifier":"org/model"}}`, `"prompt":"x"`, 0, "", "tokenizer_unavailable"},
		{"nothing to count", "gpt-4", ``, `"x":1`, 0, "", "missing_required_parameter"},
		{"a wrong prompt", "gpt-4", ``, `"prompt":5`, 0, "", "invalid_value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.cfg.Tokenizers = func(_ context.Context, digest string) (tokenize.Tokenizer, error) {
				switch digest {
				case "d2":
					return nil, errBoom
				case "d3":
					return nil, errNoBlob
				}
				return tokenize.Load([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}`))
			}
			r.tables.Deployments[0].Upstream, r.tables.Deployments[0].Metadata = tt.upstream, json.RawMessage(tt.info)
			w := r.do("POST", "/utils/token_counter", `{"model":"demo",`+tt.body+`}`)
			if tt.code != "" {
				if got := codeOf(t, w.Body.String()); got != tt.code {
					t.Errorf("got %d %s, want %s", w.Code, w.Body, tt.code)
				}
				return
			}
			var got struct {
				Total  int    `json:"total_tokens"`
				Source string `json:"count_source"`
				Used   string `json:"model_used"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Total != tt.want || got.Source != tt.source || got.Used != tt.upstream {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	if w := newRig(t).do("POST", "/utils/token_counter", `{"model":"secret","prompt":"x"}`); w.Code != 403 {
		t.Errorf("a model that the key may not use: got %d", w.Code)
	}
}

// TestTokenCounter_Asked: with call_endpoint the provider counts, if it can; else the gateway does.
func TestTokenCounter_Asked(t *testing.T) {
	t.Parallel()
	const messages, contents = `{"model":"demo","messages":[{"role":"user","content":"hello world"}]}`, `{"model":"demo","contents":[{"role":"user","parts":[{"text":"hello world"}]}]}`
	for _, tt := range []struct {
		name, provider, query, body, answer string
		status, want                        int
		tokenizer, asked                    string
	}{
		{"Anthropic", "anthropic", "?call_endpoint=true", messages, `{"input_tokens":7}`, 200, 7, "anthropic_api", "/v1/messages/count_tokens"},
		{"Google", "gemini", "?call_endpoint=true", contents, `{"totalTokens":7}`, 200, 7, "gemini", "/models/m:countTokens"},
		{"Amazon", "bedrock", "?call_endpoint=true", messages, `{"inputTokens":7}`, 200, 7, "bedrock_api", "/model/m/count-tokens"},
		{"Amazon, for Google's", "bedrock", "?call_endpoint=true", contents, `{"inputTokens":7}`, 200, 7, "bedrock_api", "/model/m/count-tokens"},
		{"it refuses", "bedrock", "?call_endpoint=true", messages, `{"__type":"ValidationException"}`, 400, 9, "openai_tokenizer", "/model/m/count-tokens"},
		{"nonsense", "anthropic", "?call_endpoint=true", messages, `{"input_tokens":"x"}`, 200, 9, "openai_tokenizer", "/v1/messages/count_tokens"},
		{"it does not count", "groq", "?call_endpoint=true", messages, ``, 200, 9, "openai_tokenizer", ""},
		{"a prompt", "bedrock", "?call_endpoint=true", `{"model":"demo","prompt":"hello world"}`, ``, 200, 2, "openai_tokenizer", ""},
		{"not asked for", "bedrock", "", messages, `{"inputTokens":7}`, 200, 9, "openai_tokenizer", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan string, 1)
			w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
				asked <- q.URL.EscapedPath()
				if body, _ := io.ReadAll(q.Body); strings.Contains(string(body), `"demo"`) {
					tt.answer = string(body)
				}
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(tt.status)
				_, _ = io.WriteString(rw, tt.answer)
			})
			d := w.tables.Deployments[0]
			d.Provider, d.Upstream, d.APIBase, d.APIKey = tt.provider, "m", strings.TrimSuffix(d.APIBase, "/v1"), &resource.Sealed{}
			res, body := w.ask(t.Context(), "/utils/token_counter"+tt.query, "application/json", strings.NewReader(tt.body)) //nolint:bodyclose // ask closes it
			var got struct {
				Total     int             `json:"total_tokens"`
				Tokenizer string          `json:"tokenizer_type"`
				Original  json.RawMessage `json:"original_response"`
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 200 || got.Total != tt.want || got.Tokenizer != tt.tokenizer || (string(got.Original) == tt.answer) != (tt.want == 7) {
				t.Errorf("got %d %s", res.StatusCode, body)
			}
			close(asked)
			if at := <-asked; at != tt.asked {
				t.Errorf("asked %q, want %q", at, tt.asked)
			}
			if rec := w.record(); rec.Cost != 0 || rec.Usage.Total() != 0 {
				t.Errorf("recorded %+v: a count costs nothing", rec)
			}
		})
	}
}

func TestTransformRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.tables.Deployments[0]
	d.Provider, d.Upstream, d.APIKey = "anthropic", "claude", &resource.Sealed{}
	w := r.do("POST", "/utils/transform_request", `{"call_type":"completion","request_body":{"model":"demo","messages":[{"role":"user","content":"hi"}],"seed":1}}`)
	var got struct {
		Method  string              `json:"raw_request_method"`
		URL     string              `json:"raw_request_api_base"`
		Body    map[string]any      `json:"raw_request_body"`
		Headers map[string][]string `json:"raw_request_headers"`
		Dropped []string            `json:"dropped_params"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if got.Method != "POST" || got.URL != "https://api.anthropic.com/v1/messages" || got.Body["model"] != "claude" || got.Body["max_tokens"] == nil || !slices.Contains(got.Dropped, "seed") {
		t.Errorf("got %+v", got)
	}
	if strings.Contains(w.Body.String(), "sk-provider") || got.Headers["X-Api-Key"][0] != "(left out)" {
		t.Errorf("headers %v", got.Headers)
	}
	if rec := r.journal.settled[0]; rec.Cost != 0 || rec.Usage.Total() != 0 || rec.Hold != 0 {
		t.Errorf("recorded %+v: a question costs nothing", rec)
	}
	for body, code := range map[string]string{
		`{"call_type":"nothing","request_body":{"model":"demo"}}`:               "invalid_value",
		`{"call_type":"completion"}`:                                            "missing_model",
		`{"request_body":{"model":"secret","messages":[]}}`:                     "model_access_denied",
		`{"call_type":"embedding","request_body":{"model":"demo","input":"x"}}`: "endpoint_not_supported",
	} {
		if got := codeOf(t, r.do("POST", "/utils/transform_request", body).Body.String()); got != code {
			t.Errorf("%s: got %s, want %s", body, got, code)
		}
	}
}

func TestSupportedParams(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider   string
		has, hasNo []string
	}{
		{"openai", []string{"seed", "tools", "stream_options"}, nil},
		{"mistral", []string{"seed"}, []string{"stream_options"}},
		{"anthropic", []string{"tools", "temperature", "max_tokens"}, []string{"seed", "logit_bias"}},
		{"ollama", []string{"seed", "tools"}, []string{"logit_bias"}},
		{"azure_text", []string{"temperature", "seed"}, nil},
	} {
		r := newRig(t)
		r.tables.Deployments[0].Provider, r.tables.Deployments[0].APIBase = tt.provider, "http://h"
		var got struct {
			Params []string `json:"supported_openai_params"`
		}
		w := r.do("GET", "/utils/supported_openai_params?model=demo", "")
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		for _, name := range tt.has {
			if !slices.Contains(got.Params, name) {
				t.Errorf("%s lacks %s: %q", tt.provider, name, got.Params)
			}
		}
		for _, name := range tt.hasNo {
			if slices.Contains(got.Params, name) {
				t.Errorf("%s has %s: %q", tt.provider, name, got.Params)
			}
		}
	}
	if w := newRig(t).do("GET", "/utils/supported_openai_params", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "logit_bias") {
		t.Errorf("without a model: got %d", w.Code)
	}
}

// TestModelInfo: the price list and the deployment's own words, for who may use the model alone.
func TestModelInfo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.tables.Deployments[0]
	d.Price = &resource.Price{Input: resource.Dollar / 4, Output: 2 * resource.Dollar, Classes: resource.Classes{CacheRead: new(resource.Money(25_000_000))}}
	d.Metadata = json.RawMessage(`{"mode":"embedding","max_input_tokens":77,"supports_vision":true,"key":"x","other":1}`)
	w := r.do("GET", "/utils/model_info?model=demo", "")
	var got map[string]any
	dec := json.NewDecoder(w.Body)
	dec.UseNumber()
	if err := dec.Decode(&got); err != nil || w.Code != 200 {
		t.Fatalf("got %d %v", w.Code, err)
	}
	for field, want := range map[string]string{
		"key": "openai/gpt-x", "litellm_provider": "openai", "mode": "embedding", "max_input_tokens": "77", "supports_vision": "true", "other": "<nil>",
		"input_cost_per_token": "0.00000025", "output_cost_per_token": "0.000002", "cache_read_input_token_cost": "0.000000025", "max_output_tokens": "<nil>",
	} {
		if fmt.Sprint(got[field]) != want {
			t.Errorf("%s: got %v, want %s", field, got[field], want)
		}
	}
	if params, _ := got["supported_openai_params"].([]any); len(params) == 0 {
		t.Errorf("no parameters: %v", got)
	}
	for path, want := range map[string]int{"/utils/model_info": 400, "/utils/model_info?model=secret": 403, "/utils/model_info?model=missing": 404} {
		if w := newRig(t).do("GET", path, ""); w.Code != want {
			t.Errorf("%s: got %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
}

// TestCount_CustomTokenizer: who configured a tokenizer gets counts of it, which are no estimates.
func TestCount_CustomTokenizer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, body, want, header string }{
		{"/v1/messages/count_tokens", `{"model":"demo","messages":[{"role":"user","content":"000000"}]}`, `{"input_tokens":8}`, ""},
		{"/v1/responses/input_tokens", `{"model":"demo","input":"000000"}`, `"input_tokens":8}`, ""},
		{"/v1/messages/count_tokens", `{"model":"demo","messages":7}`, `"input_tokens":`, "estimated"},
	} {
		r := newRig(t)
		r.tables.Deployments[0].Provider, r.tables.Deployments[0].Metadata = "groq", json.RawMessage(`{"custom_tokenizer":"r50k_base"}`)
		w := r.do("POST", tt.path, tt.body)
		if got := w.Header().Get("X-Conclave-Token-Count"); w.Code != 200 || !strings.Contains(w.Body.String(), tt.want) || got != tt.header {
			t.Errorf("%s %s: got %d %s, %q", tt.path, tt.body, w.Code, w.Body, got)
		}
	}
}
