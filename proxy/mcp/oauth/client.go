package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// identity is who the gateway is at an authorization server.
type identity struct {
	ID       string `json:"id"`
	Secret   string `json:"secret,omitempty"`
	Redirect string `json:"redirect,omitempty"` // for which it was registered
	Issuer   string `json:"issuer,omitempty"`   // where
}

// identity returns the client of the server's record, or that which was registered. For a person's
// permission, which is sent back to redirect, it registers one if there is none.
func (c *Client) identity(ctx context.Context, s *Server, at endpoints, redirect string) (identity, error) {
	if o := s.terms(); o.ClientID != "" {
		return identity{ID: o.ClientID, Secret: s.Secret.Reveal()}, nil
	}
	id := resource.MCPTokenID(s.ID, resource.MCPClient)
	rec, _, ok, err := c.cfg.Store.Token(ctx, id)
	if err != nil {
		return identity{}, fmt.Errorf("look up client: %w", err)
	}
	if ok {
		var me identity
		text, err := c.cfg.Sealer.Open(rec.Secret, kind, id, field)
		if err != nil {
			return me, err
		}
		if json.Unmarshal([]byte(text.Reveal()), &me) == nil && me.Issuer == at.issuer && (redirect == "" || me.Redirect == redirect) {
			return me, nil
		}
	}
	if redirect == "" {
		return identity{}, ErrNeeded // what was granted was granted to another client
	}
	return c.register(ctx, s, at, id, redirect)
}

// register makes the gateway known (RFC 7591), and keeps who it then is.
func (c *Client) register(ctx context.Context, s *Server, at endpoints, id, redirect string) (identity, error) {
	if at.registration == "" {
		return identity{}, errors.New("the authorization server registers nobody: set oauth.client_id")
	}
	in := &oauthex.ClientRegistrationMetadata{
		RedirectURIs: []string{redirect}, TokenEndpointAuthMethod: method(at.methods, true), ClientName: "Conclave",
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"}, Scope: strings.Join(at.scopes, " "),
	}
	out, err := oauthex.RegisterClient(ctx, at.registration, in, c.client(s))
	if err != nil {
		return identity{}, fmt.Errorf("register at the authorization server: %w", err)
	}
	me := identity{ID: out.ClientID, Secret: out.ClientSecret, Redirect: redirect, Issuer: at.issuer}
	if me.ID == "" {
		return me, errors.New("register at the authorization server: it gives no client_id")
	}
	b, err := json.Marshal(me) //nolint:gosec // it is sealed below
	if err != nil {
		return me, fmt.Errorf("encode client: %w", err)
	}
	sealed, err := c.cfg.Sealer.Seal(secret.New(string(b)), kind, id, field)
	if err != nil {
		return me, err
	}
	if _, err := c.cfg.Store.Put(ctx, &resource.MCPToken{ID: id, Secret: sealed, UpdatedAt: resource.At(c.cfg.Now())}, 0, true); err != nil {
		return me, fmt.Errorf("keep client: %w", err)
	}
	return me, nil
}

// The ways in which a client proves who it is.
const (
	byHeader = "client_secret_basic" // what is meant where nobody says
	byForm   = "client_secret_post"
	byNone   = "none"
)

// method chooses one of those that an authorization server takes, secret says that there is one.
func method(supported []string, secret bool) string {
	switch {
	case !secret:
		return byNone
	case len(supported) == 0 || slices.Contains(supported, byHeader):
		return byHeader
	case slices.Contains(supported, byForm):
		return byForm
	}
	return byNone
}
