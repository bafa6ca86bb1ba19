package tokenize

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// splitter splits a word into words; first says that it is the beginning of the text.
type splitter func(word string, first bool) ([]string, error)

// matchTimeout bounds what a file's own pattern may take for one text: it may backtrack.
const matchTimeout = 5 * time.Second

// byteLevelPattern is how GPT-2 splits, which byte-level tokenizers do that do not say otherwise.
const byteLevelPattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

func (f *file) readSplitter(in *fileJSON) error {
	if in.PreTokenizer == nil {
		return nil
	}
	return f.addSplitter(in.PreTokenizer)
}

func (f *file) addSplitter(p *part) error {
	if p.Type == "Sequence" {
		for i := range p.PreTokenizers {
			if err := f.addSplitter(&p.PreTokenizers[i]); err != nil {
				return err
			}
		}
		return nil
	}
	make, ok := splitters[p.Type]
	if !ok {
		return unsupported("the pre-tokenizer", p.Type)
	}
	list, err := make(p)
	f.split = append(f.split, list...)
	return err
}

// splitters make the steps of each kind of pre-tokenizer.
var splitters = map[string]func(*part) ([]splitter, error){
	"ByteLevel": byBytes,
	"Split":     func(p *part) ([]splitter, error) { return only(bySplit(p)) },
	"Metaspace": func(p *part) ([]splitter, error) { return []splitter{byMetaspace(p)}, nil },
	"BertPreTokenizer": func(*part) ([]splitter, error) {
		return []splitter{dropping(unicode.IsSpace), isolating(isPunctuation)}, nil
	},
	"WhitespaceSplit": func(*part) ([]splitter, error) { return []splitter{dropping(unicode.IsSpace)}, nil },
	"Whitespace":      func(*part) ([]splitter, error) { return only(byPattern(`\w+|[^\w\s]+`, "Removed", true)) },
	"Punctuation": func(p *part) ([]splitter, error) {
		if p.Behavior != "" && p.Behavior != "Isolated" {
			return nil, unsupported("the behaviour of Punctuation", p.Behavior)
		}
		return []splitter{isolating(isPunctuation)}, nil
	},
	"Digits": func(p *part) ([]splitter, error) {
		if p.Individual {
			return []splitter{isolating(unicode.IsNumber)}, nil
		}
		return only(byPattern(`\p{N}+`, "Isolated", false))
	},
}

func only(s splitter, err error) ([]splitter, error) { return []splitter{s}, err }

// byBytes splits as GPT-2 does, and writes bytes as letters.
func byBytes(p *part) ([]splitter, error) {
	var list []splitter
	if isSet(p.AddPrefixSpace) {
		list = append(list, func(word string, _ bool) ([]string, error) { return []string{prefixed(word, " ")}, nil })
	}
	if isSet(p.UseRegex) {
		s, err := byPattern(byteLevelPattern, "Isolated", false)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return append(list, func(word string, _ bool) ([]string, error) { return []string{toByteLetters(word)}, nil }), nil
}

func prefixed(word, prefix string) string {
	if strings.HasPrefix(word, prefix) {
		return word
	}
	return prefix + word
}

func bySplit(p *part) (splitter, error) {
	switch {
	case p.Pattern.Regex != nil:
		return byPattern(*p.Pattern.Regex, p.Behavior, p.Invert)
	case p.Pattern.String != nil && *p.Pattern.String != "":
		return byPattern(regexp2.Escape(*p.Pattern.String), p.Behavior, p.Invert)
	}
	return nil, errors.New("pre-tokenizer Split: it has no pattern")
}

// byPattern splits at the matches of a file's pattern; invert makes matches of what is between them.
func byPattern(text, behaviour string, invert bool) (splitter, error) {
	return byMatches(text, behaviour, invert, matchTimeout)
}

// byMatches is byPattern of a pattern that may take so long for a match; 0: for ever, as may one that is known not to backtrack.
func byMatches(text, behaviour string, invert bool, most time.Duration) (splitter, error) {
	switch behaviour {
	case "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext":
	default:
		return nil, unsupported("the behaviour of Split", behaviour)
	}
	re, err := regexp2.Compile(text, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("pre-tokenizer: the pattern %q cannot be read: %w", text, err)
	}
	if most > 0 {
		re.MatchTimeout = most
	}
	return func(word string, _ bool) ([]string, error) {
		var out []string
		pending := "" // a match that belongs to what follows
		emit := func(piece string, match bool) {
			switch {
			case piece == "":
			case !match || behaviour == "Isolated":
				out, pending = append(out, pending+piece), ""
			case behaviour == "MergedWithNext":
				pending += piece
			case behaviour == "MergedWithPrevious" && len(out) > 0:
				out[len(out)-1] += piece
			case behaviour == "MergedWithPrevious":
				out = append(out, piece)
			}
		}
		runes := []rune(word)
		at := 0
		m, err := re.FindRunesMatch(runes)
		for ; m != nil && err == nil; m, err = re.FindNextMatch(m) {
			emit(string(runes[at:m.RuneIndex]), invert)
			emit(string(runes[m.RuneIndex:m.RuneIndex+m.RuneLength]), !invert)
			at = m.RuneIndex + m.RuneLength
		}
		if err != nil {
			return nil, fmt.Errorf("split the text: %w", err)
		}
		emit(string(runes[at:]), invert)
		if pending != "" {
			out = append(out, pending)
		}
		return out, nil
	}, nil
}

// dropping splits at letters that are left out.
func dropping(is func(rune) bool) splitter {
	return func(word string, _ bool) ([]string, error) { return strings.FieldsFunc(word, is), nil }
}

// isolating makes a word of each of some letters.
func isolating(is func(rune) bool) splitter {
	return func(word string, _ bool) (out []string, _ error) {
		start := 0
		for i, r := range word {
			if !is(r) {
				continue
			}
			if i > start {
				out = append(out, word[start:i])
			}
			start = i + runeSize(word[i:])
			out = append(out, word[i:start])
		}
		if start < len(word) {
			out = append(out, word[start:])
		}
		return out, nil
	}
}

func isPunctuation(r rune) bool {
	return r > ' ' && r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != 0x7f || unicode.IsPunct(r)
}

// byMetaspace writes spaces as a letter, and splits before each.
func byMetaspace(p *part) splitter {
	mark := p.Replacement
	if mark == "" {
		mark = "▁"
	}
	scheme := p.PrependScheme
	if scheme == "" {
		scheme = "always"
		if !isSet(p.AddPrefixSpace) {
			scheme = "never"
		}
	}
	return func(word string, first bool) ([]string, error) {
		word = strings.ReplaceAll(word, " ", mark)
		if scheme == "always" || scheme == "first" && first {
			word = prefixed(word, mark)
		}
		if !isSet(p.Split) {
			return []string{word}, nil
		}
		var out []string
		for word != "" {
			end := strings.Index(word[len(runePrefix(word)):], mark)
			if end < 0 {
				return append(out, word), nil
			}
			end += len(runePrefix(word))
			out, word = append(out, word[:end]), word[end:]
		}
		return out, nil
	}
}

func runePrefix(s string) string { return s[:runeSize(s)] }
