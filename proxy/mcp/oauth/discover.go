package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// knownFor is how long what was discovered is taken for true.
const knownFor = 10 * time.Minute

// endpoints are where an authorization server is asked.
type endpoints struct {
	issuer                         string // "": nobody says
	authorize, token, registration string
	methods                        []string // by which clients prove who they are
	scopes                         []string // that the server names
	sendsIssuer                    bool     // with a code, RFC 9207
}

// found are endpoints, and when they were found.
type found struct {
	at endpoints
	on time.Time
}

// find returns the endpoints of a server's authorization server: those that its record names, and
// of the others what the server and its authorization server say (RFC 9728, RFC 8414).
func (c *Client) find(ctx context.Context, s *Server) (endpoints, error) {
	o := s.terms()
	if o.TokenURL != "" && (o.AuthorizationURL != "" || o.FlowOr() != "authorization_code") {
		return endpoints{issuer: o.Issuer, authorize: o.AuthorizationURL, token: o.TokenURL, registration: o.RegistrationURL, scopes: o.Scopes}, nil
	}
	name, now := s.version(), c.cfg.Now()
	c.mu.Lock()
	f, ok := c.known[name]
	c.mu.Unlock()
	if ok && now.Sub(f.on) < knownFor {
		return f.at, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	at, err := c.discover(ctx, s)
	if err != nil {
		return at, fmt.Errorf("find the authorization server of %s: %w", s.Name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[name] = found{at, now}
	return at, nil
}

func (c *Client) discover(ctx context.Context, s *Server) (endpoints, error) {
	o, client := s.terms(), c.client(s)
	at := endpoints{issuer: o.Issuer}
	if at.issuer == "" {
		at.issuer, at.scopes = c.protects(ctx, s, client)
	}
	if err := trusts(s, at.issuer); err != nil {
		return at, err
	}
	meta, err := auth.GetAuthServerMetadata(ctx, at.issuer, client)
	if err != nil {
		return at, err
	}
	if meta == nil { // as the protocol of March 2025 has it
		meta = &oauthex.AuthServerMeta{
			AuthorizationEndpoint: at.issuer + "/authorize", TokenEndpoint: at.issuer + "/token", RegistrationEndpoint: at.issuer + "/register",
		}
	} else if !slices.Contains(meta.CodeChallengeMethodsSupported, "S256") && o.FlowOr() == "authorization_code" {
		return at, errors.New("it does not take S256 for PKCE")
	}
	at.authorize, at.token, at.registration = meta.AuthorizationEndpoint, meta.TokenEndpoint, meta.RegistrationEndpoint
	at.methods, at.sendsIssuer = meta.TokenEndpointAuthMethodsSupported, meta.AuthorizationResponseIssParameterSupported
	for _, f := range []struct {
		to  *string
		say string
	}{{&at.authorize, o.AuthorizationURL}, {&at.token, o.TokenURL}, {&at.registration, o.RegistrationURL}} {
		if f.say != "" {
			*f.to = f.say
		}
	}
	if len(o.Scopes) > 0 {
		at.scopes = o.Scopes
	}
	return at, trusts(s, at.token)
}

// protects asks the server which authorization server protects it; where it does not say, it is its own.
func (c *Client) protects(ctx context.Context, s *Server, client *http.Client) (issuer string, scopes []string) {
	at, err := url.Parse(s.URL)
	if err != nil {
		return "", nil
	}
	origin := at.Scheme + "://" + at.Host
	for _, try := range []struct{ metadata, resource string }{
		{c.hint(ctx, s, client), s.URL},
		{origin + "/.well-known/oauth-protected-resource/" + strings.TrimLeft(at.EscapedPath(), "/"), s.URL},
		{origin + "/.well-known/oauth-protected-resource", s.URL},
		{origin + "/.well-known/oauth-protected-resource", origin},
	} {
		if try.metadata == "" {
			continue
		}
		m, err := oauthex.GetProtectedResourceMetadata(ctx, try.metadata, try.resource, client)
		if err == nil && len(m.AuthorizationServers) > 0 {
			return m.AuthorizationServers[0], m.ScopesSupported
		}
	}
	return origin, nil
}

// hint is where a server that refuses a stranger says that its metadata is, "" for nowhere.
func (c *Client) hint(ctx context.Context, s *Server, client *http.Client) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, http.NoBody)
	if err != nil {
		return ""
	}
	resp, err := client.Do(r)
	if err != nil {
		return ""
	}
	_ = resp.Body.Close() // only its head counts
	all, err := oauthex.ParseWWWAuthenticate(resp.Header["Www-Authenticate"])
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return ""
	}
	for _, challenge := range all {
		if at := challenge.Params["resource_metadata"]; at != "" {
			return at
		}
	}
	return ""
}

// trusts refuses an address at another host than those that the record names: what a server says must
// not make a node send requests, or a client's secret, to whom nobody has chosen.
func trusts(s *Server, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%.200q is no address", address)
	}
	for _, named := range append(s.terms().URLs(), s.URL) {
		if n, err := url.Parse(named); err == nil && strings.EqualFold(n.Host, u.Host) && n.Scheme == u.Scheme {
			return nil
		}
	}
	return fmt.Errorf("the server says that %.200q is asked, which its record does not name: set oauth.issuer, oauth.token_url or oauth.registration_url", address)
}

// client makes requests to the hosts that the record names, and follows no redirects.
func (c *Client) client(s *Server) *http.Client {
	return &http.Client{
		Transport: &guarded{next: c.cfg.HTTP, s: s},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("an authorization server may not redirect")
		},
		Timeout: timeout,
	}
}

// guarded makes only requests that trusts allows.
type guarded struct {
	next http.RoundTripper
	s    *Server
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := trusts(g.s, r.URL.String()); err != nil {
		return nil, err
	}
	return g.next.RoundTrip(r)
}
