package quote

import "testing"

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
