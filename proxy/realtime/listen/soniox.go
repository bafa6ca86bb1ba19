package listen

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// Soniox is the dialect of Soniox's WebSocket API, as its reference of 2026 has it. The key stands in the
// handshake's header. What is final stays, which is all that becomes text: pieces that may still change are
// not handed on, since a client's pieces cannot be taken back.
type Soniox struct {
	Model string // at the provider
	turn  int64
	open  bool // the turn has words
}

// formats are the names of formats at Soniox.
var formats = map[string]string{"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}

// errFormat says which formats there are.
var errFormat = errors.New("the format must be audio/pcm, audio/pcmu or audio/pcma")

// Setup implements Dialect.
func (d *Soniox) Setup(s *Setup) (peer.Object, error) {
	if formats[s.Format] == "" {
		return nil, errFormat
	}
	if s.Rate <= 0 {
		return nil, errors.New("the rate of the format must be a number of Hz")
	}
	o := peer.Object{"model": d.Model, "audio_format": formats[s.Format], "sample_rate": s.Rate, "num_channels": 1, "enable_endpoint_detection": !s.Manual}
	if s.Language != "" {
		o["language_hints"] = []string{s.Language}
	}
	if s.Prompt != "" {
		o["context"] = peer.Object{"text": s.Prompt}
	}
	return o, nil
}

// Acknowledged implements Dialect.
func (*Soniox) Acknowledged() bool { return false }

// Commit implements Dialect.
func (*Soniox) Commit() peer.Object { return peer.Object{"type": "finalize"} }

// Keep implements Dialect. A connection on which nothing comes for 20 seconds is closed.
func (*Soniox) Keep() peer.Object { return peer.Object{"type": "keepalive"} }

// The tokens with which a turn ends: where the user stopped, and where the client said so.
const (
	sonioxEnd = "<end>"
	sonioxFin = "<fin>"
)

// Take implements Dialect.
func (d *Soniox) Take(message []byte) ([]Said, error) {
	var m struct {
		Tokens []struct {
			Text  string  `json:"text"`
			Start float64 `json:"start_ms"`
			Final bool    `json:"is_final"`
		} `json:"tokens"`
		Heard    float64 `json:"total_audio_proc_ms"`
		Finished bool    `json:"finished"`
		Code     int     `json:"error_code"`
		Error    string  `json:"error_message"`
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return nil, peer.Garbled(err)
	}
	if m.Code != 0 {
		return nil, refused(m.Code, m.Error)
	}
	out := []Said{{Kind: Heard, MS: int64(m.Heard)}}
	for i := range m.Tokens {
		t := &m.Tokens[i]
		switch {
		case !t.Final:
		case t.Text == sonioxEnd:
			out = d.ends(out, int64(m.Heard), true)
		case t.Text == sonioxFin:
			out = d.ends(out, 0, false)
		default:
			out = d.adds(out, t.Text, int64(t.Start))
		}
	}
	if m.Finished && d.open {
		out = d.ends(out, 0, false)
	}
	return out, nil
}

// adds adds a piece of a turn, which it begins if there is none.
func (d *Soniox) adds(out []Said, text string, ms int64) []Said {
	if !d.open {
		if text = strings.TrimLeft(text, " "); text == "" {
			return out
		}
		d.open = true
		out = append(out, Said{Kind: Begins, Turn: d.turn, MS: ms})
	}
	return append(out, Said{Kind: Adds, Turn: d.turn, Text: text})
}

// ends ends a turn; found says that the provider has found its end, at ms.
func (d *Soniox) ends(out []Said, ms int64, found bool) []Said {
	if d.open && found {
		out = append(out, Said{Kind: Ends, Turn: d.turn, MS: ms})
	}
	out = append(out, Said{Kind: Complete, Turn: d.turn})
	d.open = false
	d.turn++
	return out
}

// refused is the error of a provider that ends the session with a status of HTTP's.
func refused(status int, message string) error {
	e := &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: "The provider ended the session.", Err: errors.New(message)}
	switch status {
	case 429:
		e.Kind, e.Code, e.Message = llm.RateLimited, "rate_limit_exceeded", "The provider has no room for the session."
	case 408:
		e.Kind, e.Code, e.Message = llm.Timeout, "timeout_between_chunks", "The provider heard nothing for too long."
	case 400:
		e.Kind, e.Code, e.Message = llm.Invalid, "invalid_request_error", "The provider refused the session: "+message
	}
	return e
}
