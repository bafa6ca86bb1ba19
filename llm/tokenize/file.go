package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxFile bounds a tokenizer.json, in bytes.
const MaxFile = 64 << 20

// ErrUnsupported says that a tokenizer.json has a part that is not read here; the error that
// wraps it names the part.
var ErrUnsupported = errors.New("is not supported")

func unsupported(part, kind string) error { return fmt.Errorf("%s %q %w", part, kind, ErrUnsupported) }

// model cuts one word into tokens.
type model interface {
	// pieces appends the ids of a word's tokens.
	pieces(dst []int, word string) []int
}

// tokens are a vocabulary in both directions.
type tokens struct {
	ids   map[string]int
	texts map[int]string
}

func (v *tokens) add(text string, id int) {
	v.ids[text] = id
	v.texts[id] = text
}

// file is a tokenizer.json that was read.
type file struct {
	vocabulary tokens
	added      []string // contents of added tokens, the longest first
	normalize  []normalizer
	split      []splitter
	model      model
	decode     func(pieces []string) string
}

// fileJSON is the form of a tokenizer.json.
type fileJSON struct {
	Added []struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
	} `json:"added_tokens"`
	Normalizer   *part           `json:"normalizer"`
	PreTokenizer *part           `json:"pre_tokenizer"`
	Decoder      *part           `json:"decoder"`
	Model        json.RawMessage `json:"model"`
}

// part is a member of a sequence, with the fields of all kinds.
type part struct {
	Type           string  `json:"type"`
	Normalizers    []part  `json:"normalizers"`
	PreTokenizers  []part  `json:"pretokenizers"`
	Decoders       []part  `json:"decoders"`
	Pattern        pattern `json:"pattern"`
	Content        string  `json:"content"`
	Prepend        string  `json:"prepend"`
	Behavior       string  `json:"behavior"`
	Invert         bool    `json:"invert"`
	AddPrefixSpace *bool   `json:"add_prefix_space"`
	UseRegex       *bool   `json:"use_regex"`
	Replacement    string  `json:"replacement"`
	PrependScheme  string  `json:"prepend_scheme"`
	Split          *bool   `json:"split"`
	Individual     bool    `json:"individual_digits"`
	CleanText      *bool   `json:"clean_text"`
	Chinese        *bool   `json:"handle_chinese_chars"`
	StripAccents   *bool   `json:"strip_accents"`
	Lowercase      *bool   `json:"lowercase"`
}

// pattern is a text or a regular expression.
type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// Load reads a tokenizer.json of the kinds BPE, WordPiece and Unigram. Every part of it that is
// not read here is an error that wraps ErrUnsupported and names the part.
func Load(data []byte) (Tokenizer, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("read tokenizer.json: %d bytes are over %d", len(data), MaxFile)
	}
	var in fileJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("read tokenizer.json: %w", err)
	}
	f := &file{vocabulary: tokens{map[string]int{}, map[int]string{}}}
	for _, step := range []func(*fileJSON) error{f.readModel, f.readAdded, f.readNormalizer, f.readSplitter, f.readDecoder} {
		if err := step(&in); err != nil {
			return nil, fmt.Errorf("read tokenizer.json: %w", err)
		}
	}
	return f, nil
}

func (f *file) readModel(in *fileJSON) error {
	var head struct {
		Type   string          `json:"type"`
		Merges json.RawMessage `json:"merges"`
	}
	if err := json.Unmarshal(in.Model, &head); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if head.Type == "" && head.Merges != nil { // older files do not say
		head.Type = "BPE"
	}
	var err error
	switch head.Type {
	case "BPE":
		f.model, err = readBPE(in.Model, &f.vocabulary)
	case "WordPiece":
		f.model, err = readWordPiece(in.Model, &f.vocabulary)
	case "Unigram":
		f.model, err = readUnigram(in.Model, &f.vocabulary)
	default:
		err = unsupported("the model", head.Type)
	}
	return err
}

func (f *file) readAdded(in *fileJSON) error {
	for _, a := range in.Added {
		if a.Content == "" || a.ID < 0 {
			return errors.New("added_tokens: one has no content or no id")
		}
		f.vocabulary.add(a.Content, a.ID)
		f.added = append(f.added, a.Content)
	}
	slices.SortFunc(f.added, func(a, b string) int { return len(b) - len(a) })
	return nil
}

// FileName is the Name of a tokenizer that was read from a file.
const FileName = "tokenizer.json"

// Name says that the tokenizer is a file's.
func (f *file) Name() string { return FileName }

// Count counts tokens.
func (f *file) Count(text string) (int, error) {
	ids, err := f.Encode(text)
	return len(ids), err
}

// Encode gives the ids. Text that spells an added token is that token.
func (f *file) Encode(text string) ([]int, error) {
	if len(text) > MaxText {
		return nil, ErrTooLong
	}
	var ids []int
	for first := true; text != ""; first = false {
		at, token := f.nextAdded(text)
		if at > 0 {
			var err error
			if ids, err = f.words(ids, text[:at], first); err != nil {
				return nil, err
			}
		}
		if token != "" {
			ids = append(ids, f.vocabulary.ids[token])
		}
		text = text[at+len(token):]
	}
	return ids, nil
}

// nextAdded finds the first added token, the longest of those that begin there.
func (f *file) nextAdded(text string) (at int, token string) {
	at = len(text)
	for _, a := range f.added {
		if i := strings.Index(text[:min(len(text), at+len(a))], a); i >= 0 && (i < at || i == at && len(a) > len(token)) {
			at, token = i, a
		}
	}
	return at, token
}

// words normalises a text, splits it into words and appends their tokens.
func (f *file) words(ids []int, text string, first bool) ([]int, error) {
	for _, n := range f.normalize {
		text = n(text)
	}
	list := []string{text}
	for _, s := range f.split {
		var next []string
		for i, word := range list {
			parts, err := s(word, first && i == 0)
			if err != nil {
				return nil, err
			}
			next = append(next, parts...)
		}
		list = next
	}
	for _, word := range list {
		if word != "" {
			ids = f.model.pieces(ids, word)
		}
	}
	return ids, nil
}

// Decode gives the text of ids.
func (f *file) Decode(ids []int) (string, error) {
	pieces := make([]string, len(ids))
	for i, id := range ids {
		text, ok := f.vocabulary.texts[id]
		if !ok {
			return "", fmt.Errorf("decode with tokenizer.json: %d is no token", id)
		}
		pieces[i] = text
	}
	return f.decode(pieces), nil
}
