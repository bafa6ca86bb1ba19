// Command idp is an auth plugin of its time: its configuration is the one credential that it knows.
package main

import (
	"context"
	"encoding/json"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

type idp struct{ token string }

func (p *idp) Configure(_ context.Context, s sdk.AuthSettings) (sdk.AuthDescription, error) {
	return sdk.AuthDescription{Version: "1.9.0", Hooks: []sdk.AuthHook{sdk.AuthCredential}}, json.Unmarshal(s.Config, &p.token)
}

func (p *idp) Authenticate(_ context.Context, c *sdk.Credential) (sdk.AuthAnswer, error) {
	if c.Secret.Reveal() != p.token {
		return sdk.AuthAnswer{Refusal: &sdk.AuthRefusal{Status: 401, Code: "unknown_token"}}, nil
	}
	return sdk.AuthAnswer{Identity: &sdk.Identity{UserID: "alice"}}, nil
}

func main() { sdk.ServeAuth(&idp{}) }
