package llm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

// TestPeek_Google: what Google takes in snake case counts as in camel case, also twice.
func TestPeek_Google(t *testing.T) {
	t.Parallel()
	plain, err := llm.Peek([]byte(`{"contents":[{"parts":[{"text":"abc"}]}],"systemInstruction":{"parts":[{"text":"be kind"}]},"generationConfig":{"maxOutputTokens":9,"candidateCount":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"contents":[{"parts":[{"text":"abc"}]}],"system_instruction":{"parts":[{"text":"be kind"}]},"generation_config":{"max_output_tokens":9,"candidate_count":2}}`)
	f, err := llm.Peek(body)
	if err != nil || f.MaxTokens != 9 || f.N != 2 || f.PromptBytes != plain.PromptBytes {
		t.Errorf("got %d tokens, %d choices, %d bytes (%v), want 9, 2, %d", f.MaxTokens, f.N, f.PromptBytes, err, plain.PromptBytes)
	}
	got := string(llm.Rewrite(body, &f, llm.Edits{MaxTokens: 5, Endpoint: llm.GenerateContent}))
	if !strings.Contains(got, `"max_output_tokens":5`) {
		t.Errorf("the limit is not lowered: %s", got)
	}
	for _, twice := range []string{
		`{"contents":[],"generationConfig":{"maxOutputTokens":1},"generation_config":{"maxOutputTokens":9}}`,
		`{"contents":[],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}`,
	} {
		if _, err := llm.Peek([]byte(twice)); err == nil {
			t.Errorf("a limit that is said twice passes: %s", twice)
		}
	}
}
