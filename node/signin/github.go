package signin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/provider/copilot"
	"github.com/conclave-llm/conclave/secret"
)

// github is GitHub's sign-in with a device's code, to an editor's application. The token has no end of its own.
type github struct{ login string }

// begin implements device.
func (g github) begin(ctx context.Context, c *http.Client) (*code, error) {
	status, body, err := postJSON(ctx, c, g.login+"/login/device/code", map[string]string{"client_id": copilot.ClientID, "scope": "read:user"})
	if err != nil {
		return nil, err
	}
	return githubCode(status, body)
}

// poll implements device.
func (g github) poll(ctx context.Context, c *http.Client, code *code) (secret.Text, error) {
	status, body, err := postJSON(ctx, c, g.login+"/login/oauth/access_token", map[string]string{
		"client_id": copilot.ClientID, "device_code": code.device, "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
	})
	if err != nil {
		return secret.Text{}, err
	}
	return githubToken(status, body)
}

// githubCode reads the answer to begin.
func githubCode(status int, body []byte) (*code, error) {
	var got struct {
		Device  string          `json:"device_code"`
		User    string          `json:"user_code"`
		URL     string          `json:"verification_uri"`
		Expires seconds         `json:"expires_in"`
		Every   seconds         `json:"interval"`
		Error   json.RawMessage `json:"error"`
	}
	bad := json.Unmarshal(body, &got)
	if status != http.StatusOK || len(got.Error) > 0 {
		return nil, &refusal{status, codeOf(got.Error)}
	}
	if bad != nil {
		return nil, malformed("the answer is no JSON")
	}
	c := &code{url: got.URL, user: got.User, device: got.Device, life: time.Duration(got.Expires), every: time.Duration(got.Every)}
	return c, c.check()
}

// githubToken reads the answer to poll. GitHub answers with 200 whatever it has to say.
func githubToken(status int, body []byte) (secret.Text, error) {
	var got struct {
		Token string          `json:"access_token"`
		Every seconds         `json:"interval"`
		Error json.RawMessage `json:"error"`
	}
	bad := json.Unmarshal(body, &got)
	if status != http.StatusOK || len(got.Error) > 0 {
		return secret.Text{}, verdict(status, codeOf(got.Error), time.Duration(got.Every))
	}
	if bad != nil || got.Token == "" || len(got.Token) > maxSecret || !printable(got.Token) {
		return secret.Text{}, malformed("the answer has no access_token")
	}
	return secret.New(got.Token), nil
}
