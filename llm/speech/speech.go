// Package speech is a request to speak a text, and the audio, in terms that every dialect can express.
package speech

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/conclave-llm/conclave/llm"
)

// Request asks for a text to be spoken.
type Request struct {
	Model        string
	Input        string
	Voice        string // "": as the deployment or the provider says
	Format       string // "mp3", "opus", "aac", "flac", "wav" or "pcm"; "": mp3
	Speed        float64
	Instructions string // how it is spoken
	Events       bool   // the client wants the audio in events
	Extra        []llm.Member
}

// Audio is a whole answer.
type Audio struct {
	Bytes []byte
	Type  string // its content type
	Usage llm.Usage
}

// VoiceOf is the voice that is asked for, else the deployment's own, its option "voice".
func (r *Request) VoiceOf(t *llm.Target) string {
	if r.Voice == "" || openAI[r.Voice] && t.Options["voice"] != "" {
		return t.Options["voice"]
	}
	return r.Voice
}

// openAI are the names of OpenAI's voices, which clients name because they must name one.
var openAI = map[string]bool{
	"alloy": true, "ash": true, "ballad": true, "coral": true, "echo": true, "fable": true, "nova": true,
	"onyx": true, "sage": true, "shimmer": true, "verse": true, "marin": true, "cedar": true,
}

// OpenAIVoice says whether a name is one of OpenAI's voices.
func OpenAIVoice(name string) bool { return openAI[name] }

// DropExtra drops the members that only some vendors know, but for the known ones.
func (r *Request) DropExtra(t *llm.Target, known ...string) {
	for _, m := range r.Extra {
		if !slices.Contains(known, m.Name) {
			t.Drop(m.Name)
		}
	}
}

// Member is the value of a member that only some vendors know, nil if there is none.
func (r *Request) Member(name string) []byte {
	for _, m := range r.Extra {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// WAVHead is the head of a WAV file of one channel of 16 bits, of rate samples a second, whose sound has
// size bytes. Below 0: nobody knows yet how many, as players of streams take it.
func WAVHead(size, rate int64) []byte {
	whole, sound := uint32(math.MaxUint32), uint32(math.MaxUint32)
	if size >= 0 && size < math.MaxUint32-36 {
		whole, sound = uint32(36+size), uint32(size)
	}
	b := make([]byte, 0, 44+max(size, 0))
	b = binary.LittleEndian.AppendUint32(append(b, "RIFF"...), whole)
	b = binary.LittleEndian.AppendUint32(append(b, "WAVEfmt "...), 16)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate*2))
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 16)
	return binary.LittleEndian.AppendUint32(append(b, "data"...), sound)
}

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}
