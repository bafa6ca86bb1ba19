package proxy_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/mock"
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

// What is not served is refused in the dialect of who asks.
func TestNotFound_Shapes(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/nothing":                `"code":"unknown_url"`,
		"/v1beta/models/demo:teach":  `"status":"NOT_FOUND"`,
		"/v1beta/corpora":            `"status":"NOT_FOUND"`,
		"/v1/models/demo:teach":      `"status":"NOT_FOUND"`,
		"/v1/messages/batches/x":     `"type":"not_found_error"`,
		"/anthropic/v1/skills":       `"type":"not_found_error"`,
		"/bedrock/model/demo/invoke": `"__type"`,
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
