package quote

import (
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

func TestPrompts(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int64{
		`{"prompt":"a"}`: 1, `{"prompt":["a","b"]}`: 2, `{"prompt":[1,2,3]}`: 1, `{"prompt":[[1],[2]]}`: 2, `{}`: 1, `{"prompt":[]}`: 1,
	} {
		if got := prompts([]byte(body)); got != want {
			t.Errorf("%s has %d prompts, want %d", body, got, want)
		}
	}
}

// TestTokens: what is given as tokens has as many as there are.
func TestTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		at   llm.Endpoint
		body string
		want int64 // 0: texts
	}{
		{llm.Completions, `{"model":"m","prompt":[1, 22,333]}`, 3},
		{llm.Completions, `{"prompt":[[1,2],[3]],"n":2}`, 3},
		{llm.Embeddings, `{"input":[[1,2],[3]]}`, 3},
		{llm.Embeddings, `{"input":[7]}`, 1},
		{llm.Embeddings, `{"input":["a","b"]}`, 0},
		{llm.Embeddings, `{"input":"[1,2]"}`, 0},
		{llm.Embeddings, `{"input":[]}`, 0},
		{llm.Completions, `{"prompt":[[1],"a"]}`, 0},
		{llm.Completions, `{"input":[1]}`, 0},
		{llm.Responses, `{"input":[1]}`, 0},
	} {
		got, ok := tokens(&Request{Endpoint: tt.at, Body: []byte(tt.body)})
		if got != tt.want || ok != (tt.want > 0) {
			t.Errorf("%s: got %d, %t, want %d", tt.body, got, ok, tt.want)
		}
	}
}
