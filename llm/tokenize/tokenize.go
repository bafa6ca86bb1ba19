// Package tokenize counts tokens as models do, with no network: the encodings of OpenAI's models,
// and Hugging Face's tokenizer.json of the kinds BPE, WordPiece and Unigram. What cannot be read
// exactly is refused by name, never replaced by something like it.
//
// An encoding is loaded when it is first used. A long text takes milliseconds (about 25 for
// 100 KB), so that nothing here belongs before an answer unless it was configured to.
package tokenize

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// MaxText bounds a text that is counted, in bytes.
const MaxText = 32 << 20

// ErrTooLong says that a text is over MaxText.
var ErrTooLong = errors.New("the text is too long to be counted")

// Tokenizer counts, encodes and decodes. It is safe for concurrent use.
type Tokenizer interface {
	// Name is that of the encoding, or what its maker calls it.
	Name() string
	// Count counts the tokens of a text, without those that mark its ends.
	Count(text string) (int, error)
	// Encode gives their ids.
	Encode(text string) ([]int, error)
	// Decode gives the text of ids. What is no UTF-8 in the middle of a text stays as it is.
	Decode(ids []int) (string, error)
}

// encodings are OpenAI's, by name, each unpacked when it is first asked for. The special tokens
// by which some differ are no text, so that p50k_edit is p50k_base.
var encodings = map[string]func() (*encoding, error){
	"cl100k_base": once("cl100k_base", "cl100k_base", splitCl100), "o200k_base": once("o200k_base", "o200k_base", splitO200k),
	"p50k_base": once("p50k_base", "p50k_base", splitR50k), "p50k_edit": once("p50k_edit", "p50k_base", splitR50k),
	"r50k_base": once("r50k_base", "r50k_base", splitR50k),
}

func once(name, table, pattern string) func() (*encoding, error) {
	return sync.OnceValues(func() (*encoding, error) { return loadEncoding(name, table, pattern) })
}

// Encodings lists the names of the built-in encodings, sorted.
func Encodings() []string {
	names := make([]string, 0, len(encodings))
	for name := range encodings {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Get returns the built-in encoding of a name.
func Get(name string) (Tokenizer, error) {
	load, ok := encodings[name]
	if !ok {
		return nil, fmt.Errorf("there is no encoding %q: it is none of %s", name, strings.Join(Encodings(), ", "))
	}
	e, err := load()
	if err != nil {
		return nil, err
	}
	return e, nil
}

// older are the models of OpenAI's with an encoding before o200k_base, by the beginning of their
// names; the first that fits counts.
var older = []struct{ prefix, encoding string }{
	{"gpt-4o", "o200k_base"},
	{"gpt-4.1", "o200k_base"},
	{"gpt-4.5", "o200k_base"},
	{"gpt-4", "cl100k_base"},
	{"gpt-3.5", "cl100k_base"},
	{"gpt-35", "cl100k_base"},
	{"text-embedding-", "cl100k_base"},
	{"babbage-002", "cl100k_base"},
	{"davinci-002", "cl100k_base"},
	{"text-davinci-edit", "p50k_edit"},
	{"code-davinci-edit", "p50k_edit"},
	{"text-davinci-003", "p50k_base"},
	{"text-davinci-002", "p50k_base"},
	{"code-", "p50k_base"},
	{"text-davinci", "r50k_base"},
	{"davinci", "r50k_base"},
	{"curie", "r50k_base"},
	{"babbage", "r50k_base"},
	{"ada", "r50k_base"},
	{"gpt2", "r50k_base"},
}

// ForModel is the encoding of a model by its name, with or without a provider in front. own says
// that it is the model's own; for models of other makers, whose tokenizers are not to be had,
// it is the nearest: o200k_base.
func ForModel(model string) (t Tokenizer, own bool) {
	name := model[strings.LastIndexByte(model, '/')+1:]
	name = strings.TrimPrefix(name, "ft:")
	encoding, own := "o200k_base", isOpenAI(name)
	for _, m := range older {
		if strings.HasPrefix(name, m.prefix) {
			encoding, own = m.encoding, true
			break
		}
	}
	t, err := Get(encoding)
	if err != nil {
		return nil, false // a test loads every encoding
	}
	return t, own
}

// isOpenAI says whether a name is one of OpenAI's newer models.
func isOpenAI(name string) bool {
	for _, prefix := range [...]string{"gpt-", "o1", "o3", "o4", "chatgpt-", "codex-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
