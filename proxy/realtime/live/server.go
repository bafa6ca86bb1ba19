package live

import (
	"encoding/json"
	"errors"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// message is one of the provider's.
type message struct {
	Set    *struct{}       `json:"setupComplete"`
	Server *serverContent  `json:"serverContent"`
	Call   *calls          `json:"toolCall"`
	Usage  json.RawMessage `json:"usageMetadata"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// serverContent is what the model says, and what it has heard.
type serverContent struct {
	Turn struct {
		Parts []struct {
			Text    string `json:"text"`
			Thought bool   `json:"thought"`
			Inline  struct {
				Data string `json:"data"`
			} `json:"inlineData"`
		} `json:"parts"`
	} `json:"modelTurn"`
	Complete    bool   `json:"turnComplete"`
	Interrupted bool   `json:"interrupted"`
	Input       spoken `json:"inputTranscription"`
	Output      spoken `json:"outputTranscription"`
}

// spoken is what was said aloud.
type spoken struct {
	Text string `json:"text"`
}

// calls are functions that are to be called.
type calls struct {
	Functions []struct {
		ID   string          `json:"id"`
		Name string          `json:"name"`
		Args json.RawMessage `json:"args"`
	} `json:"functionCalls"`
}

// take makes events of a message. Its error is an *llm.Error of kind Upstream.
func (c *Conn) take(raw []byte) error {
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return peer.Garbled(err)
	}
	if m.Error != nil {
		return &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: "The provider ended the session.", Err: errors.New(m.Error.Message)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Set != nil && !c.ready {
		c.ready = true
		close(c.set)
	}
	had := c.turns.Begun
	if m.Server != nil {
		c.content(m.Server)
	}
	if m.Call != nil {
		for _, f := range m.Call.Functions {
			c.turns.Call(f.ID, f.Name, f.Args)
		}
	}
	if c.turns.Begun != had {
		c.pending.audio = false
	}
	if u, ok := usageOf(m.Usage); ok {
		c.turns.Used(u)
	}
	switch {
	case m.Server != nil && m.Server.Interrupted:
		c.turns.End("cancelled")
	case m.Server != nil && m.Server.Complete, m.Call != nil:
		c.turns.End("completed")
	}
	return nil
}

// content makes events of what the model says and has heard.
func (c *Conn) content(s *serverContent) {
	if s.Input.Text != "" {
		c.turns.Understood(s.Input.Text)
	}
	for _, p := range s.Turn.Parts {
		switch {
		case p.Thought:
		case p.Inline.Data != "":
			c.turns.Sound(p.Inline.Data)
		case p.Text != "":
			c.turns.Say(peer.Text, p.Text)
		}
	}
	if s.Output.Text != "" {
		c.turns.Say(peer.Audio, s.Output.Text)
	}
}

// counts are tokens by what they stand for.
type counts []struct {
	Modality string `json:"modality"`
	Tokens   int64  `json:"tokenCount"`
}

// audio is how many of so many tokens are of sound.
func (list counts) audio(all int64) (n int64) {
	for _, d := range list {
		if d.Modality == "AUDIO" && d.Tokens > 0 && d.Tokens <= all {
			n = d.Tokens
		}
	}
	return n
}

// usageOf is what was used, in OpenAI's words; false: nobody says.
func usageOf(raw []byte) (object, bool) {
	var got struct {
		Prompt   int64  `json:"promptTokenCount"`
		Cached   int64  `json:"cachedContentTokenCount"`
		Response int64  `json:"responseTokenCount"`
		Thoughts int64  `json:"thoughtsTokenCount"`
		Input    counts `json:"promptTokensDetails"`
		Output   counts `json:"responseTokensDetails"`
	}
	if raw == nil || json.Unmarshal(raw, &got) != nil {
		return nil, false
	}
	for _, n := range [...]int64{got.Prompt, got.Response, got.Thoughts} {
		if n < 0 || n > llm.MaxTokenCount {
			return nil, false
		}
	}
	heard, spoken := got.Input.audio(got.Prompt), got.Output.audio(got.Response)
	out := got.Response + got.Thoughts
	return peer.UsageOf(got.Prompt, heard, min(max(got.Cached, 0), got.Prompt), out, spoken), true
}
