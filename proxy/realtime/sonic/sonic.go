// Package sonic holds a session with Amazon's Nova Sonic for one with OpenAI's Realtime API: what a client's events ask
// for is said in Amazon's words, and what Amazon answers comes as events of OpenAI's.
//
//	sonic.go   the session, and how it is configured, once, before its first words
//	client.go  a client's events in Amazon's words
//	server.go  Amazon's events as OpenAI's
//
// The words are those of Nova's user guide of 2026 for its bidirectional API. Nova finds the ends of turns itself. It
// takes a conversation before the first audio, and texts of the user amid it (Nova 2), and answers both aloud.
package sonic

import (
	"context"
	"encoding/json"
	"maps"
	"sync"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// object is a JSON object.
type object = peer.Object

// Conn is a session. One goroutine may read while another writes.
type Conn struct {
	*peer.Conn
	prompt string // the name of the prompt, which stands in every event

	mu      sync.Mutex // guards what follows
	config  object
	begun   bool   // the configuration was sent
	audio   string // the name of the content that holds the user's audio; "": it has not begun
	names   int    // of contents that were begun
	items   []item
	results []result
	turns   peer.Turns
	parts   map[string]part // contents of Nova's that go on
	used    counts          // since the last response
}

// item is a message that waits for response.create, or for audio.
type item struct{ role, text string }

// result is the answer of a function, likewise.
type result struct{ id, output string }

// The audio of both sides: 16 bits, one channel, at OpenAI's rate.
const rate = 24000

// Defaults of what Nova wants said.
const (
	defaultVoice       = "matthew"
	defaultTokens      = 1024
	defaultTopP        = 0.9
	defaultTemperature = 0.7
)

// New makes a session of a connection on which nothing was said. Close must be called.
func New(to peer.Socket, model string) *Conn {
	c := &Conn{prompt: "prompt", parts: map[string]part{}, config: object{
		"type": "realtime", "object": "realtime.session", "model": model, "output_modalities": []any{"audio"},
		"audio": object{"input": object{"turn_detection": object{"type": "server_vad"}}},
	}}
	c.Conn = peer.New(to, c.take)
	c.turns.Conn = c.Conn
	c.Event("session.created", object{"session": c.config})
	return c
}

// Close ends the session, in the order in which Nova wants what is open ended.
func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	var last []object
	if c.begun {
		if c.audio != "" {
			last = append(last, c.named("contentEnd", c.audio, nil))
		}
		last = append(last, object{"promptEnd": object{"promptName": c.prompt}}, object{"sessionEnd": object{}})
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = c.tell(ctx, last...) // Amazon may be gone
	c.Conn.Close(code, reason)
}

// tell writes events.
func (c *Conn) tell(ctx context.Context, events ...object) error {
	for _, e := range events {
		if err := c.Say(ctx, object{"event": e}); err != nil {
			return err
		}
	}
	return nil
}

// Unbooked is what was used after the last response.
func (c *Conn) Unbooked() llm.Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.used
	c.used = counts{}
	if u == (counts{}) {
		return llm.Usage{}
	}
	return llm.Usage{
		Input: u.Input.Text, AudioInput: u.Input.Speech, Output: u.Output.Text, AudioOutput: u.Output.Speech, Source: llm.UsageProvider,
	}
}

// content are the events of a whole content. The lock is held.
func (c *Conn) content(kind, role string, interactive bool, settings object, event, text string) []object {
	name := c.name()
	start := object{"type": kind, "role": role, "interactive": interactive}
	maps.Copy(start, settings)
	return []object{c.named("contentStart", name, start), c.named(event, name, object{"content": text}), c.named("contentEnd", name, nil)}
}

// named is an event of a content.
func (c *Conn) named(event, content string, members object) object {
	if members == nil {
		members = object{}
	}
	members["promptName"], members["contentName"] = c.prompt, content
	return object{event: members}
}

// name makes the name of a content. The lock is held.
func (c *Conn) name() string {
	c.names++
	return c.ID("content")
}

// plain is how a text is configured.
func plain() object { return object{"mediaType": "text/plain"} }

// opening are the events that configure a session. The lock is held.
func (c *Conn) opening() []object {
	inference := object{"maxTokens": defaultTokens, "topP": defaultTopP, "temperature": defaultTemperature}
	if n, ok := c.config["max_output_tokens"].(float64); ok {
		inference["maxTokens"] = n
	}
	if t, ok := c.config["temperature"].(float64); ok {
		inference["temperature"] = t
	}
	voice, _ := peer.At(c.config, "audio", "output", "voice").(string)
	if voice == "" || speech.OpenAIVoice(voice) {
		voice = defaultVoice
	}
	prompt := object{
		"promptName": c.prompt, "textOutputConfiguration": plain(), "toolUseOutputConfiguration": object{"mediaType": "application/json"},
		"audioOutputConfiguration": object{
			"mediaType": "audio/lpcm", "sampleRateHertz": rate, "sampleSizeBits": 16, "channelCount": 1, "voiceId": voice, "encoding": "base64", "audioType": "SPEECH",
		},
	}
	if tools := c.tools(); len(tools) > 0 {
		prompt["toolConfiguration"] = object{"tools": tools}
	}
	list := []object{{"sessionStart": object{"inferenceConfiguration": inference}}, {"promptStart": prompt}}
	if text, _ := c.config["instructions"].(string); text != "" {
		list = append(list, c.content("TEXT", "SYSTEM", false, object{"textInputConfiguration": plain()}, "textInput", text)...)
	}
	return list
}

// tools are the functions that are declared, with their schemas as texts.
func (c *Conn) tools() (list []object) {
	tools, _ := c.config["tools"].([]any)
	for _, v := range tools {
		t, _ := v.(object)
		if t["type"] != "function" {
			continue
		}
		schema := t["parameters"]
		if schema == nil {
			schema = object{"type": "object", "properties": object{}}
		}
		raw, err := json.Marshal(schema)
		if err != nil {
			continue // of what was JSON
		}
		spec := object{"name": t["name"], "inputSchema": object{"json": string(raw)}}
		if t["description"] != nil {
			spec["description"] = t["description"]
		}
		list = append(list, object{"toolSpec": spec})
	}
	return list
}
