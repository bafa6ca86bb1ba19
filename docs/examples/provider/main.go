// Command example-provider is a provider: it answers chat completions by repeating the last message in capital letters,
// and makes embeddings of letters. Where it does so, yours asks your server of models.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// version is what nodes show.
const version = "0.1.0"

// config is what the options and secrets of deployments say, all of them texts; schema.json says the same.
type config struct {
	Greeting string `json:"greeting"`
	APIKey   string `json:"api_key"` // of your server, if deployments or their credential have one
}

// plugin answers concurrently.
type plugin struct{ config }

// Configure is called once, before anything else.
func (p *plugin) Configure(_ context.Context, s sdk.ProviderSettings) (sdk.ProviderDescription, error) {
	if len(s.Config) > 0 {
		d := json.NewDecoder(bytes.NewReader(s.Config))
		d.DisallowUnknownFields()
		if err := d.Decode(&p.config); err != nil {
			return sdk.ProviderDescription{}, fmt.Errorf("read config: %w", err)
		}
	}
	return sdk.ProviderDescription{Version: version, Models: []string{"shout-1"}}, nil
}

// request is the part of OpenAI's requests that is read.
type request struct {
	Messages []struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	} `json:"messages"`
	Input []string `json:"input"`
}

// refused is an error that the client gets. Of others it learns nothing.
func refused(param, message string) error {
	return &sdk.ProviderError{Status: http.StatusBadRequest, Code: "invalid_value", Param: param, Message: message}
}

// words are those of the answer.
func (p *plugin) words(body []byte) ([]string, error) {
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, refused("messages", "The messages are no texts.")
	}
	if len(r.Messages) == 0 {
		return nil, refused("messages", "There is no message.")
	}
	return strings.Fields(p.Greeting + " " + strings.ToUpper(r.Messages[len(r.Messages)-1].Content)), nil
}

// usage is what the gateway charges: every word is a token here.
func usage(words []string) map[string]int {
	return map[string]int{"prompt_tokens": len(words), "completion_tokens": len(words), "total_tokens": 2 * len(words)}
}

// Chat answers a request for a whole answer.
func (p *plugin) Chat(_ context.Context, q *sdk.ProviderRequest) ([]byte, error) {
	words, err := p.words(q.Body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"id": q.ID, "object": "chat.completion", "model": q.Model, "usage": usage(words),
		"choices": []any{map[string]any{
			"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": strings.Join(words, " ")},
		}},
	})
}

// ChatStream answers a request for a stream: a word at a time, then the end, with the usage.
func (p *plugin) ChatStream(_ context.Context, q *sdk.ProviderRequest, send func(chunk []byte) error) error {
	words, err := p.words(q.Body)
	if err != nil {
		return err
	}
	chunk := func(delta map[string]string, more map[string]any) error {
		c := map[string]any{"index": 0, "delta": delta, "finish_reason": more["finish_reason"]}
		text, err := json.Marshal(map[string]any{
			"id": q.ID, "object": "chat.completion.chunk", "model": q.Model, "choices": []any{c}, "usage": more["usage"],
		})
		if err != nil {
			return err
		}
		return send(text) // waits while the client is slow; fails when nobody waits any more
	}
	for i, w := range words {
		if i > 0 {
			w = " " + w
		}
		if err := chunk(map[string]string{"content": w}, nil); err != nil {
			return err
		}
	}
	return chunk(map[string]string{}, map[string]any{"finish_reason": "stop", "usage": usage(words)})
}

// Embed makes one vector of each input: how often it has each letter.
func (p *plugin) Embed(_ context.Context, q *sdk.ProviderRequest) ([]byte, error) {
	var r request
	if err := json.Unmarshal(q.Body, &r); err != nil || len(r.Input) == 0 {
		return nil, refused("input", "The input is no list of texts.")
	}
	data, tokens := []any{}, 0
	for i, text := range r.Input {
		vector := make([]float64, 26)
		for _, letter := range strings.ToLower(text) {
			if letter >= 'a' && letter <= 'z' {
				vector[letter-'a']++
			}
		}
		tokens += len(strings.Fields(text))
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": vector})
	}
	return json.Marshal(map[string]any{
		"object": "list", "model": q.Model, "data": data, "usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens},
	})
}

func main() { sdk.ServeProvider(&plugin{}) }
