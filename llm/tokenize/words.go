package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// wordPiece takes the longest token from the left, again and again.
type wordPiece struct {
	v      *tokens
	unk    int
	prefix string
	most   int // letters of a word
}

func readWordPiece(raw json.RawMessage, v *tokens) (*wordPiece, error) {
	in := struct {
		Vocab  map[string]int `json:"vocab"`
		Unk    string         `json:"unk_token"`
		Prefix string         `json:"continuing_subword_prefix"`
		Most   int            `json:"max_input_chars_per_word"`
	}{Unk: "[UNK]", Prefix: "##", Most: 100}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("model WordPiece: %w", err)
	}
	for text, id := range in.Vocab {
		v.add(text, id)
	}
	unk, ok := v.ids[in.Unk]
	if !ok {
		return nil, fmt.Errorf("model WordPiece: unk_token %q is not in the vocabulary", in.Unk)
	}
	return &wordPiece{v, unk, in.Prefix, min(in.Most, 1<<10)}, nil
}

func (m *wordPiece) pieces(dst []int, word string) []int {
	if utf8.RuneCountInString(word) > m.most {
		return append(dst, m.unk)
	}
	n, prefix := len(dst), ""
	for rest := word; rest != ""; prefix = m.prefix {
		end := len(rest)
		for end > 0 {
			if id, ok := m.v.ids[prefix+rest[:end]]; ok {
				dst = append(dst, id)
				break
			}
			_, size := utf8.DecodeLastRuneInString(rest[:end])
			end -= size
		}
		if end == 0 {
			return append(dst[:n], m.unk)
		}
		rest = rest[end:]
	}
	return dst
}

// unigram finds the tokens whose scores are the highest together.
type unigram struct {
	v            *tokens
	scores       map[string]float64
	unk          int // -1: none
	unkScore     float64
	longest      int // bytes of a token
	byteFallback bool
}

// unknownPenalty is how much worse than the worst token an unknown letter is, as the library has
// it that trains such models.
const unknownPenalty = 10

func readUnigram(raw json.RawMessage, v *tokens) (*unigram, error) {
	var in struct {
		Vocab        [][2]json.RawMessage `json:"vocab"`
		Unk          *int                 `json:"unk_id"`
		ByteFallback bool                 `json:"byte_fallback"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("model Unigram: %w", err)
	}
	if len(in.Vocab) == 0 {
		return nil, errors.New("model Unigram: the vocabulary is empty")
	}
	m := &unigram{v: v, scores: make(map[string]float64, len(in.Vocab)), unk: -1, byteFallback: in.ByteFallback}
	lowest := math.Inf(1)
	for i, row := range in.Vocab {
		var text string
		var score float64
		if json.Unmarshal(row[0], &text) != nil || json.Unmarshal(row[1], &score) != nil {
			return nil, fmt.Errorf("model Unigram: vocab[%d] is no text with a score", i)
		}
		v.add(text, i)
		m.scores[text], m.longest, lowest = score, max(m.longest, len(text)), min(lowest, score)
	}
	m.unkScore, m.longest = lowest-unknownPenalty, min(m.longest, 1<<10)
	if in.Unk != nil {
		if *in.Unk < 0 || *in.Unk >= len(in.Vocab) {
			return nil, fmt.Errorf("model Unigram: unk_id %d is not in the vocabulary", *in.Unk)
		}
		m.unk = *in.Unk
	}
	return m, nil
}

func (m *unigram) pieces(dst []int, word string) []int {
	best := make([]float64, len(word)+1)
	from := make([]int, len(word)+1)
	for i := 1; i <= len(word); i++ {
		best[i] = math.Inf(-1)
	}
	for i := 0; i < len(word); {
		size, single := runeSize(word[i:]), false
		for n := size; n <= m.longest && i+n <= len(word); n++ {
			score, ok := m.scores[word[i:i+n]]
			if !ok {
				continue
			}
			single = single || n == size
			if best[i]+score > best[i+n] {
				best[i+n], from[i+n] = best[i]+score, i
			}
		}
		if !single && best[i]+m.unkScore > best[i+size] {
			best[i+size], from[i+size] = best[i]+m.unkScore, i
		}
		i += size
	}
	return m.ids(dst, word, from)
}

// ids follows the best way back. Unknown letters side by side are one unknown token.
func (m *unigram) ids(dst []int, word string, from []int) []int {
	var ends []int
	for at := len(word); at > 0; at = from[at] {
		ends = append(ends, at)
	}
	unknown, start := "", 0
	for _, end := range slices.Backward(ends) {
		text := word[start:end]
		start = end
		if id, ok := m.v.ids[text]; ok {
			dst, unknown = append(m.unknown(dst, unknown), id), ""
			continue
		}
		unknown += text
	}
	return m.unknown(dst, unknown)
}

func (m *unigram) unknown(dst []int, text string) []int {
	if text == "" {
		return dst
	}
	if ids, ok := byteIDs(m.v, text); ok && m.byteFallback {
		return append(dst, ids...)
	}
	if m.unk >= 0 {
		dst = append(dst, m.unk)
	}
	return dst
}
