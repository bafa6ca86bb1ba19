// Package speech is a request to speak a text, and the audio, in terms that every dialect can express.
package speech

import (
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
