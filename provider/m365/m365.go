// Package m365 asks Microsoft 365 Copilot for a person, by the Chat API of Microsoft Graph (beta), whose form is
// that of Microsoft's public reference of 2026; it was tested against stand-ins only. A conversation is made, and the
// last message said in it; what was said before goes along as context. Copilot counts no tokens, calls no tools and
// has no names of models: a deployment may give it any.
package m365

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// conversations is where conversations are made.
const conversations = "/copilot/conversations"

// Members of a request beside those of the dialects of clients: the person's time zone, as IANA names it, and the
// files and the web that count as context.
const (
	memberZone      = "time_zone"
	memberResources = "contextualResources"
)

// defaultZone is the time zone where neither the client nor the deployment's option time_zone says one: the
// service wants to know.
const defaultZone = "UTC"

// Format is the dialect, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format.
func New() Format { return Format{plain.Codec{Reader: read}} }

// Path is where an exchange begins.
func (Format) Path(llm.Place) string { return conversations }

// EncodeRequest writes the message, with the context.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	plain.Drop(q, t, memberZone, memberResources)
	last := len(q.Messages) - 1
	if last < 0 || q.Messages[last].Role != chat.RoleUser {
		return nil, llm.Unsayable("messages", "The last message must be the user's.")
	}
	text, err := plain.Said(&q.Messages[last], t)
	if err != nil {
		return nil, err
	}
	dst := append(llm.AppendString([]byte(`{"message":{"text":`), text), '}')
	dst = append(llm.AppendString(append(llm.AppendKey(dst, "locationHint"), `{"timeZone":`...), zoneOf(q, t)), '}')
	if dst, err = appendContext(dst, q.Messages[:last], t); err != nil {
		return nil, err
	}
	return append(plain.AppendExtra(dst, q, memberResources), '}'), t.Err()
}

// zoneOf is the time zone of the request.
func zoneOf(q *chat.Request, t *llm.Target) string {
	var zone string
	if json.Unmarshal(q.Extra[memberZone], &zone) == nil && zone != "" {
		return zone
	}
	if zone = t.Options[memberZone]; zone != "" {
		return zone
	}
	return defaultZone
}

// appendContext appends what was said before, each with whose it is.
func appendContext(dst []byte, list []chat.Message, t *llm.Target) ([]byte, error) {
	begun := false
	for i := range list {
		text, err := plain.Said(&list[i], t)
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		if !begun {
			dst, begun = append(llm.AppendKey(dst, "additionalContext"), '['), true
		}
		dst = llm.AppendString(append(llm.AppendComma(dst), `{"text":`...), text)
		dst = append(llm.AppendString(llm.AppendKey(dst, "description"), string(list[i].Role)+" message"), '}')
	}
	if begun {
		dst = append(dst, ']')
	}
	return dst, nil
}

var errConversation = errors.New("it is no conversation")

// Open implements provider.Opener: a conversation is made, and what body says is said in it.
func (Format) Open(p llm.Place, body []byte) (*llm.Step, func([]byte) (*llm.Step, error), error) {
	said := false
	return &llm.Step{Body: []byte("{}")}, func(answer []byte) (*llm.Step, error) {
		if said {
			return nil, nil
		}
		said = true
		var made struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(answer, &made); err != nil {
			return nil, plain.Malformed(err)
		}
		if made.ID == "" {
			return nil, plain.Malformed(errConversation)
		}
		path := conversations + "/" + url.PathEscape(made.ID) + "/chat"
		if p.Stream {
			path += "OverStream"
		}
		return &llm.Step{Path: path, Body: body, Stream: p.Stream}, nil
	}, nil
}

// disengaged is the state of a conversation that Microsoft's rules have ended.
const disengaged = "disengagedForRai"

// read reads a conversation: its last message is the answer. In an event it is as far as the answer has come.
func read(data []byte) (*plain.Piece, error) {
	var got struct {
		ID       string `json:"id"`
		State    string `json:"state"`
		Turns    int64  `json:"turnCount"` // 0 until the answer is whole
		Messages []struct {
			Text *string `json:"text"`
		} `json:"messages"`
		Error *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := &plain.Piece{ID: got.ID}
	if got.Error != nil {
		p.Fault = "The provider could not answer: " + got.Error.Message
		return p, nil
	}
	if n := len(got.Messages); n > 0 && got.Messages[n-1].Text != nil {
		p.Some, p.Text = true, *got.Messages[n-1].Text
	}
	switch {
	case got.State == disengaged:
		p.Some, p.Finish = true, chat.FinishFilter
	case got.Turns > 0 && p.Some:
		p.Finish = chat.FinishStop
	}
	return p, nil
}

// growing is an answer of which each event has all that there is so far.
type growing struct {
	said string // that has left
	last string // of the last event
}

// add is what a further event adds. One that says otherwise what has left adds nothing yet.
func (g *growing) add(text string) string {
	if strings.HasPrefix(g.said, text) {
		return ""
	}
	g.last = text
	more, ok := strings.CutPrefix(text, g.said)
	if !ok {
		return ""
	}
	g.said = text
	return more
}

// of is what an event adds, and with the last one the rest.
func (g *growing) of(p *plain.Piece) string {
	text := g.add(p.Text)
	if p.Finish != chat.FinishNone {
		text += g.rest()
	}
	return text
}

// rest is what is left at the end: an answer that was said otherwise in the end is said again, as a whole.
func (g *growing) rest() string {
	if g.last == g.said {
		return ""
	}
	g.said = g.last
	return "\n\n" + g.last
}

// Meter reads a stream.
func (Format) Meter(llm.Endpoint) llm.Meter { return new(meter) }

type meter struct{ text growing }

// Event implements llm.Meter.
func (m *meter) Event(e llm.Event) (llm.Report, error) {
	p, err := read(e.Data)
	if err != nil {
		return llm.Report{}, err
	}
	p.Text = m.text.of(p)
	return p.Report(), nil
}

// NewDecoder reads one stream.
func (Format) NewDecoder() chat.Decoder {
	d := new(decoder)
	d.Read = func(data []byte) (*plain.Piece, error) {
		p, err := read(data)
		if err == nil {
			p.Text = d.text.of(p)
		}
		return p, err
	}
	return d
}

// decoder reads one stream.
type decoder struct {
	plain.Decoder
	text growing
}

// End implements chat.Decoder.
func (d *decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	if rest := d.text.rest(); rest != "" {
		list = append(list, chat.Chunk{Type: chat.ChunkText, Text: rest})
	}
	return d.Decoder.End(list)
}
