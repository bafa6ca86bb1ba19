package tokenize

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm/chat"
)

// TestEncodings has counts and ids that the encodings' own repository and its cookbook publish.
func TestEncodings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		encoding, text string
		want           []int
	}{
		{"cl100k_base", "hello world", []int{15339, 1917}},
		{"cl100k_base", "tiktoken is great!", []int{83, 1609, 5963, 374, 2294, 0}},
		{"cl100k_base", "rer", []int{38149}},
		{"cl100k_base", "'rer", []int{2351, 81}},
		{"cl100k_base", "today\n ", []int{31213, 198, 220}},
		{"cl100k_base", "today\n \n", []int{31213, 27907}},
		{"cl100k_base", "today\n  \n", []int{31213, 14211}},
		{"cl100k_base", "👍", []int{9468, 239, 235}},
		{"cl100k_base", "お誕生日おめでとう", []int{33334, 45918, 243, 21990, 9080, 33334, 62004, 16556, 78699}},
		{"cl100k_base", "2 + 2 = 4", []int{17, 489, 220, 17, 284, 220, 19}},
		{"cl100k_base", "antidisestablishmentarianism", []int{519, 85342, 34500, 479, 8997, 2191}},
		{"r50k_base", "hello world", []int{31373, 995}},
		{"r50k_base", "0", []int{15}},
		{"r50k_base", "00", []int{405}},
		{"r50k_base", "000", []int{830}},
		{"r50k_base", "0000", []int{2388}},
		{"r50k_base", "00000", []int{20483}},
		{"r50k_base", "000000", []int{10535}},
		{"r50k_base", "2 + 2 = 4", []int{17, 1343, 362, 796, 604}},
		{"p50k_base", "hello   world", []int{31373, 50257, 995}},
		{"o200k_base", "hello world", []int{24912, 2375}},
		{"o200k_base", "antidisestablishmentarianism", []int{493, 129901, 376, 160388, 21203, 2367}},
		{"o200k_base", "2 + 2 = 4", []int{17, 659, 220, 17, 314, 220, 19}},
		{"o200k_base", "お誕生日おめでとう", []int{8930, 9697, 243, 128225, 8930, 17693, 4344, 48669}},
		{"o200k_base", "", nil},
	} {
		tok, err := Get(tt.encoding)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tok.Encode(tt.text)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s %q: got %v, %v, want %v", tt.encoding, tt.text, got, err, tt.want)
			continue
		}
		if n, err := tok.Count(tt.text); err != nil || n != len(tt.want) {
			t.Errorf("%s %q: count %d, %v", tt.encoding, tt.text, n, err)
		}
		if back, err := tok.Decode(got); err != nil || back != tt.text {
			t.Errorf("%s: decoded %q, %v, want %q", tt.encoding, back, err, tt.text)
		}
	}
	if _, err := Get("gpt9_base"); err == nil || !strings.Contains(err.Error(), "cl100k_base") {
		t.Errorf("an unknown encoding: %v", err)
	}
	for _, name := range Encodings() {
		tok, err := Get(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, ids := range [][]int{{-1}, {1 << 30}} {
			if text, err := tok.Decode(ids); err == nil {
				t.Errorf("%s: decoded %v to %q", name, ids, text)
			}
		}
		if _, err := tok.Count(strings.Repeat(" ", MaxText+1)); !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: a long text: %v", name, err)
		}
	}
}

func TestForModel(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{
		"gpt-4o-mini": "o200k_base", "openai/gpt-4": "cl100k_base", "gpt-4.1": "o200k_base", "gpt-5": "o200k_base", "o3": "o200k_base",
		"ft:gpt-3.5-turbo:x": "cl100k_base", "text-embedding-3-small": "cl100k_base", "text-davinci-003": "p50k_base", "davinci": "r50k_base",
	} {
		if tok, own := ForModel(model); tok.Name() != want || !own {
			t.Errorf("%s: got %s, %v, want %s", model, tok.Name(), own, want)
		}
	}
	if tok, own := ForModel("claude-x"); tok.Name() != "o200k_base" || own {
		t.Errorf("another maker's: %s, %v", tok.Name(), own)
	}
}

