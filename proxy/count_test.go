package proxy_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

func TestCount(t *testing.T) {
	t.Parallel()
	ask := `"messages":[{"role":"user","content":"` + strings.Repeat("word ", 40) + `"}]`
	for _, tt := range []struct {
		name, provider, path, body, want string
		estimated                        bool
	}{
		{"Anthropic's own", "anthropic", "/v1/messages/count_tokens", `{"model":"demo",` + ask + `}`, `"input_tokens":`, false},
		{"Anthropic's elsewhere", "openai", "/anthropic/v1/messages/count_tokens", `{"model":"demo",` + ask + `}`, `{"input_tokens":7`, true},
		{"Google's own", "gemini", "/v1beta/models/demo:countTokens", `{"contents":[{"parts":[{"text":"abcdefgh"}]}]}`, `"totalTokens"`, false},
		{"Google's elsewhere, wrapped", "openai", "/v1beta/models/demo:countTokens", `{"generateContentRequest":{"contents":[{"parts":[{"text":"abcdefgh"}]}]}}`, `{"totalTokens":2`, true},
		{"OpenAI's elsewhere", "anthropic", "/v1/responses/input_tokens", `{"model":"demo","input":"` + strings.Repeat("word ", 30) + `"}`, `{"object":"response.input_tokens","input_tokens":5`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			up := mock.New(mock.Config{})
			w := newWire(t, up.ServeHTTP)
			d := w.tables.Deployments[0]
			d.Provider, d.APIBase = tt.provider, strings.TrimSuffix(d.APIBase, "/v1")
			if tt.provider == "gemini" {
				d.APIBase += "/v1beta"
			}
			res, got := w.ask(t.Context(), tt.path, "application/json", strings.NewReader(tt.body)) //nolint:bodyclose // ask closes it
			if res.StatusCode != 200 || !strings.Contains(got, tt.want) || (res.Header.Get("X-Conclave-Token-Count") == "estimated") != tt.estimated {
				t.Errorf("got %d %v %s, want %s", res.StatusCode, res.Header, got, tt.want)
			}
			if rec := w.record(); rec.Cost != 0 || rec.Usage.Total() != 0 || rec.Hold != 0 {
				t.Errorf("recorded %+v: a count costs nothing", rec)
			}
			if n := asked(t, up); (n == 0) != tt.estimated {
				t.Errorf("the provider was asked %d times", n)
			}
		})
	}
}

// TestCount_Bedrock: Amazon counts for clients of every dialect, under the model's own name. What it does not count,
// whatever the reason, the gateway estimates, and the deployment goes on to be asked.
func TestCount_Bedrock(t *testing.T) {
	t.Parallel()
	const (
		anthropic = `{"model":"demo","system":"Be short.","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`
		converse  = `{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hi"}]}],"system":[{"text":"Be short."}]}}}`
		alone     = `{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hi"}]}]}}}`
		invoke    = `{"anthropic_version":"bedrock-2023-05-31","max_tokens":4096,"system":[{"type":"text","text":"Be short."}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`
	)
	for _, tt := range []struct {
		name, model, path, body string
		asked, sent             string
		status                  int
		answer, want            string
		estimated               bool
	}{
		{"Anthropic's", "us.anthropic.claude-x-v1:0", "/v1/messages/count_tokens", anthropic, "/model/anthropic.claude-x-v1%3A0/count-tokens", converse, 200, `{"inputTokens":7}`, `{"input_tokens":7}`, false},
		{"Google's", "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova", "/v1beta/models/demo:countTokens", `{"contents":[{"parts":[{"text":"hi"}]}]}`, "/model/amazon.nova/count-tokens", alone, 200, `{"inputTokens":7}`, `{"totalTokens":7}`, false},
		{"Google's, wrapped", "amazon.nova", "/v1beta/models/demo:countTokens", `{"generateContentRequest":{"model":"models/demo","contents":[{"parts":[{"text":"hi"}]}]}}`, "/model/amazon.nova/count-tokens", alone, 200, `{"inputTokens":7}`, `{"totalTokens":7}`, false},
		{"OpenAI's", "amazon.nova", "/v1/responses/input_tokens", `{"model":"demo","input":"hi"}`, "/model/amazon.nova/count-tokens", alone, 200, `{"inputTokens":7}`, `{"object":"response.input_tokens","input_tokens":7}`, false},
		{"InvokeModel's", "invoke/global.anthropic.claude-x", "/v1/messages/count_tokens", anthropic, "/model/anthropic.claude-x/count-tokens", invoke, 200, `{"inputTokens":7}`, `{"input_tokens":7}`, false},
		{"a model without", "x.y", "/v1/messages/count_tokens", anthropic, "/model/x.y/count-tokens", converse, 400, `{"__type":"ValidationException","message":"The provided model doesn't support counting tokens."}`, `{"input_tokens":`, true},
		{"a region without", "x.y", "/v1/messages/count_tokens", anthropic, "/model/x.y/count-tokens", converse, 404, `{"__type":"UnknownOperationException"}`, `{"input_tokens":`, true},
		{"no permission", "x.y", "/v1/messages/count_tokens", anthropic, "/model/x.y/count-tokens", converse, 403, `{"__type":"AccessDeniedException","message":"no"}`, `{"input_tokens":`, true},
		{"too often", "x.y", "/v1/messages/count_tokens", anthropic, "/model/x.y/count-tokens", converse, 429, `{"__type":"ThrottlingException"}`, `{"input_tokens":`, true},
		{"nonsense", "x.y", "/v1/messages/count_tokens", anthropic, "/model/x.y/count-tokens", converse, 200, `{"inputTokens":-1}`, `{"input_tokens":`, true},
		{"what it cannot be asked", "x.y", "/v1/messages/count_tokens", `{"model":"demo","messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x.example/a.png"}}]}]}`, "", "", 200, "", `{"input_tokens":`, true},
		{"what somebody else keeps", "x.y", "/v1/responses/input_tokens", `{"model":"demo","input":"hi","previous_response_id":"resp_1"}`, "", "", 200, "", `"input_tokens":`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked, sent := make(chan string, 4), make(chan string, 4)
			w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
				body, _ := io.ReadAll(q.Body)
				asked <- q.URL.EscapedPath()
				sent <- string(body)
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(tt.status)
				_, _ = io.WriteString(rw, tt.answer)
			})
			d := w.tables.Deployments[0]
			d.Provider, d.Upstream, d.APIBase, d.APIKey = "bedrock", tt.model, strings.TrimSuffix(d.APIBase, "/v1"), &resource.Sealed{}
			for range 2 { // a deployment that has failed would rest
				res, got := w.ask(t.Context(), tt.path, "application/json", strings.NewReader(tt.body)) //nolint:bodyclose // ask closes it
				if res.StatusCode != 200 || !strings.HasPrefix(got, tt.want) && !strings.Contains(got, tt.want) || (res.Header.Get("X-Conclave-Token-Count") == "estimated") != tt.estimated {
					t.Fatalf("got %d %v %s, want %s", res.StatusCode, res.Header, got, tt.want)
				}
				if tt.asked == "" {
					if len(asked) > 0 {
						t.Fatalf("asked %s", <-asked)
					}
					continue
				}
				if at := <-asked; at != tt.asked {
					t.Errorf("asked %s, want %s", at, tt.asked)
				}
				body := <-sent
				if _, packed, ok := strings.Cut(body, `{"input":{"invokeModel":{"body":"`); ok {
					raw, _ := base64.StdEncoding.DecodeString(strings.TrimSuffix(packed, `"}}}`))
					body = string(raw)
				}
				if body != tt.sent {
					t.Errorf("sent %s, want %s", body, tt.sent)
				}
			}
			if rec := w.record(); rec.Cost != 0 || rec.Usage.Total() != 0 || rec.Hold != 0 {
				t.Errorf("recorded %+v: a count costs nothing", rec)
			}
		})
	}
}

