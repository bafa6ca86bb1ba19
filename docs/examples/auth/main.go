// Command example-auth is an auth plugin that knows its users by tokens which somebody else signs:
// USER:EXPIRES:SIGNATURE, with Unix seconds and the HMAC-SHA256 of "USER:EXPIRES" in hexadecimal. It may
// demand that keys have names.
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// version is what nodes show.
const version = "0.1.0"

// kept is for how long a node may use an answer again.
const kept = 30 * time.Second

// config is the plugin's own part of an auth plugin's configuration; schema.json says the same.
type config struct {
	Secret      string `json:"secret"`
	RequireName bool   `json:"require_key_name"`
}

// plugin answers concurrently.
type plugin struct {
	secret []byte
}

// Configure is called once, before anything else.
func (p *plugin) Configure(_ context.Context, s sdk.AuthSettings) (sdk.AuthDescription, error) {
	var c config
	d := json.NewDecoder(bytes.NewReader(s.Config))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return sdk.AuthDescription{}, fmt.Errorf("read config: %w", err)
	}
	if len(c.Secret) < 16 {
		return sdk.AuthDescription{}, errors.New("secret: give at least 16 characters")
	}
	p.secret = []byte(c.Secret)
	about := sdk.AuthDescription{Version: version, Hooks: []sdk.AuthHook{sdk.AuthCredential}}
	if c.RequireName {
		about.Hooks = append(about.Hooks, sdk.AuthGenerateKey, sdk.AuthUpdateKey)
	}
	return about, nil
}

// Authenticate leaves what is no token of this form to others, and refuses a token that does not hold.
func (p *plugin) Authenticate(_ context.Context, c *sdk.Credential) (sdk.AuthAnswer, error) {
	parts := strings.Split(c.Secret.Reveal(), ":")
	if len(parts) != 3 {
		return sdk.AuthAnswer{}, nil
	}
	refused := sdk.AuthAnswer{Refusal: &sdk.AuthRefusal{Status: http.StatusUnauthorized, Code: "invalid_token", Message: "The token is not valid."}}
	given, err := hex.DecodeString(parts[2])
	if err != nil || !hmac.Equal(given, p.sign(parts[0]+":"+parts[1])) {
		return refused, nil
	}
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	expires := time.Unix(seconds, 0)
	if err != nil || !time.Now().Before(expires) {
		return refused, nil
	}
	return sdk.AuthAnswer{Identity: &sdk.Identity{UserID: parts[0], ExpiresAt: expires}, CacheFor: kept}, nil
}

func (p *plugin) sign(text string) []byte {
	h := hmac.New(sha256.New, p.secret)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// Key refuses a key without a name. Fill of the verdict would give its fields other values.
func (p *plugin) Key(_ context.Context, d *sdk.KeyDraft) (sdk.KeyVerdict, error) {
	var key struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(d.Key, &key); err != nil {
		return sdk.KeyVerdict{}, fmt.Errorf("read key: %w", err)
	}
	if key.Name == "" {
		return sdk.KeyVerdict{Refused: "Give the key a name."}, nil
	}
	return sdk.KeyVerdict{}, nil
}

func main() { sdk.ServeAuth(&plugin{}) }