// The files of the tests are small ones of the three kinds, written by hand.
const (
	byteLevel = `{"model":{"type":"BPE","vocab":{"h":0,"e":1,"l":2,"o":3,"Ġ":4,"w":5,"r":6,"d":7,"he":8,"ll":9,"hell":10,"hello":11,"Ġw":12,"or":13,"Ġwor":14,"ld":15,"Ġworld":16,"Ã":17,"©":18},
 "merges":["h e","l l","he ll","hell o",["Ġ","w"],"o r","Ġw or","l d","Ġwor ld"]},
 "added_tokens":[{"id":20,"content":"<|end|>"}],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"}}`
	wordPieces = `{"model":{"type":"WordPiece","vocab":{"[UNK]":0,"un":1,"##aff":2,"##able":3,"hello":4,",":5,"world":6},"unk_token":"[UNK]"},
 "normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},"decoder":{"type":"WordPiece"}}`
	unigrams = `{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁a",-1.5],["b",-2],["▁ab",-3.2],["▁",-2.5],["c",-3],["bc",-6]]},
 "pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"},"decoder":{"type":"Metaspace","replacement":"▁"}}`
	llama = `{"model":{"type":"BPE","byte_fallback":true,"fuse_unk":true,"unk_token":"<unk>","vocab":{"<unk>":0,"▁":1,"h":2,"i":3,"hi":4,"▁hi":5,"<0xC3>":6,"<0xA9>":7},"merges":["h i","▁ hi"]},
 "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
 "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}]}}`
)

func TestLoad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file, text, back string
		want                   []int
	}{
		{"merges", byteLevel, "hello world", "", []int{11, 16}},
		{"merges in part", byteLevel, "hell", "", []int{10}},
		{"bytes", byteLevel, "é", "", []int{17, 18}},
		{"an added token", byteLevel, "hello<|end|> world", "", []int{11, 20, 16}},
		{"word pieces", wordPieces, "Unaffable, HELLO", "unaffable , hello", []int{1, 2, 3, 5, 4}},
		{"an unknown word", wordPieces, "zzz wörld", "[UNK] world", []int{0, 6}},
		{"the best way", unigrams, "ab", "ab", []int{3}},
		{"the best way over more", unigrams, "abc a", "abc a", []int{3, 5, 1}},
		{"unknown letters are one", unigrams, "axyb", "a<unk>b", []int{1, 0, 2}},
		{"fallback to bytes", llama, "hi é", "hi é", []int{5, 1, 6, 7}},
		{"unknown letters fused", llama, "hizz", "hi<unk>", []int{5, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tok, err := Load([]byte(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := tok.Encode(tt.text)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Fatalf("got %v, %v, want %v", got, err, tt.want)
			}
			back := tt.back
			if back == "" {
				back = tt.text
			}
			if text, err := tok.Decode(got); err != nil || text != back {
				t.Errorf("decoded %q, %v, want %q", text, err, back)
			}
		})
	}
}

func TestLoad_Refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, says string }{
		{"a model", `{"model":{"type":"WordLevel","vocab":{}}}`, "WordLevel"},
		{"a normalizer", `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Precompiled"}}`, "Precompiled"},
		{"a pre-tokenizer", `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"UnicodeScripts"}}`, "UnicodeScripts"},
		{"a suffix", `{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"}}`, "</w>"},
		{"a decoder", `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"decoder":{"type":"CTC"}}`, "CTC"},
	} {
		if _, err := Load([]byte(tt.file)); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want one that names %s", tt.name, err, tt.says)
		}
	}
	for _, broken := range []string{
		``, `[]`, `{"model":5}`, `{"model":{"type":"BPE","vocab":{}}}`, `{"model":{"type":"BPE","vocab":{"a":0},"merges":["ab"]}}`,
		`{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a"]]}}`, `{"model":{"type":"BPE","vocab":{"a":0},"unk_token":"x"}}`,
		`{"model":{"type":"Unigram","vocab":[["a"]]}}`, `{"model":{"type":"Unigram","unk_id":7,"vocab":[["a",0]]}}`, `{"model":{"type":"WordPiece","vocab":{}}}`,
		`{"model":{"type":"BPE","vocab":{"a":0}},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"}}`,
		`{"model":{"type":"BPE","vocab":{"a":0}},"added_tokens":[{"id":1,"content":""}]}`,
	} {
		if _, err := Load([]byte(broken)); err == nil {
			t.Errorf("read %s", broken)
		}
	}
}

