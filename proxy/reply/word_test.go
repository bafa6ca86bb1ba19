package reply_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// TestRecorded: what a provider calls its errors is recorded where it is a word, and nothing that it may quote.
func TestRecorded(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"context_length_exceeded": "context_length_exceeded", "DeploymentNotFound": "DeploymentNotFound", "RESOURCE_EXHAUSTED": "RESOURCE_EXHAUSTED",
		"1113": "1113", "content-filter": "content-filter", "bad.request": "bad.request",
		"jane@example.org": "upstream_error", "key-7f3a91": "upstream_error", "123456789012": "upstream_error", "straße": "upstream_error",
		strings.Repeat("a", 65): "upstream_error", "https://x.example/y": "upstream_error",
	} {
		if got := reply.Recorded(&llm.Error{Kind: llm.Invalid, Code: code, FromProvider: true}); got != want {
			t.Errorf("%s: got %s, want %s", code, got, want)
		}
	}
	if got := reply.Recorded(&llm.Error{Kind: llm.Invalid, Code: "of_ours_2"}); got != "of_ours_2" {
		t.Errorf("a code of the gateway's: got %s", got)
	}
}
