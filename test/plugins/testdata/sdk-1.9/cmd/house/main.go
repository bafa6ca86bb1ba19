// Command house is a provider of its time: its configuration names what it says.
package main

import (
	"context"
	"encoding/json"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

type house struct {
	Says string `json:"says"`
}

func (h *house) Configure(_ context.Context, s sdk.ProviderSettings) (sdk.ProviderDescription, error) {
	return sdk.ProviderDescription{Version: "1.9.0", Models: []string{"m"}}, json.Unmarshal(s.Config, h)
}

func (h *house) Chat(_ context.Context, q *sdk.ProviderRequest) ([]byte, error) {
	return json.Marshal(map[string]any{
		"id": q.ID, "object": "chat.completion", "model": q.Model, "choices": []any{map[string]any{
			"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": h.Says},
		}},
	})
}

func main() { sdk.ServeProvider(&house{}) }
