package listen

import (
	"context"
	"encoding/base64"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// The rates of audio, in Hz, where a session says none: those of OpenAI's formats.
const (
	defaultRate = 24000
	narrowRate  = 8000
)

// clientEvent is an event of a client's.
type clientEvent struct {
	Type    string      `json:"type"`
	ID      string      `json:"event_id"`
	Session peer.Object `json:"session"`
	Audio   string      `json:"audio"`
}

// Write takes an event of the client's. Its error ends the session.
func (c *Conn) Write(ctx context.Context, message []byte) error {
	var e clientEvent
	if err := json.Unmarshal(message, &e); err != nil {
		c.Refuse("", "invalid_event", "The event could not be read.")
		return nil
	}
	switch e.Type {
	case "session.update", "transcription_session.update":
		c.update(&e)
	case "input_audio_buffer.append":
		return c.hear(ctx, &e)
	case "input_audio_buffer.commit":
		return c.end(ctx, &e)
	case "input_audio_buffer.clear":
		// what was heard is heard
	default:
		c.Refuse(e.ID, "unsupported_event", "The model transcribes, and has nothing for the event "+e.Type+".")
	}
	return nil
}

// old are the members of a session in the form before today's, and where they stand in today's.
var old = map[string]string{"input_audio_transcription": "transcription", "turn_detection": "turn_detection", "input_audio_noise_reduction": "noise_reduction"}

// oldFormats are the names of formats in that form.
var oldFormats = map[string]string{"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}

// update takes a configuration in; once audio was sent, there is no other.
func (c *Conn) update(e *clientEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun {
		c.Refuse(e.ID, "session_begun", "The model's provider takes the configuration of a session before its first audio alone: send session.update first.")
		return
	}
	input := peer.Object{}
	for name, to := range old {
		if v, ok := e.Session[name]; ok {
			input[to] = v
			delete(e.Session, name)
		}
	}
	if f, ok := e.Session["input_audio_format"].(string); ok {
		input["format"] = peer.Object{"type": oldFormats[f]}
		delete(e.Session, "input_audio_format")
	}
	next := peer.Object{}
	peer.Merge(next, c.config)
	peer.Merge(next, e.Session)
	if len(input) > 0 {
		peer.Merge(next, peer.Object{"audio": peer.Object{"input": input}})
	}
	if _, err := c.words.Setup(setupOf(next)); err != nil {
		c.Refuse(e.ID, "unsupported_value", err.Error())
		return
	}
	next["type"] = "transcription"
	c.config = next
	c.Event("session.updated", peer.Object{"session": c.config})
}

// setupOf reads a configuration.
func setupOf(config peer.Object) *Setup {
	input, _ := peer.At(config, "audio", "input").(peer.Object)
	s := &Setup{Rate: defaultRate, Manual: input["turn_detection"] == nil}
	s.Format, _ = peer.At(input, "format", "type").(string)
	s.Language, _ = peer.At(input, "transcription", "language").(string)
	s.Prompt, _ = peer.At(input, "transcription", "prompt").(string)
	if s.Format == "audio/pcmu" || s.Format == "audio/pcma" {
		s.Rate = narrowRate
	} else if rate, ok := peer.At(input, "format", "rate").(float64); ok {
		s.Rate = int(rate)
	}
	return s
}

// hear sends audio.
func (c *Conn) hear(ctx context.Context, e *clientEvent) error {
	audio, err := base64.StdEncoding.DecodeString(e.Audio)
	if err != nil || len(audio) == 0 {
		c.Refuse(e.ID, "invalid_value", "The audio must be in base64, and some.")
		return nil
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	return c.Send(ctx, audio)
}

// begin sends the setup, and waits until audio may follow.
func (c *Conn) begin(ctx context.Context) error {
	c.mu.Lock()
	begun := c.begun
	c.begun = true
	setup, err := c.words.Setup(setupOf(c.config))
	if !c.words.Acknowledged() {
		c.begins()
	}
	c.mu.Unlock()
	if err != nil { // the configuration was looked at before
		return &llm.Error{Kind: llm.Internal, Message: "A session could not be configured.", Err: err}
	}
	if !begun {
		if err := c.Say(ctx, setup); err != nil {
			return err
		}
	}
	select {
	case <-c.set:
		return nil
	case <-c.Over():
		return context.Canceled
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end ends a turn.
func (c *Conn) end(ctx context.Context, e *clientEvent) error {
	c.mu.Lock()
	if !c.begun {
		c.mu.Unlock()
		c.Refuse(e.ID, "input_audio_buffer_commit_empty", "There is no audio to commit.")
		return nil
	}
	message := c.words.Commit()
	if message == nil {
		c.mu.Unlock()
		c.Refuse(e.ID, "unsupported_event", "The model's provider finds the ends of turns itself. Configure the session with turn_detection null to end it.")
		return nil
	}
	t, err := c.turn(c.now)
	if err == nil {
		t.ordered = true
		c.commit(t)
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.Say(ctx, message)
}
