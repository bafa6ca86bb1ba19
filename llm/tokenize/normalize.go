package tokenize

import (
	"errors"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites a text before it is split.
type normalizer func(text string) string

func (f *file) readNormalizer(in *fileJSON) error {
	if in.Normalizer == nil {
		return nil
	}
	return f.addNormalizer(in.Normalizer)
}

func (f *file) addNormalizer(p *part) error {
	var n normalizer
	switch p.Type {
	case "Sequence":
		for i := range p.Normalizers {
			if err := f.addNormalizer(&p.Normalizers[i]); err != nil {
				return err
			}
		}
		return nil
	case "NFC":
		n = norm.NFC.String
	case "NFD":
		n = norm.NFD.String
	case "NFKC":
		n = norm.NFKC.String
	case "NFKD":
		n = norm.NFKD.String
	case "Lowercase":
		n = strings.ToLower
	case "StripAccents":
		n = stripAccents
	case "Prepend":
		n = func(text string) string { return p.Prepend + text }
	case "Replace":
		var err error
		if n, err = replacer(p); err != nil {
			return err
		}
	case "BertNormalizer":
		n = bertNormalizer(p)
	default:
		return unsupported("the normalizer", p.Type)
	}
	f.normalize = append(f.normalize, n)
	return nil
}

func replacer(p *part) (normalizer, error) {
	switch {
	case p.Pattern.String != nil && *p.Pattern.String != "":
		return strings.NewReplacer(*p.Pattern.String, p.Content).Replace, nil
	case p.Pattern.Regex != nil:
		re, err := regexp.Compile(*p.Pattern.Regex)
		if err != nil {
			return nil, unsupported("the normalizer's pattern", *p.Pattern.Regex)
		}
		return func(text string) string { return re.ReplaceAllLiteralString(text, p.Content) }, nil
	}
	return nil, errors.New("normalizer Replace: it has no pattern")
}

func stripAccents(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, text)
}

func isSet(b *bool) bool { return b == nil || *b }

// bertNormalizer is BERT's. Accents go with the capitals, unless it is said otherwise.
func bertNormalizer(p *part) normalizer {
	lower := isSet(p.Lowercase)
	strip := lower
	if p.StripAccents != nil {
		strip = *p.StripAccents
	}
	return func(text string) string {
		if isSet(p.CleanText) {
			text = cleanText(text)
		}
		if isSet(p.Chinese) {
			text = spaceChinese(text)
		}
		if strip {
			text = stripAccents(norm.NFD.String(text))
		}
		if lower {
			text = strings.ToLower(text)
		}
		return text
	}
}

func cleanText(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r' || unicode.IsSpace(r):
			return ' '
		case r == 0 || r == unicode.ReplacementChar || unicode.In(r, unicode.C):
			return -1
		}
		return r
	}, text)
}

// spaceChinese puts spaces around each ideograph.
func spaceChinese(text string) string {
	var b strings.Builder
	for _, r := range text {
		if isChinese(r) {
			b.WriteRune(' ')
			b.WriteRune(r)
			b.WriteRune(' ')
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func isChinese(r rune) bool {
	switch {
	case r >= 0x4E00 && r <= 0x9FFF, r >= 0x3400 && r <= 0x4DBF, r >= 0x20000 && r <= 0x2A6DF, r >= 0x2A700 && r <= 0x2CEAF,
		r >= 0xF900 && r <= 0xFAFF, r >= 0x2F800 && r <= 0x2FA1F:
		return true
	}
	return false
}
