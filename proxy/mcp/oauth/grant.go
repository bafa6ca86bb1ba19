package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// Begin begins a person's permission, who comes with a ticket and is sent back to redirect: the
// address at which his browser asks him, and the cookie by which the same browser is known again.
func (c *Client) Begin(ctx context.Context, s *Server, ticket, redirect string) (address, cookie string, err error) {
	n, err := c.read(ticket, isTicket)
	if err != nil || n.Server != s.ID {
		return "", "", errNote
	}
	at, err := c.find(ctx, s)
	if err != nil {
		return "", "", err
	}
	me, err := c.identity(ctx, s, at, redirect)
	if err != nil {
		return "", "", err
	}
	u, err := url.Parse(at.authorize)
	if err != nil || u.Host == "" || u.Scheme != "https" && !resource.IsLoopbackHost(u.Hostname()) {
		return "", "", fmt.Errorf("the authorization server has no page that can be visited: %.200q", at.authorize)
	}
	n.What, n.Verifier, n.Cookie, n.Redirect = isState, random(), random(), redirect
	n.Until = resource.At(c.cfg.Now().Add(stateLasts))
	state, err := c.write(n)
	if err != nil {
		return "", "", err
	}
	sum := sha256.Sum256([]byte(n.Verifier))
	q := u.Query()
	for name, v := range map[string]string{
		"response_type": "code", "client_id": me.ID, "redirect_uri": redirect, "state": state, "resource": s.URL,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256", "scope": strings.Join(at.scopes, " "),
	} {
		if v != "" {
			q.Set(name, v)
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), n.Cookie, nil
}

// Returned is what a browser brings back.
type Returned struct {
	State, Code, Issuer, Error, Cookie string
}

// Server is the id of the server for which a browser comes back.
func (c *Client) Server(r Returned) (string, error) {
	n, err := c.read(r.State, isState)
	return n.Server, err
}

// End ends a person's permission: the code that his browser brings becomes his tokens. It must be the
// browser that began.
func (c *Client) End(ctx context.Context, s *Server, r Returned) error {
	n, err := c.read(r.State, isState)
	if err != nil || n.Server != s.ID || subtle.ConstantTimeCompare([]byte(n.Cookie), []byte(r.Cookie)) != 1 {
		return errNote
	}
	if r.Error != "" || r.Code == "" {
		return &Refused{Code: clip(r.Error)}
	}
	at, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	if (r.Issuer != "" || at.sendsIssuer) && r.Issuer != at.issuer {
		return errors.New("the code is another authorization server's")
	}
	me, err := c.identity(ctx, s, at, n.Redirect)
	if err != nil {
		return err
	}
	t, err := c.ask(ctx, s, at, me, form{"grant_type": "authorization_code", "code": r.Code, "redirect_uri": n.Redirect, "code_verifier": n.Verifier})
	if err != nil {
		return err
	}
	_, err = c.save(ctx, resource.MCPTokenID(s.ID, n.Holder), t, 0, true)
	return err
}

// random is a text that nobody guesses.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
