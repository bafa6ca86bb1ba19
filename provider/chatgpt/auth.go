package chatgpt

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"time"
)

// ClientID is to whom tokens are given, and for whom they are renewed: OpenAI's client. OptionAuth is the option that
// names another service of sign-ins than OpenAI's.
const (
	ClientID   = "app_EMoamEEZ73f0CkXaXp7hrann"
	OptionAuth = "chatgpt_auth_url"
	issuer     = "https://auth.openai.com"
)

// Issuer is the service of sign-ins, without a slash at the end.
func Issuer(options map[string]string) string {
	return strings.TrimRight(cmp.Or(options[OptionAuth], issuer), "/")
}

// TokenURL is where tokens are given and renewed.
func TokenURL(options map[string]string) string { return Issuer(options) + "/oauth/token" }

// Secret is the name of the secret that holds an Auth.
const Secret = "chatgpt_auth" //nolint:gosec // its name

// Tokens are what a sign-in gave.
type Tokens struct {
	ID      string `json:"id_token,omitempty"`
	Access  string `json:"access_token,omitempty"`
	Refresh string `json:"refresh_token,omitempty"`
	Account string `json:"account_id,omitempty"`
}

// Auth is an auth.json: OpenAI's client keeps the tokens under "tokens", and LiteLLM at the top.
type Auth struct {
	Tokens
	Expires time.Time // of the access token; zero: it does not say

	nested bool
	rest   map[string]json.RawMessage
}

var errAuth = errors.New("the secret " + Secret + " is no auth.json of a sign-in to ChatGPT: it has no access_token")

// ParseAuth reads an auth.json. Its error does not repeat it.
func ParseAuth(text string) (*Auth, error) {
	a := &Auth{}
	var in struct {
		Nested *Tokens `json:"tokens"`
		Tokens
	}
	if json.Unmarshal([]byte(text), &in) != nil || json.Unmarshal([]byte(text), &a.rest) != nil {
		return nil, errAuth
	}
	a.Tokens = in.Tokens
	if in.Nested != nil {
		a.nested, a.Tokens = true, *in.Nested
	}
	if a.Access == "" && a.Refresh == "" {
		return nil, errAuth
	}
	a.read()
	return a, nil
}

// SignedIn is the Auth of the tokens that a sign-in gave, in the form of OpenAI's client.
func SignedIn(t Tokens, now time.Time) *Auth {
	a := &Auth{nested: true, rest: map[string]json.RawMessage{}}
	a.Renew(t, now)
	return a
}

// read reads of the tokens until when they are good, and for which account.
func (a *Auth) read() {
	var said struct {
		Expires float64 `json:"exp"`
		Auth    struct {
			Account string `json:"chatgpt_account_id"`
		} `json:"https://api.openai.com/auth"`
	}
	a.Expires = time.Time{}
	if claims(a.Access, &said) && said.Expires > 0 {
		a.Expires = time.Unix(int64(said.Expires), 0)
	}
	if a.Account == "" {
		a.Account = said.Auth.Account
	}
	if a.Account == "" && claims(a.ID, &said) {
		a.Account = said.Auth.Account
	}
}

// claims reads what a JSON Web Token says, which OpenAI signed for itself.
func claims(token string, into any) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	return err == nil && json.Unmarshal(raw, into) == nil
}

// Renew takes tokens in that were given for the refresh token; what they lack stays.
func (a *Auth) Renew(t Tokens, now time.Time) {
	a.Tokens = Tokens{ID: cmp.Or(t.ID, a.ID), Access: cmp.Or(t.Access, a.Access), Refresh: cmp.Or(t.Refresh, a.Refresh), Account: cmp.Or(t.Account, a.Account)}
	a.read()
	if a.rest["last_refresh"] != nil || a.nested {
		a.rest["last_refresh"], _ = json.Marshal(now.UTC().Format(time.RFC3339)) // a text
	}
}

// Text is the auth.json, in the form in which it came.
func (a *Auth) Text() (string, error) {
	out := a.rest
	tokens, err := json.Marshal(&a.Tokens) //nolint:gosec // to be sealed
	if err != nil {
		return "", err
	}
	if a.nested {
		out["tokens"] = tokens
	} else {
		var flat map[string]json.RawMessage
		if err := json.Unmarshal(tokens, &flat); err != nil {
			return "", err
		}
		maps.Copy(out, flat)
		if out["expires_at"] != nil && !a.Expires.IsZero() {
			out["expires_at"], _ = json.Marshal(a.Expires.Unix()) // a number
		}
	}
	raw, err := json.Marshal(out)
	return string(raw), err
}
