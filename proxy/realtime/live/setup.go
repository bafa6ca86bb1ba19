package live

import (
	"context"

	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// update takes a configuration in; once the provider has been told one, there is no other.
func (c *Conn) update(e *clientEvent) {
	if c.begun {
		c.Refuse(e.ID, "session_begun", "The model's provider takes the configuration of a session before its first words alone: send session.update first.")
		return
	}
	for _, way := range [][]string{{"audio", "input", "format"}, {"audio", "output", "format"}} {
		if kind, _ := peer.At(e.Session, append(way, "type")...).(string); kind != "" && kind != "audio/pcm" {
			c.Refuse(e.ID, "unsupported_value", "The model's provider hears and speaks audio/pcm alone.")
			return
		}
	}
	peer.Merge(c.config, e.Session)
	c.Event("session.updated", object{"session": c.config})
}

// begin sends the setup, and waits until the provider has taken it.
func (c *Conn) begin(ctx context.Context) error {
	c.mu.Lock()
	begun := c.begun
	c.begun = true
	setup := c.setup()
	c.mu.Unlock()
	if !begun {
		if err := c.Say(ctx, object{"setup": setup}); err != nil {
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

// setup is the configuration in Google's words.
func (c *Conn) setup() object {
	generation := object{"responseModalities": []string{"AUDIO"}}
	if c.textAlone() {
		generation["responseModalities"] = []string{"TEXT"}
	}
	if voice, _ := peer.At(c.config, "audio", "output", "voice").(string); voice != "" && !speech.OpenAIVoice(voice) {
		generation["speechConfig"] = object{"voiceConfig": object{"prebuiltVoiceConfig": object{"voiceName": voice}}}
	}
	if t, ok := c.config["temperature"].(float64); ok {
		generation["temperature"] = t
	}
	if n, ok := c.config["max_output_tokens"].(float64); ok {
		generation["maxOutputTokens"] = n
	}
	out := object{"model": c.model, "generationConfig": generation}
	if text, _ := c.config["instructions"].(string); text != "" {
		out["systemInstruction"] = object{"parts": []object{{"text": text}}}
	}
	if declared := c.functions(); len(declared) > 0 {
		out["tools"] = []object{{"functionDeclarations": declared}}
	}
	if !c.textAlone() {
		out["outputAudioTranscription"] = object{}
	}
	if peer.At(c.config, "audio", "input", "transcription") != nil {
		out["inputAudioTranscription"] = object{}
	}
	if found := c.detection(); len(found) > 0 {
		out["realtimeInputConfig"] = object{"automaticActivityDetection": found}
	}
	return out
}

func (c *Conn) textAlone() bool {
	list, _ := c.config["output_modalities"].([]any)
	return len(list) > 0 && list[0] == "text"
}

// functions are the tools that are functions.
func (c *Conn) functions() (declared []object) {
	tools, _ := c.config["tools"].([]any)
	for _, v := range tools {
		if t, _ := v.(object); t["type"] == "function" {
			one := object{"name": t["name"]}
			if t["description"] != nil {
				one["description"] = t["description"]
			}
			if t["parameters"] != nil {
				one["parametersJsonSchema"] = t["parameters"]
			}
			declared = append(declared, one)
		}
	}
	return declared
}

// manual says that the client tells when the user has finished.
func (c *Conn) manual() bool {
	input, _ := peer.At(c.config, "audio", "input").(object)
	turns, said := input["turn_detection"]
	return said && turns == nil
}

// detection is how the ends of what is said are found.
func (c *Conn) detection() object {
	if c.manual() {
		return object{"disabled": true}
	}
	out := object{}
	for from, to := range map[string]string{"silence_duration_ms": "silenceDurationMs", "prefix_padding_ms": "prefixPaddingMs"} {
		if n, ok := peer.At(c.config, "audio", "input", "turn_detection", from).(float64); ok {
			out[to] = n
		}
	}
	return out
}
