package main

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

// token is a token of the user that holds for so long.
func token(user string, lasts time.Duration) sdk.Credential {
	p := &plugin{secret: []byte("0123456789abcdef")}
	text := fmt.Sprintf("%s:%d", user, time.Now().Add(lasts).Unix())
	return sdk.Credential{Secret: sdk.NewSecret(text + ":" + hex.EncodeToString(p.sign(text)))}
}

// kit says what the plugin should do; the kit does to it what a node will.
func kit() plugintest.AuthCase {
	return plugintest.AuthCase{
		Config:  []byte(`{"secret":"0123456789abcdef","require_key_name":true}`),
		Bad:     [][]byte{[]byte(`{}`), []byte(`{"secret":"short"}`), []byte(`{"secret":7}`), []byte(`{"sekret":"0123456789abcdef"}`)},
		Good:    token("alice", time.Hour),
		Names:   "alice",
		Wrong:   token("alice", -time.Hour),
		Key:     []byte(`{"name":"notebook"}`),
		Refused: []byte(`{"user_id":"alice"}`),
	}
}

func TestPlugin(t *testing.T) {
	plugintest.Auth(t, func() sdk.Auth { return &plugin{} }, kit())
}

func TestProgram(t *testing.T) {
	plugintest.AuthProgram(t, plugintest.Program{Path: plugintest.Build(t, ".")}, kit())
}
