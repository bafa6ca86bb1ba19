package realtime

import (
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// What audio is counted as: ten tokens for a second that is heard and twenty for one that is spoken,
// in bytes of the formats that sessions have.
const (
	wideHeard, wideSpoken     = 4800, 2400 // of 16 bits at 24 kHz
	narrowHeard, narrowSpoken = 800, 400   // of 8 bits at 8 kHz
	pictureBytes              = 64         // of base64, for a token of a picture
	textBytes                 = 3          // for a token of text
	turnOfSpeech              = 600        // tokens: a minute that is still to be heard
)

// meter knows how large the conversation is that a response reads again.
type meter struct {
	known              int64 // tokens that the provider counted last, prompt and completion
	text, pictures     int64 // tokens that came since
	audio              int64 // characters of base64 that came since
	setup              int64 // tokens of the session's instructions and tools, until a response counts them
	narrowIn, narrowUp bool  // the formats of what is heard and what is spoken
}

// spoken is how many tokens so many characters of base64 are that the model has made.
func (m *meter) spoken(base64 int64) int64 {
	if m.narrowUp {
		return tokens(base64, narrowSpoken)
	}
	return tokens(base64, wideSpoken)
}

// tokens is how many tokens so many characters of base64 are, at so many bytes a token.
func tokens(base64, each int64) int64 { return (base64*3/4 + each - 1) / each }

// prompt is what the next response reads, and how much of it is audio and pictures.
func (m *meter) prompt() (all, media int64) {
	media = m.pictures
	if m.narrowIn {
		media += tokens(m.audio, narrowHeard)
	} else {
		media += tokens(m.audio, wideHeard)
	}
	return m.known + m.text + media + m.setup, media
}

// counted takes in what a response has cost.
func (m *meter) counted(u *llm.Usage) {
	if u.Source != llm.UsageProvider {
		return
	}
	m.known, m.text, m.pictures, m.audio, m.setup = max(m.known, u.Total()), 0, 0, 0, 0
}

// item counts an item of the conversation, or the inputs of a response.
func (m *meter) item(raw []byte) {
	size, audio, picture := int64(len(raw)), 0, 0
	weigh(raw, func(name string, n int) {
		switch name {
		case "audio":
			audio += n
		case "image_url":
			picture += n
		default:
			return
		}
		size -= int64(n)
	})
	m.text += size / textBytes
	m.audio += int64(audio)
	m.pictures += int64(picture) / pictureBytes
}

// weigh tells the size of every string below a value with its name.
func weigh(raw []byte, each func(name string, n int)) {
	if len(raw) == 0 {
		return
	}
	c := llm.NewCursor(raw)
	switch raw[0] {
	case '{':
		for n := 0; c.Member(n); n++ {
			name := string(c.Name())
			v := c.Raw()
			if size := textSize(v); size > 0 {
				each(name, size)
			} else {
				weigh(v, each)
			}
		}
	case '[':
		for n := 0; c.Element(n); n++ {
			weigh(c.Raw(), each)
		}
	}
}

// formats reads the formats of a session, in the form of today and in the one before.
func (m *meter) formats(session []byte) {
	in, up := member(session, "audio", "input", "format"), member(session, "audio", "output", "format")
	if in == nil {
		in = member(session, "input_audio_format")
	}
	if up == nil {
		up = member(session, "output_audio_format")
	}
	m.narrowIn, m.narrowUp = narrow(in, m.narrowIn), narrow(up, m.narrowUp)
}

func narrow(format []byte, before bool) bool {
	if format == nil {
		return before
	}
	f := string(format)
	return strings.Contains(f, "pcmu") || strings.Contains(f, "pcma") || strings.Contains(f, "g711")
}
