package quote

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/mistral"
)

// What media are taken to be before a provider says. Each errs on the dear side of what is usual:
// it is held, and settled where nobody says otherwise.
const (
	imageTokens      = 6240 // of output, for the largest image at the highest quality of gpt-image-1
	pictureTokens    = 1600 // of input, for an image that is sent
	charactersASec   = 12   // that are spoken
	spokenTokens     = 21   // of output, for a second of speech
	heardTokens      = 17   // of input, for a second of audio
	writtenTokens    = 5    // of output, for a second of audio that is transcribed
	audioByteRate    = 8000 // bytes for a second: 64 kbit/s
	documentsASearch = 100  // that a search unit covers
	answerTokens     = 16   // of output, for a question whose answer is a value
	pageBytes        = 3000 // of a page of a document that is sent: one of words, compressed
)

// makes estimates what a request for images or audio needs.
func (q *Quote) makes(r *Request) {
	switch r.Endpoint {
	case llm.Images, llm.ImageEdits, llm.ImageVariations:
		n := max(1, r.Fields.N)
		q.units.OutputImages = n
		q.units.OutputPixels = product(n, pixels(r.text("size")))
		q.Output = product(imageTokens, n)
		if r.Form != nil {
			sent, _ := r.Form.Files()
			q.units.InputImages = int64(sent)
			q.Prompt += int64(sent) * pictureTokens
		}
	case llm.Speech:
		q.units.Characters = int64(utf8.RuneCountInString(r.text("input")))
		q.units.OutputMS = q.units.Characters * 1000 / charactersASec
		q.Output = q.units.OutputMS*spokenTokens/1000 + 1
	case llm.Transcriptions, llm.Translations:
		if r.Form != nil {
			q.units.InputMS = duration(r.Form.File())
		}
		q.Prompt += q.units.InputMS * heardTokens / 1000
		q.Output = q.units.InputMS*writtenTokens/1000 + 1
	}
}

// ranks estimates the searches that a reranking is billed as.
func (q *Quote) ranks(r *Request) {
	var body struct {
		Documents []json.RawMessage `json:"documents"`
	}
	_ = json.Unmarshal(r.Body, &body) // other forms of documents are one search
	q.units.Queries = max(1, (int64(len(body.Documents))+documentsASearch-1)/documentsASearch)
}

// decides estimates the answers, one to each question, at the price that decisions have.
func (q *Quote) decides(r *Request) {
	c, questions := llm.NewCursor(r.Body), int64(0)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "questions" {
			c.Raw()
			continue
		}
		object := c.Next() == '{'
		for m := 0; object && c.Member(m) || !object && c.Element(m); m++ {
			c.Raw()
			questions++
		}
	}
	q.Output, q.Service = max(1, questions)*answerTokens, llm.ServiceDecisions
}

// scans estimates the pages of a document that is read: those that are asked for, or as many as what
// is sent can have. It has no tokens, however many bytes it has.
func (q *Quote) scans(r *Request) {
	q.Prompt, q.media = 0, 0
	q.units.Pages = max(1, int64(len(r.Body))*3/4/pageBytes)
	if req, err := mistral.DecodeOCR(r.Body); err == nil && len(req.Pages) > 0 {
		q.units.Pages = min(q.units.Pages, int64(len(req.Pages)))
		if req.Data == "" {
			q.units.Pages = int64(len(req.Pages))
		}
	}
}

// made is what an answer has cost that came whole without saying so.
func (q *Quote) made(e llm.Endpoint, u llm.Usage) llm.Usage {
	u.Units = q.units
	switch e {
	case llm.Images, llm.ImageEdits, llm.ImageVariations:
		u.ImageOutput = q.Output
	case llm.Speech:
		u.AudioOutput = q.Output
	case llm.Transcriptions, llm.Translations:
		heard := min(u.Input, q.units.InputMS*heardTokens/1000)
		u.Input, u.AudioInput, u.Output = u.Input-heard, heard, q.Output
	}
	return u
}

// Complete adds to what a provider reported the units that it charges for and does not report:
// characters of text, and the pixels of the images that came.
func (q *Quote) Complete(e llm.Endpoint, u llm.Usage) llm.Usage {
	switch e {
	case llm.Images, llm.ImageEdits, llm.ImageVariations:
		u.Units.InputImages = q.units.InputImages
		if q.units.OutputImages > 0 {
			u.Units.OutputPixels = product(q.units.OutputPixels/q.units.OutputImages, max(1, u.Units.OutputImages))
		}
	case llm.Speech:
		if u.Units.Characters == 0 {
			u.Units.Characters = q.units.Characters
		}
		if u.Units.OutputMS == 0 {
			u.Units.OutputMS = q.units.OutputMS
		}
	case llm.Transcriptions, llm.Translations:
		if u.Units.InputMS == 0 {
			u.Units.InputMS = q.units.InputMS
		}
	case llm.OCR:
		if u.Units.Pages == 0 {
			u.Units.Pages = q.units.Pages
		}
	case llm.Rerank:
		if u.Units.Queries == 0 {
			u.Units.Queries = q.units.Queries
		}
	}
	return u
}

// text is a string at the top of the body, "" if there is none.
func (r *Request) text(name string) string {
	var body map[string]json.RawMessage
	var s string
	if json.Unmarshal(r.Body, &body) == nil {
		_ = json.Unmarshal(body[name], &s) // another type is no string
	}
	return s
}

// pixels are those of a size such as "1024x1536"; what is no size counts as 1024x1024.
func pixels(size string) int64 {
	w, h, _ := strings.Cut(size, "x")
	x, errX := strconv.ParseInt(w, 10, 32)
	y, errY := strconv.ParseInt(h, 10, 32)
	if errX != nil || errY != nil || x <= 0 || y <= 0 || x > 1<<16 || y > 1<<16 {
		return 1024 * 1024
	}
	return x * y
}

// duration estimates the milliseconds of an audio file: of a WAV by its header, of others by
// their size.
func duration(file []byte) int64 {
	rate := int64(audioByteRate)
	if len(file) >= 32 && string(file[:4]) == "RIFF" && string(file[8:16]) == "WAVEfmt " {
		if said := int64(binary.LittleEndian.Uint32(file[28:])); said >= 1000 {
			rate = said
		}
	}
	return int64(len(file)) * 1000 / rate
}
