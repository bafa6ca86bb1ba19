// Package transcript is audio that is to be written down, and its text, in terms that every dialect
// can express.
package transcript

import (
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// Request is audio to be written down. Its file is the client's bytes.
type Request struct {
	Model       string
	File        []byte
	Name        string // of the file
	Type        string // its content type; "": unknown
	Language    string // ISO 639-1; "": unknown
	Prompt      string
	Format      string // "json", "text", "srt", "vtt" or "verbose_json"; "": json
	Temperature string // a number, as it came; "": none
	Words       bool   // the times of words are wanted
	Segments    bool   // and of segments
	Stream      bool
	English     bool         // the text is to be English, whatever was spoken: a translation
	Extra       []llm.Member // further fields; each value is a JSON string, as it stands in the form
}

// Word is one word and when it is said, in seconds.
type Word struct {
	Text       string
	Start, End float64
}

// Segment is some words that belong together.
type Segment struct {
	Text       string
	Start, End float64
}

// Response is what was said.
type Response struct {
	Text     string
	Language string  // "": nobody said
	Duration float64 // seconds; 0: nobody said
	Words    []Word
	Segments []Segment
	Usage    llm.Usage // Source is UsageNone if nobody said
}

// Heard notes how long the audio was, which is what most vendors charge for.
func (r *Response) Heard(seconds float64) {
	if seconds <= 0 || seconds > llm.MaxTokenCount/1000 {
		return
	}
	r.Duration = seconds
	r.Usage.Units.InputMS = int64(seconds * 1000)
	r.Usage.Source = llm.UsageProvider
}

// Bounds of a segment that is made of words: what fits on a screen.
const (
	maxSegmentWords   = 14
	maxSegmentSeconds = 7.0
)

// Parts are the segments, which are made of the words where the provider has none: each ends with a
// sentence, or when it is long.
func (r *Response) Parts() []Segment {
	if len(r.Segments) > 0 {
		return r.Segments
	}
	if len(r.Words) == 0 {
		if r.Text == "" {
			return nil
		}
		return []Segment{{Text: r.Text, End: r.Duration}}
	}
	var parts []Segment
	from := 0
	for i, w := range r.Words {
		ends := strings.ContainsAny(w.Text[max(0, len(w.Text)-1):], ".?!") || strings.HasSuffix(w.Text, "。")
		if !ends && i-from+1 < maxSegmentWords && w.End-r.Words[from].Start < maxSegmentSeconds && i < len(r.Words)-1 {
			continue
		}
		texts := make([]string, 0, i-from+1)
		for _, one := range r.Words[from : i+1] {
			texts = append(texts, one.Text)
		}
		parts = append(parts, Segment{Text: strings.Join(texts, " "), Start: r.Words[from].Start, End: w.End})
		from = i + 1
	}
	return parts
}

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

// Texts are the further fields that the vendor knows, which are named, as texts. All others are
// dropped.
func (r *Request) Texts(t *llm.Target, known ...string) map[string]string {
	texts := map[string]string{}
	for _, m := range r.Extra {
		if !slices.Contains(known, m.Name) {
			t.Drop(m.Name)
			continue
		}
		c := llm.NewCursor(m.Value)
		if c.Next() == '"' {
			texts[m.Name] = c.Text()
		} else {
			texts[m.Name] = string(m.Value)
		}
	}
	return texts
}
