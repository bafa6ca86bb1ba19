package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/provider/chatgpt"
	"github.com/conclave-llm/conclave/provider/copilot"
)

// copilotToken sends a token of Copilot's, which is good for half an hour or so and is given for the key: a
// person's token of GitHub, as a sign-in with a device's code gives it (gho_… or ghu_…).
type copilotToken struct {
	client *http.Client
	now    func() time.Time
	tokens *keeper[string]
}

func newCopilotToken(cfg Config) *copilotToken {
	return &copilotToken{client: cfg.Client, now: cfg.Now, tokens: newKeeper[string](cfg.Now)}
}

// The members of a body that say that a model is to look at pictures.
var pictures = [...][]byte{[]byte(`"image_url"`), []byte(`"input_image"`)}

// sign implements method.
func (c *copilotToken) sign(ctx context.Context, a *Account, r *Request) error {
	if a.Key.IsZero() {
		return errors.New("the deployment has no api_key, which is a token of GitHub's")
	}
	token, err := c.tokens.get(ctx, a, func(ctx context.Context) (string, time.Time, error) { return c.exchange(ctx, a) })
	if err != nil {
		return err
	}
	r.Header["Authorization"] = []string{"Bearer " + token}
	for _, mark := range pictures {
		if bytes.Contains(r.Body, mark) {
			r.Header["Copilot-Vision-Request"] = []string{"true"}
		}
	}
	return nil
}

// exchange asks for a token. What GitHub says about a refusal is left out but for its status.
func (c *copilotToken) exchange(ctx context.Context, a *Account) (string, time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, copilot.API(a.Options)+"/copilot_internal/v2/token", http.NoBody)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("ask github for a token: %w", err)
	}
	for name, v := range copilot.Header {
		req.Header.Set(name, v)
	}
	req.Header.Set("Authorization", "token "+a.Key.Reveal())
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "conclave")
	asked := c.now()
	status, body, err := do(c.client, req)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("ask github for a token: %w", err)
	}
	var got struct {
		Token   string `json:"token"`
		Expires int64  `json:"expires_at"` // seconds since 1970
		Renew   int64  `json:"refresh_in"` // seconds
	}
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK || got.Token == "" {
		return "", time.Time{}, fmt.Errorf("github refused a token of Copilot: %d; api_key must be the token of a person with Copilot, of a sign-in with a device's code", status)
	}
	until := time.Unix(got.Expires, 0)
	if got.Renew > 0 { // by GitHub's clock, which need not be ours
		until = asked.Add(time.Duration(got.Renew)*time.Second + renewBefore)
	}
	return got.Token, until, nil
}

// chatgptToken sends the access token of the secret chatgpt_auth, an auth.json, and the account that it is for.
// The leader renews it in the secret before it ends.
type chatgptToken struct{ tokens *keeper[*chatgpt.Auth] }

func newChatGPTToken(cfg Config) *chatgptToken {
	return &chatgptToken{newKeeper[*chatgpt.Auth](cfg.Now)}
}

// unsaid is how long an access token is taken for good that does not say until when it is.
const unsaid = time.Hour

// sign implements method.
func (c *chatgptToken) sign(ctx context.Context, a *Account, r *Request) error {
	auth, err := c.tokens.get(ctx, a, func(context.Context) (*chatgpt.Auth, time.Time, error) {
		auth, err := chatgpt.ParseAuth(a.Secrets[chatgpt.Secret].Reveal())
		if err != nil {
			return nil, time.Time{}, err
		}
		if auth.Expires.IsZero() {
			return auth, c.tokens.now().Add(unsaid), nil
		}
		if auth.Access == "" || !auth.Expires.After(c.tokens.now()) {
			return nil, time.Time{}, errors.New("the access token of " + chatgpt.Secret + " has ended, and was not renewed: the leader's log says why")
		}
		return auth, auth.Expires, nil
	})
	if err != nil {
		return err
	}
	r.Header["Authorization"] = []string{"Bearer " + auth.Access}
	if auth.Account != "" {
		r.Header["Chatgpt-Account-Id"] = []string{auth.Account}
	}
	return nil
}
