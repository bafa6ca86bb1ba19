package listen

import (
	"encoding/json"
	"errors"
	"math"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/meta"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
	"github.com/conclave-llm/conclave/secret"
)

// Meta is the dialect of Meta's realtime transcription (/v1/asr/realtime), as its reference of 2026 has it.
// The key stands in the first message: the handshake's header is not read. What comes before a turn is
// complete may still change, so that it is not handed on.
type Meta struct {
	Model  string // at the provider
	Key    secret.Text
	manual bool
	turn   int64 // of a session whose client ends the turn
}

// Setup implements Dialect.
func (d *Meta) Setup(s *Setup) (peer.Object, error) {
	encoding := map[int]string{24000: "PCM_24KHZ", 16000: "PCM_16KHZ"}[s.Rate]
	if s.Format != "audio/pcm" || encoding == "" {
		return nil, errors.New("the model's provider hears audio/pcm of 24000 or 16000 Hz alone")
	}
	d.manual = s.Manual
	mode := "ENDPOINTING"
	if s.Manual {
		mode = "PUSH_TO_TALK"
	}
	o := peer.Object{
		"authorization": peer.Object{"accessToken": "Bearer " + d.Key.Reveal()}, "audioEncoding": encoding, "model": d.Model,
		"mode": mode, "partialMode": "CUMULATIVE", "emitAudioProgress": true,
	}
	if name := meta.Language(s.Language); name != "" {
		o["languageBias"] = []string{name}
	}
	return o, nil
}

// Acknowledged implements Dialect.
func (*Meta) Acknowledged() bool { return true }

// Commit implements Dialect. The session ends with the turn that a client ends.
func (d *Meta) Commit() peer.Object {
	if !d.manual {
		return nil
	}
	return peer.Object{"type": "endStream"}
}

// Keep implements Dialect.
func (*Meta) Keep() peer.Object { return nil }

// Take implements Dialect. Types that are not known are passed over, as Meta asks for.
func (d *Meta) Take(message []byte) ([]Said, error) {
	var m struct {
		Type    string  `json:"type"`
		Session string  `json:"sessionId"`
		Turn    int64   `json:"turnId"`
		Text    string  `json:"transcript"`
		Final   bool    `json:"final"`
		Heard   float64 `json:"audioProcessedMs"`
		Message string  `json:"message"`
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return nil, peer.Garbled(err)
	}
	heard := int64(math.Min(m.Heard, llm.MaxTokenCount))
	out := []Said{{Kind: Heard, MS: heard}}
	switch {
	case m.Type == "" && m.Session != "":
		return []Said{{Kind: Ready}}, nil
	case m.Type == "" || m.Type == "error":
		return nil, &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: "The provider ended the session.", Err: errors.New(m.Message)}
	case m.Type == "speechStart":
		out = append(out, Said{Kind: Begins, Turn: m.Turn, MS: heard})
	case m.Type == "speechEnd":
		out = append(out, Said{Kind: Ends, Turn: m.Turn, MS: heard})
	case m.Type == "speechComplete":
		out = append(out, Said{Kind: Complete, Turn: m.Turn, Text: strings.TrimSpace(m.Text)})
	case m.Type == "transcript" && m.Final && d.manual:
		out = append(out, Said{Kind: Complete, Turn: d.turn, Text: strings.TrimSpace(m.Text)})
		d.turn++
	}
	return out, nil
}