// What is counted here is answered also while nobody can be asked: all deployments cool down, or the one that counts fails.
// Who may not be asked is another matter.
func TestCount_WithoutProvider(t *testing.T) {
	t.Parallel()
	words := strings.Repeat("word ", 40)
	ask := `{"model":"demo","messages":[{"role":"user","content":"` + words + `"}]}`
	for path, body := range map[string]string{
		"/v1/messages/count_tokens":       ask,
		"/v1beta/models/demo:countTokens": `{"contents":[{"parts":[{"text":"` + words + `"}]}]}`,
		"/v1/responses/input_tokens":      `{"model":"demo","input":"` + words + `"}`,
		"/utils/token_counter":            ask,
		"/utils/transform_request":        `{"call_type":"completion","request_body":` + ask + `}`,
	} {
		refuse := func(code string) func(*resource.Catalog, *resource.Model) ([]router.Target, error) {
			return func(*resource.Catalog, *resource.Model) ([]router.Target, error) {
				return nil, &llm.Error{Kind: llm.Unavailable, Code: code, Message: "no", RetryAfter: time.Second}
			}
		}
		r := newRig(t)
		r.router.plan = refuse("no_deployment_available")
		if got := r.do("POST", path, body); got.Code != 200 || !strings.ContainsAny(got.Body.String(), "123456789") {
			t.Errorf("%s: got %d %s", path, got.Code, got.Body)
		}
		r.checkBalance()
		r = newRig(t)
		r.router.plan = refuse("no_deployment_allowed")
		if got := r.do("POST", path, body); got.Code != 503 {
			t.Errorf("%s, where nobody may be asked: got %d %s", path, got.Code, got.Body)
		}
	}
	w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(529) })
	w.tables.Deployments[0].Provider = "anthropic"
	res, got := w.ask(t.Context(), "/v1/messages/count_tokens", "application/json", strings.NewReader(ask)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || !strings.Contains(got, `{"input_tokens":7`) || res.Header.Get("X-Conclave-Token-Count") != "estimated" {
		t.Errorf("of a provider that fails: got %d %s", res.StatusCode, got)
	}
	if rec := w.record(); rec.Cost != 0 || rec.Usage.Total() != 0 || rec.Status != 200 {
		t.Errorf("recorded %+v: a count costs nothing", rec)
	}
}

// What is not served is refused in the dialect of who asks.
func TestNotFound_Shapes(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/nothing":                       `"code":"unknown_url"`,
		"/v1beta/models/demo:teach":         `"status":"NOT_FOUND"`,
		"/v1beta/corpora":                   `"status":"NOT_FOUND"`,
		"/v1/models/demo:teach":             `"status":"NOT_FOUND"`,
		"/v1/messages/batches/x":            `"type":"not_found_error"`,
		"/anthropic/v1/skills":              `"type":"not_found_error"`,
		"/bedrock/model/demo/count-nothing": `"__type"`,
	} {
		r := newRig(t)
		if got := r.do("POST", path, `{}`); got.Code != 404 || !strings.Contains(got.Body.String(), want) {
			t.Errorf("%s: got %d %s, want %s", path, got.Code, got.Body, want)
		}
	}
}

func TestAnthropic_RequestID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.do("POST", "/v1/messages", `{"model":"missing","max_tokens":5,"messages":[]}`, header("X-Request-Id", "mine"))
	if got.Header().Get("Request-Id") != "mine" {
		t.Errorf("got %v", got.Header())
	}
}
