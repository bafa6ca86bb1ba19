package signin

import (
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/provider/chatgpt"
)

// Exchange reads one answer as all those that a sign-in may get: what is shown of a code, and what is stored or why
// nothing is.
func Exchange(provider string, status int, body []byte) (shown client.SignIn, text string, err error) {
	read, page := githubCode, "https://h"
	if provider == "chatgpt" {
		read = func(status int, body []byte) (*code, error) { return openaiCode(status, body, page) }
	}
	if c, err := read(status, body); err == nil {
		shown.VerificationURL, shown.UserCode = c.url, c.user
		if c.every < time.Second || c.every > mostEvery || c.life <= 0 || c.life > mostLife {
			panic("the code has no bounds")
		}
	}
	if provider != "chatgpt" {
		got, err := githubToken(status, body)
		return shown, got.Reveal(), err
	}
	if g, err := openaiGrant(status, body); err == nil && (g.Code == "" || g.Verifier == "") {
		panic("a grant of nothing")
	}
	tokens, err := openaiTokens(status, body)
	if err != nil {
		return shown, "", err
	}
	text, err = chatgpt.SignedIn(tokens, time.Now()).Text()
	return shown, text, err
}
