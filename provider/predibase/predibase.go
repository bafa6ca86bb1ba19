// Package predibase reads and writes the conversations of Predibase, which are OpenAI's, at a path of
// each deployment; the body's model is an adapter of it.
package predibase

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
)

// split takes the adapter off a model's name, "" if it has none: "qwen3-8b:adapter-repo/1".
func split(model string) (deployment, adapter string) {
	deployment, adapter, _ = strings.Cut(model, ":")
	return deployment, adapter
}

// Codec is Predibase's format.
type Codec struct{ openai.Codec }

// Path is that of the deployment.
func (Codec) Path(p llm.Place) string {
	deployment, _ := split(p.Model)
	return "/" + url.PathEscape(deployment) + "/v1/chat/completions"
}

// Chat is the dialect of conversations.
type Chat struct{ openai.Chat }

// EncodeRequest writes a request for the provider.
func (c Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	said, err := c.Chat.EncodeRequest(q, t)
	if err != nil {
		return nil, err
	}
	_, adapter := split(t.Model)
	rest := bytes.TrimPrefix(said, llm.AppendString([]byte(`{"model":`), t.Model))
	return append(llm.AppendString([]byte(`{"model":`), adapter), rest...), nil
}
