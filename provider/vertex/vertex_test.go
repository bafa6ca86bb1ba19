package vertex_test

import (
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestURL(t *testing.T) {
	t.Parallel()
	eu := map[string]string{"project": "p-1", "location": "europe-west4"}
	with := func(location string) map[string]string {
		return map[string]string{"project": "p-1", "location": location}
	}
	const west = "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4"
	for _, tt := range []struct {
		name, model string
		options     map[string]string
		base        string
		endpoint    llm.Endpoint
		stream      bool
		want        string // "": an error
	}{
		{"google", "gemini-2.5-pro", eu, "", llm.GenerateContent, false, west + "/publishers/google/models/gemini-2.5-pro:generateContent"},
		{"google, streamed", "google/gemini-2.5-pro", eu, "", llm.GenerateContent, true, west + "/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse"},
		{"global", "gemini-3-pro", with("global"), "", llm.GenerateContent, false, "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/publishers/google/models/gemini-3-pro:generateContent"},
		{"several regions", "gemini-3-pro", with("eu"), "", llm.GenerateContent, false, "https://aiplatform.eu.rep.googleapis.com/v1/projects/p-1/locations/eu/publishers/google/models/gemini-3-pro:generateContent"},
		{"express", "gemini-3-pro", nil, "", llm.GenerateContent, false, "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-3-pro:generateContent"},
		{"a tuned model", "1234", eu, "", llm.GenerateContent, false, west + "/endpoints/1234:generateContent"},
		{"a tuned model, named", "endpoints/1234", eu, "", llm.GenerateContent, true, west + "/endpoints/1234:streamGenerateContent?alt=sse"},
		{"another publisher", "publishers/acme/models/m", eu, "", llm.GenerateContent, false, west + "/publishers/acme/models/m:generateContent"},
		{"no location", "gemini-3-pro", with(""), "", llm.GenerateContent, false, ""},
		{"no project", "gemini-3-pro", map[string]string{"location": "us-central1"}, "", llm.GenerateContent, false, ""},
		{"a location that leads elsewhere", "gemini-3-pro", with("evil.example/"), "", llm.GenerateContent, false, ""},
		{"a base of one's own", "gemini-3-pro", eu, "http://127.0.0.1:4090/v1", llm.GenerateContent, false, "http://127.0.0.1:4090/v1/publishers/google/models/gemini-3-pro:generateContent"},
		{"anthropic", "claude-opus-4-5@20251101", eu, "", llm.Messages, false, west + "/publishers/anthropic/models/claude-opus-4-5@20251101:rawPredict"},
		{"anthropic, streamed", "claude-opus-4-5", eu, "", llm.Messages, true, west + "/publishers/anthropic/models/claude-opus-4-5:streamRawPredict"},
		{"mistral", "mistral-medium-3", eu, "", llm.Chat, true, west + "/publishers/mistralai/models/mistral-medium-3:streamRawPredict"},
		{"llama", "meta/llama-4-maverick-17b-128e-instruct-maas", eu, "", llm.Chat, true, west + "/endpoints/openapi/chat/completions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, ok := provider.Lookup("vertex_ai")
			if !ok {
				t.Fatal("no row")
			}
			p = p.For(tt.model)
			got, err := p.URL(tt.base, llm.Place{Endpoint: tt.endpoint, Model: tt.model, Stream: tt.stream, Options: tt.options})
			if got != tt.want || (err != nil) != (tt.want == "") || !p.Serves(tt.endpoint) {
				t.Errorf("%s: got %q, %v, want %q", p.Name, got, err, tt.want)
			}
		})
	}
}

// TestConformance: errors of every status; what Vertex itself says of a partner's model is not
// relayed as the partner's.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"vertex_ai", "vertex_ai_anthropic", "vertex_ai_mistral", "vertex_ai_openai"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, ok := provider.Lookup(name)
			if !ok {
				t.Fatal("no row")
			}
			providertest.Run(t, p)
			e := p.Codec.Classify(providertest.Now, 429, nil, []byte(`{"error":{"code":429,"message":"Quota exceeded for aiplatform.googleapis.com","status":"RESOURCE_EXHAUSTED"}}`))
			if e.Kind != llm.RateLimited || (e.Body == nil) != (name != "vertex_ai") {
				t.Errorf("got %+v", e)
			}
		})
	}
}
