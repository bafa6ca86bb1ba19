package tokenize

import (
	"strings"
	"sync"
)

// byteLetters are the letters that stand for bytes in byte-level vocabularies: the printable
// ones for themselves, and the others for letters after them.
var byteLetters = sync.OnceValues(func() (to [256]rune, from map[rune]byte) {
	from = make(map[rune]byte, 256)
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD {
			r = next
			next++
		}
		to[b], from[r] = r, byte(b)
	}
	return to, from
})

func toByteLetters(text string) string {
	to, _ := byteLetters()
	var b strings.Builder
	for i := range len(text) {
		b.WriteRune(to[text[i]])
	}
	return b.String()
}

func fromByteLetters(text string) string {
	_, from := byteLetters()
	var b strings.Builder
	for _, r := range text {
		if c, ok := from[r]; ok {
			b.WriteByte(c)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (f *file) readDecoder(in *fileJSON) error {
	kinds := map[string]bool{}
	mark := collectDecoders(in.Decoder, kinds)
	switch {
	case kinds["ByteLevel"]:
		f.decode = func(pieces []string) string { return fromByteLetters(strings.Join(pieces, "")) }
	case kinds["WordPiece"]:
		f.decode = joinWordPieces
	case kinds["CTC"] || kinds["BPEDecoder"]:
		return unsupported("the decoder", "CTC or BPEDecoder")
	default:
		f.decode = func(pieces []string) string { return joinMarked(pieces, mark) }
	}
	return nil
}

// collectDecoders notes the kinds of decoders, and finds the letter that stands for a space.
func collectDecoders(p *part, kinds map[string]bool) (mark string) {
	mark = "▁"
	if p == nil {
		return mark
	}
	kinds[p.Type] = true
	if p.Replacement != "" {
		mark = p.Replacement
	}
	for i := range p.Decoders {
		if m := collectDecoders(&p.Decoders[i], kinds); m != "▁" {
			mark = m
		}
	}
	return mark
}

func joinWordPieces(pieces []string) string {
	var b strings.Builder
	for i, p := range pieces {
		rest, goesOn := strings.CutPrefix(p, "##")
		if i > 0 && !goesOn {
			b.WriteByte(' ')
		}
		b.WriteString(rest)
	}
	return b.String()
}

// joinMarked joins pieces in which a letter stands for a space, and bytes stand as "<0x0A>". The
// space before the first word is not the text's.
func joinMarked(pieces []string, mark string) string {
	var b strings.Builder
	for _, p := range pieces {
		if len(p) == 6 && strings.HasPrefix(p, "<0x") && p[5] == '>' {
			if hi, lo := hexDigit(p[3]), hexDigit(p[4]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				continue
			}
		}
		b.WriteString(strings.ReplaceAll(p, mark, " "))
	}
	return strings.TrimPrefix(b.String(), " ")
}

func hexDigit(c byte) int { return strings.IndexByte("0123456789ABCDEF", c) }
