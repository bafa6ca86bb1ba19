package tokenize

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// ErrNoText says that tokens are bytes that are no text.
var ErrNoText = errors.New("they are not valid UTF-8")

// Embedded gives the text of the tokens of OpenAI's models of embeddings, whose encoding is
// cl100k_base: clients that count tokens send them in the place of texts.
func Embedded(tokens []int64) (string, error) {
	t, err := Get("cl100k_base")
	if err != nil {
		return "", err
	}
	ids := make([]int, len(tokens))
	for i, n := range tokens {
		if n < 0 || n > math.MaxInt32 {
			return "", fmt.Errorf("%d is no token", n)
		}
		ids[i] = int(n)
	}
	text, err := t.Decode(ids)
	if err == nil && !utf8.ValidString(text) {
		err = ErrNoText
	}
	return text, err
}
