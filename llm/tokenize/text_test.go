package tokenize_test

import (
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/llm/tokenize"
)

func TestEmbedded(t *testing.T) {
	t.Parallel()
	if got, err := tokenize.Embedded([]int64{15339, 1917}); got != "hello world" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	enc, err := tokenize.Get("cl100k_base")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := enc.Encode("日本語 – 🙂")
	if err != nil {
		t.Fatal(err)
	}
	var tokens []int64
	for _, id := range ids {
		tokens = append(tokens, int64(id))
	}
	if got, err := tokenize.Embedded(tokens); got != "日本語 – 🙂" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range [][]int64{{-1}, {1 << 40}, {99_999_999}} {
		if got, err := tokenize.Embedded(bad); err == nil {
			t.Errorf("%v: got %q", bad, got)
		}
	}
	cut := []int64{100} // one byte above 127
	if got, err := tokenize.Embedded(cut); !errors.Is(err, tokenize.ErrNoText) {
		t.Errorf("%v: got %q, %v", cut, got, err)
	}
}
