// Command source is a secret source of its time: its configuration is the one secret that it has.
package main

import (
	"context"
	"encoding/json"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

type source struct{ value string }

func (s *source) Configure(_ context.Context, set sdk.SecretSourceSettings) (sdk.SecretSourceDescription, error) {
	return sdk.SecretSourceDescription{Version: "1.9.0"}, json.Unmarshal(set.Config, &s.value)
}

func (s *source) Read(_ context.Context, at sdk.SecretAddress) (sdk.SecretValue, error) {
	if at.Path != "it" {
		return sdk.SecretValue{}, &sdk.SecretError{Reason: sdk.SecretNotFound, Text: "there is no " + at.Path}
	}
	return sdk.SecretValue{Text: sdk.NewSecret(s.value), Version: "1"}, nil
}

func main() { sdk.ServeSecretSource(&source{}) }
