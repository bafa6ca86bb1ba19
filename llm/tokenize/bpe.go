package tokenize

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe merges pairs of pieces, those with the lowest rank first.
type bpe struct {
	v            *tokens
	ranks        map[[2]string]int
	unk          int // -1: none
	fuseUnk      bool
	byteFallback bool
	ignoreMerges bool // a word that is a token is one
}

func readBPE(raw json.RawMessage, v *tokens) (*bpe, error) {
	var in struct {
		Vocab        map[string]int    `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
		Unk          *string           `json:"unk_token"`
		Prefix       string            `json:"continuing_subword_prefix"`
		Suffix       string            `json:"end_of_word_suffix"`
		FuseUnk      bool              `json:"fuse_unk"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("model BPE: %w", err)
	}
	switch {
	case in.Prefix != "":
		return nil, unsupported("the model's continuing_subword_prefix", in.Prefix)
	case in.Suffix != "":
		return nil, unsupported("the model's end_of_word_suffix", in.Suffix)
	case len(in.Vocab) == 0:
		return nil, errors.New("model BPE: the vocabulary is empty")
	}
	m := &bpe{v: v, ranks: make(map[[2]string]int, len(in.Merges)), unk: -1, fuseUnk: in.FuseUnk, byteFallback: in.ByteFallback, ignoreMerges: in.IgnoreMerges}
	for text, id := range in.Vocab {
		v.add(text, id)
	}
	for i, raw := range in.Merges {
		pair, err := readMerge(raw)
		if err != nil {
			return nil, fmt.Errorf("model BPE: merges[%d]: %w", i, err)
		}
		if _, twice := m.ranks[pair]; !twice {
			m.ranks[pair] = i
		}
	}
	if in.Unk != nil {
		id, ok := v.ids[*in.Unk]
		if !ok {
			return nil, fmt.Errorf("model BPE: unk_token %q is not in the vocabulary", *in.Unk)
		}
		m.unk = id
	}
	return m, nil
}

// readMerge reads "a b" or ["a","b"].
func readMerge(raw json.RawMessage) (pair [2]string, err error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		a, b, ok := strings.Cut(text, " ")
		if !ok {
			return pair, fmt.Errorf("%q is no pair", text)
		}
		return [2]string{a, b}, nil
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil || len(list) != 2 {
		return pair, errors.New("it is neither a text nor a pair")
	}
	return [2]string(list), nil
}

// symbol is a piece of a word, in a list. One that was merged into another is empty.
type symbol struct{ start, end, prev, next int }

// merge is a pair of neighbours that can become one piece of so many bytes.
type merge struct{ rank, left, size int }

// merges are those that are possible, the lowest rank and then the leftmost first.
type merges []merge

// Len implements heap.Interface.
func (q merges) Len() int { return len(q) }

// Less implements heap.Interface.
func (q merges) Less(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].left < q[j].left
}

// Swap implements heap.Interface.
func (q merges) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *merges) Push(x any) { *q = append(*q, x.(merge)) }

// Pop implements heap.Interface.
func (q *merges) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// runeSize is how many bytes the rune at the beginning has, 1 for a byte that is none.
func runeSize(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

func (m *bpe) pieces(dst []int, word string) []int {
	if id, ok := m.v.ids[word]; ok && m.ignoreMerges {
		return append(dst, id)
	}
	list := make([]symbol, 0, len(word))
	for i := 0; i < len(word); {
		n := runeSize(word[i:])
		list = append(list, symbol{i, i + n, len(list) - 1, len(list) + 1})
		i += n
	}
	mergeAll(word, list, func(start, mid, end int) (int, bool) {
		rank, ok := m.ranks[[2]string{word[start:mid], word[mid:end]}]
		return rank, ok
	})
	return m.ids(dst, word, list)
}

// merging is a word whose symbols are being merged.
type merging struct {
	list  []symbol
	queue merges
	rank  func(start, mid, end int) (int, bool)
}

// mergeAll merges the symbols of a word until no pair has a rank.
func mergeAll(word string, list []symbol, rank func(start, mid, end int) (int, bool)) {
	w := merging{list: list, queue: make(merges, 0, len(word)), rank: rank}
	for i := range list {
		w.offer(i)
	}
	for len(w.queue) > 0 {
		w.merge(heap.Pop(&w.queue).(merge))
	}
}

// offer queues the merge of a symbol with the next one, if there is such a merge.
func (w *merging) offer(left int) {
	if left < 0 || w.list[left].next >= len(w.list) {
		return
	}
	a, b := w.list[left], w.list[w.list[left].next]
	if rank, ok := w.rank(a.start, b.start, b.end); ok {
		heap.Push(&w.queue, merge{rank, left, b.end - a.start})
	}
}

// merge makes a merge, unless one of its two has been merged with another in between.
func (w *merging) merge(top merge) {
	a := &w.list[top.left]
	if a.end == a.start || a.next >= len(w.list) || w.list[a.next].end-a.start != top.size {
		return
	}
	b := &w.list[a.next]
	a.end, a.next = b.end, b.next
	b.start = b.end
	if a.next < len(w.list) {
		w.list[a.next].prev = top.left
	}
	w.offer(a.prev)
	w.offer(top.left)
}

// ids are those of the pieces that are left.
func (m *bpe) ids(dst []int, word string, list []symbol) []int {
	unknown := false
	for i := 0; i < len(list); i = list[i].next {
		text := word[list[i].start:list[i].end]
		if id, ok := m.v.ids[text]; ok {
			dst, unknown = append(dst, id), false
			continue
		}
		if ids, ok := byteIDs(m.v, text); ok && m.byteFallback {
			dst, unknown = append(dst, ids...), false
			continue
		}
		if m.unk >= 0 && (!unknown || !m.fuseUnk) {
			dst = append(dst, m.unk)
		}
		unknown = true
	}
	return dst
}

// byteIDs are the tokens "<0x0A>" of a text's bytes.
func byteIDs(v *tokens, text string) ([]int, bool) {
	ids := make([]int, len(text))
	for i := range len(text) {
		id, ok := v.ids[fmt.Sprintf("<0x%02X>", text[i])]
		if !ok {
			return nil, false
		}
		ids[i] = id
	}
	return ids, true
}
