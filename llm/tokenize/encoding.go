package tokenize

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/binary"
	"fmt"
	"io"
)

// ranks are the byte sequences of OpenAI's published encodings in the order of their ranks, which
// are their ids: each with its length in front, 0 for a rank without one.
//
//go:embed ranks/*.gz
var ranks embed.FS

// maxRanks bounds an unpacked table.
const maxRanks = 8 << 20

// The patterns that split a text for the encodings, as OpenAI publishes them.
const (
	splitR50k  = `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	splitCl100 = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	splitO200k = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'(?i:[sdmt]|ll|ve|re))?` +
		`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'(?i:[sdmt]|ll|ve|re))?` +
		`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// encoding is one of OpenAI's. Pairs of pieces are merged whose bytes together have the lowest rank.
type encoding struct {
	name  string
	split splitter
	ids   map[string]int
	texts []string // by id; "": none
}

// loadEncoding unpacks an encoding.
func loadEncoding(name, table, pattern string) (*encoding, error) {
	packed, err := ranks.ReadFile("ranks/" + table + ".gz")
	if err != nil {
		return nil, fmt.Errorf("load encoding %s: %w", name, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("load encoding %s: %w", name, err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxRanks))
	if err != nil {
		return nil, fmt.Errorf("load encoding %s: %w", name, err)
	}
	split, err := byMatches(pattern, "Isolated", false, 0)
	if err != nil {
		return nil, err
	}
	e := &encoding{name: name, split: split, ids: make(map[string]int, 1<<16)}
	all := string(raw) // one text, of which every token is a part
	for at := 0; at < len(all); {
		n, size := binary.Uvarint(raw[at:])
		if size <= 0 || uint64(len(all)-at-size) < n {
			return nil, fmt.Errorf("load encoding %s: its table is broken at byte %d", name, at)
		}
		at += size
		token := all[at : at+int(n)]
		at += int(n)
		if token != "" {
			e.ids[token] = len(e.texts)
		}
		e.texts = append(e.texts, token)
	}
	return e, nil
}

// Name is the encoding's.
func (e *encoding) Name() string { return e.name }

// Count counts tokens. Text that spells a special token is text.
func (e *encoding) Count(text string) (int, error) {
	ids, err := e.Encode(text)
	return len(ids), err
}

// Encode gives the ids.
func (e *encoding) Encode(text string) ([]int, error) {
	if len(text) > MaxText {
		return nil, ErrTooLong
	}
	words, err := e.split(text, true)
	if err != nil {
		return nil, fmt.Errorf("encode with %s: %w", e.name, err)
	}
	ids := make([]int, 0, len(words)+len(words)/2)
	for _, word := range words {
		ids = e.pieces(ids, word)
	}
	return ids, nil
}

// pieces appends the ids of a word's tokens.
func (e *encoding) pieces(dst []int, word string) []int {
	if id, ok := e.ids[word]; ok {
		return append(dst, id)
	}
	list := make([]symbol, len(word))
	for i := range list {
		list[i] = symbol{i, i + 1, i - 1, i + 1}
	}
	mergeAll(word, list, func(start, _, end int) (int, bool) {
		rank, ok := e.ids[word[start:end]]
		return rank, ok
	})
	for i := 0; i < len(list); i = list[i].next {
		dst = append(dst, e.ids[word[list[i].start:list[i].end]]) // every byte has a rank
	}
	return dst
}

// Decode gives the text of ids.
func (e *encoding) Decode(ids []int) (string, error) {
	var b bytes.Buffer
	for _, id := range ids {
		if id < 0 || id >= len(e.texts) || e.texts[id] == "" {
			return "", fmt.Errorf("decode with %s: %d is no token", e.name, id)
		}
		b.WriteString(e.texts[id])
	}
	return b.String(), nil
}
