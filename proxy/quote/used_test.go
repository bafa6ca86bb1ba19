package quote

import (
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

func TestQuote_Used(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		endpoint llm.Endpoint
		choices  int64
		text     int64
		waited   time.Duration
		want     llm.Usage
	}{
		{"what passed", llm.Chat, 1, 300, time.Hour, llm.Usage{Input: 10, Output: Tokens(300)}},
		{"nothing passed", llm.Chat, 1, 0, time.Second, llm.Usage{Input: 10, Output: guessedRate}},
		{"nothing passed for long", llm.Chat, 1, 0, time.Hour, llm.Usage{Input: 10, Output: 4096}},
		{"in a provider's words", llm.PassThrough, 1, 300, 0, llm.Usage{Input: 10, Output: Tokens(300)}},
		{"a hang-up before the first text, in a provider's words", llm.PassThrough, 1, 0, time.Second, llm.Usage{Input: 10, Output: guessedRate}},
		{"an object, in a provider's words", llm.PassThrough, 1, 0, 0, llm.Usage{Input: 10}},
		{"a list, in a provider's words", llm.PassThrough, 0, 0, time.Second, llm.Usage{}},
		{"a count", llm.CountTokens, 0, 0, time.Second, llm.Usage{}},
		{"vectors", llm.Embeddings, 0, 0, time.Second, llm.Usage{Input: 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := Quote{Prompt: 10, Output: 4096, choices: tt.choices}
			want := tt.want
			if want != (llm.Usage{}) {
				want.Source = llm.UsageEstimated
			}
			if got := q.Used(tt.endpoint, tt.text, tt.waited); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
