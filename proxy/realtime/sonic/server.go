package sonic

import (
	"encoding/json"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// message is an event of Nova's.
type message struct {
	Event struct {
		Start *part    `json:"contentStart"`
		Text  *content `json:"textOutput"`
		Audio *content `json:"audioOutput"`
		Tool  *content `json:"toolUse"`
		End   *struct {
			ID     string `json:"contentId"`
			Reason string `json:"stopReason"`
		} `json:"contentEnd"`
		Usage *struct {
			Details struct {
				Delta counts `json:"delta"`
			} `json:"details"`
		} `json:"usageEvent"`
		Completion *struct{} `json:"completionEnd"`
	} `json:"event"`
}

// part is a content that begins.
type part struct {
	ID    string `json:"contentId"`
	Kind  string `json:"type"`
	Role  string `json:"role"`
	Extra string `json:"additionalModelFields"` // JSON in a text
}

// speculative says that a text is what Nova is about to say; what it has said comes again after the audio.
func (p *part) speculative() bool { return strings.Contains(p.Extra, "SPECULATIVE") }

// content is a piece of one.
type content struct {
	ID      string `json:"contentId"`
	Content string `json:"content"`
	Name    string `json:"toolName"`
	Use     string `json:"toolUseId"`
}

// counts are tokens since the last count.
type counts struct {
	Input  spoken `json:"input"`
	Output spoken `json:"output"`
}

// spoken are tokens of speech and of text.
type spoken struct {
	Speech int64 `json:"speechTokens"`
	Text   int64 `json:"textTokens"`
}

// add adds a count; one that cannot be is left out.
func (s *spoken) add(n spoken) {
	for _, one := range [...]int64{n.Speech, n.Text} {
		if one < 0 || one > llm.MaxTokenCount {
			return
		}
	}
	s.Speech, s.Text = min(s.Speech+n.Speech, llm.MaxTokenCount/2), min(s.Text+n.Text, llm.MaxTokenCount/2)
}

// The reasons with which contents of Nova's end.
const (
	endTurn     = "END_TURN"
	interrupted = "INTERRUPTED"
	toolUse     = "TOOL_USE"
)

// maxParts bounds the contents that go on at once.
const maxParts = 64

// take makes events of one of Nova's. Its error is an *llm.Error of kind Upstream.
func (c *Conn) take(raw []byte) error {
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return peer.Garbled(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &m.Event
	switch {
	case e.Start != nil:
		if len(c.parts) >= maxParts {
			clear(c.parts)
		}
		c.parts[e.Start.ID] = *e.Start
	case e.Text != nil:
		c.text(e.Text)
	case e.Audio != nil && e.Audio.Content != "":
		c.turns.Sound(e.Audio.Content)
	case e.Tool != nil:
		args := json.RawMessage(e.Tool.Content)
		if !json.Valid(args) {
			args = nil
		}
		c.turns.Call(e.Tool.Use, e.Tool.Name, args)
	case e.End != nil:
		c.ended(e.End.ID, e.End.Reason)
	case e.Usage != nil:
		c.used.Input.add(e.Usage.Details.Delta.Input)
		c.used.Output.add(e.Usage.Details.Delta.Output)
	case e.Completion != nil:
		c.end("completed")
	}
	return nil
}

// text is what the user was heard to say, or what the model is about to say.
func (c *Conn) text(t *content) {
	p := c.parts[t.ID]
	switch {
	case p.Role == "USER":
		if t.Content != "" && peer.At(c.config, "audio", "input", "transcription") != nil {
			c.turns.Understood(t.Content)
		}
	case stopped(t.Content):
		c.end("cancelled")
	case p.Role == "ASSISTANT" && p.speculative() && t.Content != "":
		c.turns.Say(peer.Audio, t.Content)
	}
}

// stopped says whether a text is none, but says that the user spoke into the answer.
func stopped(text string) bool {
	var said struct {
		Interrupted bool `json:"interrupted"`
	}
	return strings.HasPrefix(strings.TrimSpace(text), "{") && json.Unmarshal([]byte(text), &said) == nil && said.Interrupted
}

// ended is the end of a content, and with it perhaps of a response.
func (c *Conn) ended(id, reason string) {
	p := c.parts[id]
	delete(c.parts, id)
	switch {
	case reason == interrupted:
		c.end("cancelled")
	case reason == toolUse, reason == endTurn && p.Kind == "AUDIO":
		c.end("completed")
	}
}

// end ends the response with all that was used since the one before.
func (c *Conn) end(status string) {
	if !c.turns.Open() {
		return
	}
	if u := c.used; u != (counts{}) {
		c.used = counts{}
		c.turns.Used(peer.UsageOf(u.Input.Text+u.Input.Speech, u.Input.Speech, 0, u.Output.Text+u.Output.Speech, u.Output.Speech))
	}
	c.turns.End(status)
}
