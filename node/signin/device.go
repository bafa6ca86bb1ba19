package signin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/secret"
)

// Bounds of what a provider says of a code, and what counts where it says nothing (RFC 8628).
const (
	defaultPause = 5 * time.Second
	mostEvery    = time.Minute
	defaultLife  = 15 * time.Minute
	mostLife     = time.Hour
	slower       = 5 * time.Second
	maxURL       = 2048
	maxUserCode  = 64
	maxSecret    = 8192
)

// What a provider says of a code while it gives no token.
var (
	errPending = errors.New("nobody has entered the code yet")
	errDenied  = errors.New("the person did not allow it")
	errExpired = errors.New("nobody entered the code in time")
)

// tooFast is errPending, from a provider that wants to be asked less often: every so long, 0 for five seconds less often.
type tooFast struct{ every time.Duration }

// Error implements error.
func (*tooFast) Error() string { return "the provider is asked too often" }

// refusal is what a provider says that will not change. Of its words there is the code alone: others may repeat secrets.
type refusal struct {
	status int
	code   string // letters, digits and underscores; "": none
}

// Error implements error.
func (r *refusal) Error() string {
	return strings.TrimRight(fmt.Sprintf("refused with %d %s", r.status, r.code), " ")
}

// malformed is an answer that lacks what it must have.
type malformed string

// Error implements error.
func (m malformed) Error() string { return string(m) }

// device is how a provider gives tokens to somebody who cannot show a page: a person enters a code elsewhere.
type device interface {
	// begin asks for a code.
	begin(ctx context.Context, c *http.Client) (*code, error)
	// poll asks whether the person has entered it, and gives the secret to store then. Errors that are none of this file's
	// are the network's.
	poll(ctx context.Context, c *http.Client, code *code) (secret.Text, error)
}

// code is what a person enters at a page of the provider's.
type code struct {
	url, user string
	device    string // by which the provider knows the code: a secret
	life      time.Duration
	every     time.Duration // between questions
}

// check refuses what cannot be shown to a person, and fills in and bounds the rest.
func (c *code) check() error {
	u, err := url.Parse(c.url)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(c.url) > maxURL || !printable(c.url) {
		return malformed("the answer names no page for the code")
	}
	if c.user == "" || len(c.user) > maxUserCode || !printable(c.user) || c.device == "" || len(c.device) > maxSecret {
		return malformed("the answer has no code")
	}
	if c.every <= 0 {
		c.every = defaultPause
	}
	if c.life <= 0 {
		c.life = defaultLife
	}
	c.every, c.life = min(max(c.every, time.Second), mostEvery), min(c.life, mostLife)
	return nil
}

// printable says that a text does nothing to a terminal.
func printable(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// seconds is a number of seconds, which may stand in a text; 0: what cannot be read.
type seconds time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(raw []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err == nil && v > 0 {
		*s = seconds(min(v, mostLife.Seconds()) * float64(time.Second))
	}
	return nil
}

// post sends a body and reads the answer.
func post(ctx context.Context, c *http.Client, to, contentType string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "conclave")
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, answer, err
}

// postJSON is post of a JSON object of texts.
func postJSON(ctx context.Context, c *http.Client, to string, v map[string]string) (status int, answer []byte, err error) {
	body, err := json.Marshal(v)
	if err != nil {
		return 0, nil, err
	}
	return post(ctx, c, to, "application/json", body)
}

// verdict is the error that an answer stands for which is no success.
func verdict(status int, code string, every time.Duration) error {
	switch code {
	case "authorization_pending", "deviceauth_authorization_pending":
		return errPending
	case "slow_down":
		return &tooFast{every}
	case "access_denied":
		return errDenied
	case "expired_token":
		return errExpired
	}
	switch {
	case status == http.StatusTooManyRequests:
		return &tooFast{}
	case status >= http.StatusInternalServerError:
		return fmt.Errorf("answered with %d", status)
	}
	return &refusal{status, code}
}

// codeOf is the code of an error, which is a text or an object with one: letters, digits and underscores.
func codeOf(raw json.RawMessage) string {
	var object struct {
		Code string `json:"code"`
	}
	var code string
	if json.Unmarshal(raw, &code) != nil && json.Unmarshal(raw, &object) == nil {
		code = object.Code
	}
	for _, c := range code {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return ""
		}
	}
	return code[:min(len(code), 64)]
}
