package azure_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func row(t *testing.T, name string) *provider.Provider {
	t.Helper()
	p, ok := provider.Lookup(name)
	if !ok {
		t.Fatalf("no provider %q", name)
	}
	return p
}

func TestExchanges(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"azure", "azure_text", "azure_ai"} {
		t.Run(name, func(t *testing.T) { providertest.Run(t, row(t, name), "testdata/errors.jsonl") })
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	const own, foundry = "https://r.openai.azure.com", "https://r.services.ai.azure.com"
	for _, tt := range []struct {
		provider, base, version string
		endpoint                llm.Endpoint
		want                    string
	}{
		{"azure", own, "", llm.Chat, own + "/openai/deployments/my%20gpt/chat/completions?api-version=2025-02-01-preview"},
		{"azure", own + "/", "2024-10-21", llm.Embeddings, own + "/openai/deployments/my%20gpt/embeddings?api-version=2024-10-21"},
		{"azure", own + "/openai", "2024-10-21", llm.Completions, own + "/openai/deployments/my%20gpt/completions?api-version=2024-10-21"},
		{"azure", own + "/openai/deployments/x", "2024-10-21", llm.Chat, own + "/openai/deployments/x/chat/completions?api-version=2024-10-21"},
		{"azure", own, "2025-03-01-preview", llm.Responses, own + "/openai/responses?api-version=2025-03-01-preview"},
		{"azure", own, "v1", llm.Chat, own + "/openai/v1/chat/completions"},
		{"azure", own, "latest", llm.Responses, own + "/openai/v1/responses"},
		{"azure", own, "preview", llm.Chat, own + "/openai/v1/chat/completions?api-version=preview"},
		{"azure", own + "/openai/v1/", "", llm.Chat, own + "/openai/v1/chat/completions"},
		{"azure", own, "a b&c", llm.Chat, own + "/openai/deployments/my%20gpt/chat/completions?api-version=a+b%26c"},
		{"azure", own, "", llm.Realtime, own + "/openai/v1/realtime?model=my+gpt"},
		{"azure", own, "preview", llm.Realtime, own + "/openai/v1/realtime?api-version=preview&model=my+gpt"},
		{"azure", own + "/openai/v1/", "", llm.Realtime, own + "/openai/v1/realtime?model=my+gpt"},
		{"azure", own, "2025-04-01-preview", llm.Realtime, own + "/openai/realtime?api-version=2025-04-01-preview&deployment=my+gpt"},
		{"azure_text", own, "2024-10-21", llm.Completions, own + "/openai/deployments/my%20gpt/completions?api-version=2024-10-21"},
		{"azure_ai", foundry, "", llm.Chat, foundry + "/models/chat/completions?api-version=2024-05-01-preview"},
		{"azure_ai", foundry + "/models", "2024-05-01", llm.Chat, foundry + "/models/chat/completions?api-version=2024-05-01"},
		{"azure_ai", foundry + "/openai/v1", "", llm.Chat, foundry + "/openai/v1/chat/completions"},
		{"azure_ai", "https://m.eastus2.models.ai.azure.com", "", llm.Chat, "https://m.eastus2.models.ai.azure.com/chat/completions"},
		{"azure_ai", "https://m.eastus2.models.ai.azure.com/v1", "", llm.Embeddings, "https://m.eastus2.models.ai.azure.com/v1/embeddings"},
		{"azure_ai", own, "2024-10-21", llm.Chat, own + "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"},
	} {
		place := llm.Place{Endpoint: tt.endpoint, Model: "my gpt", Options: map[string]string{"api_version": tt.version}}
		if got, err := row(t, tt.provider).URL(tt.base, place); err != nil || got != tt.want {
			t.Errorf("%s at %s, version %q: got %q, %v, want %q", tt.provider, tt.base, tt.version, got, err, tt.want)
		}
	}
}

// TestFilters reads the first chunk of Azure's streams, which has no choices, and one whose
// choices say what the filters found.
func TestFilters(t *testing.T) {
	t.Parallel()
	p := row(t, "azure")
	for _, data := range []string{
		`{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}`,
		`{"choices":[{"content_filter_offsets":{"check_offset":44},"content_filter_results":{"hate":{"filtered":false}},"finish_reason":null,"index":0}],"id":"","object":""}`,
	} {
		if r, err := p.Codec.Read(llm.Chat, []byte(data)); err != nil || r.HasUsage || r.UsageOnly || r.Finished != 0 {
			t.Errorf("%s: got %+v, %v", data, r, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]time.Duration{
		"Please retry after 26 seconds.":      26 * time.Second,
		"Please retry after 1 second":         time.Second,
		"Please retry after 350 milliseconds": 350 * time.Millisecond,
		"Please retry after a while":          0,
		"Please retry after -5 seconds":       0,
		"Please retry after 99999999 seconds": 0,
		"Too many requests":                   0,
	} {
		e := row(t, "azure").Codec.Classify(time.Time{}, http.StatusTooManyRequests, nil, []byte(`{"error":{"code":"429","message":"`+message+`"}}`))
		if e.RetryAfter != want {
			t.Errorf("%q: got %v, want %v", message, e.RetryAfter, want)
		}
	}
}
