package oauth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

const (
	maxAnswer  = 1 << 20 // bytes of an authorization server's
	longest    = 10 * 365 * 24 * time.Hour
	maxRefusal = 200 // bytes of what it says that is said again
)

// form is a request for tokens.
type form map[string]string

// Refused is an authorization server's refusal.
type Refused struct{ Code, Description string }

// Error implements error.
func (e *Refused) Error() string {
	return fmt.Sprintf("the authorization server refuses: %s %s", e.Code, e.Description)
}

// ask asks for tokens, for the server alone (RFC 8707).
func (c *Client) ask(ctx context.Context, s *Server, at endpoints, me identity, in form) (tokens, error) {
	body := url.Values{"resource": {s.URL}}
	for name, v := range in {
		if v != "" {
			body.Set(name, v)
		}
	}
	by := method(at.methods, me.Secret != "")
	if by != byHeader {
		body.Set("client_id", me.ID)
	}
	if by == byForm {
		body.Set("client_secret", me.Secret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at.token, strings.NewReader(body.Encode()))
	if err != nil {
		return tokens{}, fmt.Errorf("ask for tokens: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if by == byHeader {
		r.SetBasicAuth(url.QueryEscape(me.ID), url.QueryEscape(me.Secret))
	}
	resp, err := c.client(s).Do(r)
	if err != nil {
		return tokens{}, fmt.Errorf("ask for tokens: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is of no use
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return tokens{}, fmt.Errorf("ask for tokens: %w", err)
	}
	t, err := readTokens(resp.StatusCode, b, c.cfg.Now())
	t.URL = s.URL
	return t, err
}

// readTokens reads the answer to a request for tokens.
func readTokens(status int, b []byte, now time.Time) (tokens, error) {
	var out struct {
		Access      string      `json:"access_token"`
		Type        string      `json:"token_type"`
		ExpiresIn   json.Number `json:"expires_in"`
		Refresh     string      `json:"refresh_token"`
		Scope       string      `json:"scope"`
		Error       string      `json:"error"`
		Description string      `json:"error_description"`
	}
	err := json.Unmarshal(b, &out)
	switch {
	case err == nil && out.Error != "":
		return tokens{}, &Refused{clip(out.Error), clip(out.Description)}
	case status != http.StatusOK:
		return tokens{}, fmt.Errorf("ask for tokens: status %d", status)
	case err != nil || out.Access == "" || strings.ContainsAny(out.Access, " \r\n\t"):
		return tokens{}, fmt.Errorf("ask for tokens: the answer has no access token that can be sent")
	case !strings.EqualFold(out.Type, "bearer"):
		return tokens{}, fmt.Errorf("ask for tokens: the type %.40q is not bearer", out.Type)
	}
	t := tokens{Access: out.Access, Refresh: out.Refresh, Scope: out.Scope}
	if s, err := out.ExpiresIn.Float64(); err == nil && s > 0 {
		t.ExpiresAt = resource.At(now.Add(time.Duration(min(s, longest.Seconds()) * float64(time.Second))))
	}
	return t, nil
}

func clip(s string) string {
	if len(s) > maxRefusal {
		s = s[:maxRefusal]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