func TestCountRequest(t *testing.T) {
	t.Parallel()
	tok, _ := ForModel("gpt-4")
	// OpenAI's cookbook counts 129 for this conversation with gpt-4.
	q := &chat.Request{}
	for _, m := range [][3]string{
		{"system", "", "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
		{"system", "example_user", "New synergies will help drive top-line growth."},
		{"system", "example_assistant", "Things working well together will increase revenue."},
		{"system", "example_user", "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
		{"system", "example_assistant", "Let's talk later when we're less busy about how to do better."},
		{"user", "", "This late pivot means we don't have time to boil the ocean for the client deliverable."},
	} {
		q.Messages = append(q.Messages, chat.Message{Role: chat.Role(m[0]), Name: m[1], Parts: []chat.Part{{Text: m[2]}}})
	}
	if n, err := CountRequest(tok, q); err != nil || n != 129 {
		t.Errorf("got %d, %v, want 129", n, err)
	}
	q.Tools = []chat.Tool{{Name: "f", Description: "does", Parameters: json.RawMessage(`{}`)}}
	q.Messages[0].Parts = append(q.Messages[0].Parts, chat.Part{Type: chat.PartImage, Media: &chat.Media{URL: "u"}})
	if n, err := CountRequest(tok, q); err != nil || n != 129+3+mediaTokens {
		t.Errorf("with a tool and a picture: got %d, %v", n, err)
	}
}

func FuzzLoad(f *testing.F) {
	for _, s := range []string{byteLevel, wordPieces, unigrams, llama} {
		f.Add([]byte(s), "hello wörld")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if len(text) > 1<<12 {
			return
		}
		tok, err := Load(data)
		if err != nil {
			return
		}
		ids, err := tok.Encode(text)
		if err != nil {
			return
		}
		if _, err := tok.Decode(ids); err != nil {
			t.Errorf("%q became %v, which cannot be decoded: %v", text, ids, err)
		}
	})
}

func TestEncoding_LongWord(t *testing.T) {
	t.Parallel()
	tok, _ := Get("o200k_base")
	text := strings.Repeat("ab", 200_000) // one word, whose merging must not be quadratic
	ids, err := tok.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := tok.Decode(ids); err != nil || back != text {
		t.Errorf("decoded %d bytes, %v", len(back), err)
	}
}

func FuzzEncodings(f *testing.F) {
	f.Add("hello wörld 👍 \n\n  12345")
	f.Add("\xff\xfe")
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range Encodings() {
			tok, err := Get(name)
			if err != nil {
				t.Fatal(err)
			}
			ids, err := tok.Encode(text)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := tok.Decode(ids); err != nil || back != string([]rune(text)) {
				t.Errorf("%s: %q came back as %q, %v", name, text, back, err)
			}
		}
	})
}

func BenchmarkEncoding(b *testing.B) {
	tok, _ := Get("o200k_base")
	text := strings.Repeat("The quick brown fox jumps over 13 lazy dogs, and then some.\n", 1700)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := tok.Count(text); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	reads := map[string]int{}
	c := Cache{Read: func(_ context.Context, digest string) ([]byte, error) {
		reads[digest]++
		if digest == "gone" {
			return nil, errors.New("gone")
		}
		return []byte(wordPieces), nil
	}}
	get := func(digest string) error {
		_, err := c.Get(t.Context(), digest)
		return err
	}
	for range 3 {
		if err := get("a"); err != nil {
			t.Fatal(err)
		}
		if get("gone") == nil {
			t.Error("got what is not there")
		}
	}
	if reads["a"] != 1 || reads["gone"] != 3 {
		t.Errorf("reads %v: what was read is kept, and what failed is tried again", reads)
	}
	for i := range maxLoaded {
		_ = get(string(rune('b' + i)))
	}
	if len(c.files) != maxLoaded || get("a") != nil || reads["a"] != 2 {
		t.Errorf("%d files are held, reads %v", len(c.files), reads)
	}
}
