package signin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/provider/chatgpt"
	"github.com/conclave-llm/conclave/secret"
)

// openai is OpenAI's sign-in with a device's code, as its client for Codex does it: once a person has entered the code
// there is a grant, which is exchanged for tokens.
type openai struct {
	options map[string]string
	grant   *grant // that is not exchanged yet
}

// grant is what a person has allowed.
type grant struct {
	Code     string `json:"authorization_code"`
	Verifier string `json:"code_verifier"`
}

// begin implements device.
func (o *openai) begin(ctx context.Context, c *http.Client) (*code, error) {
	issuer := chatgpt.Issuer(o.options)
	status, body, err := postJSON(ctx, c, issuer+"/api/accounts/deviceauth/usercode", map[string]string{"client_id": chatgpt.ClientID})
	if err != nil {
		return nil, err
	}
	return openaiCode(status, body, issuer)
}

// poll implements device.
func (o *openai) poll(ctx context.Context, c *http.Client, code *code) (secret.Text, error) {
	if o.grant == nil {
		status, body, err := postJSON(ctx, c, chatgpt.Issuer(o.options)+"/api/accounts/deviceauth/token", map[string]string{
			"device_auth_id": code.device, "user_code": code.user,
		})
		if err != nil {
			return secret.Text{}, err
		}
		if o.grant, err = openaiGrant(status, body); err != nil {
			return secret.Text{}, err
		}
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {o.grant.Code}, "redirect_uri": {chatgpt.Issuer(o.options) + "/deviceauth/callback"},
		"client_id": {chatgpt.ClientID}, "code_verifier": {o.grant.Verifier},
	}
	status, body, err := post(ctx, c, chatgpt.TokenURL(o.options), "application/x-www-form-urlencoded", []byte(form.Encode()))
	if err != nil {
		return secret.Text{}, err
	}
	if status >= http.StatusInternalServerError {
		return secret.Text{}, verdict(status, "", 0)
	}
	tokens, err := openaiTokens(status, body)
	if err != nil {
		return secret.Text{}, err
	}
	if tokens.Refresh == "" {
		return secret.Text{}, malformed("the answer has no refresh_token")
	}
	text, err := chatgpt.SignedIn(tokens, clock.Now()).Text()
	return secret.New(text), err
}

// openaiCode reads the answer to begin.
func openaiCode(status int, body []byte, issuer string) (*code, error) {
	var got struct {
		Device  string          `json:"device_auth_id"`
		User    string          `json:"user_code"`
		Other   string          `json:"usercode"` // as older answers call it
		Every   seconds         `json:"interval"`
		Expires seconds         `json:"expires_in"`
		Error   json.RawMessage `json:"error"`
	}
	bad := json.Unmarshal(body, &got)
	if status != http.StatusOK {
		return nil, &refusal{status, codeOf(got.Error)}
	}
	if bad != nil {
		return nil, malformed("the answer is no JSON")
	}
	c := &code{url: issuer + "/codex/device", user: got.User, device: got.Device, every: time.Duration(got.Every), life: time.Duration(got.Expires)}
	if c.user == "" {
		c.user = got.Other
	}
	return c, c.check()
}

// openaiGrant reads the answer to the question whether the code was entered: it was not if the answer is 403 or 404
// without another reason.
func openaiGrant(status int, body []byte) (*grant, error) {
	var got struct {
		grant
		Error json.RawMessage `json:"error"`
	}
	bad := json.Unmarshal(body, &got)
	if status == http.StatusOK {
		if bad != nil || got.Code == "" || got.Verifier == "" {
			return nil, malformed("the answer has no authorization_code")
		}
		return &got.grant, nil
	}
	err := verdict(status, codeOf(got.Error), 0)
	if _, other := errors.AsType[*refusal](err); other && (status == http.StatusForbidden || status == http.StatusNotFound) {
		return nil, errPending
	}
	return nil, err
}

// openaiTokens reads the tokens that were given.
func openaiTokens(status int, body []byte) (chatgpt.Tokens, error) {
	var got struct {
		chatgpt.Tokens
		Error json.RawMessage `json:"error"` // a code, or an object with one
	}
	bad := json.Unmarshal(body, &got)
	if status != http.StatusOK {
		return chatgpt.Tokens{}, &refusal{status, codeOf(got.Error)}
	}
	if bad != nil || got.Access == "" {
		return chatgpt.Tokens{}, malformed("the answer has no access_token")
	}
	return got.Tokens, nil
}
