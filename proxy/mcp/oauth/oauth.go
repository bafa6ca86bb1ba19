// Package oauth gets the tokens with which the gateway acts at MCP servers that ask for OAuth 2.1.
//
//	oauth.go      tokens: those that are kept, refreshed before they end
//	discover.go   where a server's authorization server is, and which addresses may be asked
//	client.go     who the gateway is there: as its record says, or registered on the spot
//	grant.go      a person's permission, by way of his browser
//	request.go    the requests for tokens
//	sealed.go     tickets and states: what leaves the cluster and comes back unread
//
// Tokens of people are kept in the replicated state, sealed, one for each person and server; any
// node uses and refreshes them. The gateway's own (client credentials) are each node's, in memory.
package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	early   = time.Minute      // before its end a token is refreshed
	timeout = 15 * time.Second // of a request to an authorization server
	kind    = "mcp_token"      // of what is sealed
	field   = "token"
)

// ErrNeeded says that a person must allow the gateway to act for him first.
var ErrNeeded = errors.New("the person has not allowed it")

// Store keeps tokens in the replicated state.
type Store interface {
	// Token returns a token and its version; ok is false where there is none in the cluster.
	Token(ctx context.Context, id string) (t *resource.MCPToken, version uint64, ok bool, err error)
	// Newest is Token of a node that has caught up with the leader.
	Newest(ctx context.Context, id string) (t *resource.MCPToken, version uint64, ok bool, err error)
	// Put stores a token, in the place of the version read or, with 0 and replace, of any. It
	// returns the version that is stored then, and resource.ErrConflict where another is.
	Put(ctx context.Context, t *resource.MCPToken, read uint64, replace bool) (version uint64, err error)
	// Delete forgets a token.
	Delete(ctx context.Context, id string) error
}

// Sealer seals secrets, and opens what it sealed.
type Sealer interface {
	Seal(plaintext secret.Text, kind, id, field string) (*resource.Sealed, error)
	Open(s *resource.Sealed, kind, id, field string) (secret.Text, error)
}

// Config is what a Client is made of. All fields are required.
type Config struct {
	HTTP   http.RoundTripper // all requests go through it
	Store  Store
	Sealer Sealer
	Now    func() time.Time
	Logger *slog.Logger
}

// Client gets tokens. It is safe for concurrent use.
type Client struct {
	cfg Config

	mu      sync.Mutex // guards what follows
	flights map[string]*sync.Mutex
	own     map[string]tokens // of the gateway, by server and version
	known   map[string]found  // likewise
}

// New makes a Client.
func New(cfg Config) *Client {
	return &Client{cfg: cfg, flights: map[string]*sync.Mutex{}, own: map[string]tokens{}, known: map[string]found{}}
}

// Server is a server's record, and the secret of its client; "" for none.
type Server struct {
	*resource.MCPServer
	Secret secret.Text
}

// terms are those of the record, never nil.
func (s *Server) terms() *resource.MCPOAuth {
	if s.OAuth == nil {
		return &resource.MCPOAuth{}
	}
	return s.OAuth
}

// version names the record as it is.
func (s *Server) version() string { return fmt.Sprintf("%s@%d", s.ID, s.Version) }

// tokens are what an authorization server gave, and to whom.
type tokens struct {
	Access    string        `json:"access"`
	Refresh   string        `json:"refresh,omitempty"`
	ExpiresAt resource.Time `json:"expires_at,omitempty"` // 0: it does not say
	Scope     string        `json:"scope,omitempty"`
	Claim     resource.Time `json:"claim,omitempty"` // until when a node refreshes them
	URL       string        `json:"url,omitempty"`   // of the server; at another the tokens are of no use, and stay here
}

func (t *tokens) fresh(now time.Time) bool {
	return t.Access != "" && (t.ExpiresAt == 0 || t.ExpiresAt > resource.At(now.Add(early)))
}

// Token returns the access token of a holder. It returns ErrNeeded if there is none that can be used.
func (c *Client) Token(ctx context.Context, s *Server, holder string) (secret.Text, error) {
	id := resource.MCPTokenID(s.ID, holder)
	t, _, err := c.load(ctx, id)
	if err != nil {
		return secret.Text{}, err
	}
	if t.URL != s.URL {
		return secret.Text{}, ErrNeeded
	}
	if t.fresh(c.cfg.Now()) {
		return secret.New(t.Access), nil
	}
	flight := c.flight(id)
	flight.Lock()
	defer flight.Unlock()
	return c.refresh(ctx, s, id)
}

// flight makes one of those wait that want the same.
func (c *Client) flight(id string) *sync.Mutex {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[id] == nil {
		c.flights[id] = new(sync.Mutex)
	}
	return c.flights[id]
}

// refresh gets another access token, unless somebody has by now. A refresh token may be used once, by
// whoever has written a claim into the record; the other nodes wait for what comes of it.
func (c *Client) refresh(ctx context.Context, s *Server, id string) (secret.Text, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	for {
		t, version, err := c.newest(ctx, id)
		if err != nil || t.fresh(c.cfg.Now()) {
			return secret.New(t.Access), err
		}
		if t.Refresh == "" {
			return secret.Text{}, ErrNeeded
		}
		now := c.cfg.Now()
		if t.Claim > resource.At(now) {
			if err := pause(ctx); err != nil {
				return secret.Text{}, err
			}
			continue
		}
		t.Claim = resource.At(now.Add(2 * timeout))
		version, err = c.save(ctx, id, t, version, false)
		if errors.Is(err, resource.ErrConflict) {
			continue // another was first
		}
		if err != nil {
			return secret.Text{}, err
		}
		return c.claimed(ctx, s, id, t, version)
	}
}

// pause waits a moment for another node.
func pause(ctx context.Context) error {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// claimed is refresh of tokens that no other node refreshes.
func (c *Client) claimed(ctx context.Context, s *Server, id string, t tokens, version uint64) (secret.Text, error) {
	next, err := c.again(ctx, s, t.Refresh)
	var refused *Refused
	switch {
	case errors.Is(err, ErrNeeded) || errors.As(err, &refused) && refused.Code == "invalid_grant":
		err, next = ErrNeeded, t
		next.Refresh = "" // it is of no use any more
	case err != nil:
		next = t
	case next.Refresh == "":
		next.Refresh = t.Refresh
	}
	if next.Scope == "" {
		next.Scope = t.Scope
	}
	next.Claim = 0
	if _, kept := c.save(context.WithoutCancel(ctx), id, next, version, false); kept != nil && !errors.Is(kept, resource.ErrConflict) {
		// The token works all the same; the next refresh would use what is used up.
		c.cfg.Logger.Warn("a token of an MCP server is not stored", "server", s.Name, "error", kept)
	}
	if err != nil {
		return secret.Text{}, err
	}
	return secret.New(next.Access), nil
}

// again asks with a refresh token.
func (c *Client) again(ctx context.Context, s *Server, refresh string) (tokens, error) {
	at, err := c.find(ctx, s)
	if err != nil {
		return tokens{}, err
	}
	me, err := c.identity(ctx, s, at, "")
	if err != nil {
		return tokens{}, err
	}
	return c.ask(ctx, s, at, me, form{"grant_type": "refresh_token", "refresh_token": refresh})
}

// Own returns the gateway's own access token, by its client's credentials.
func (c *Client) Own(ctx context.Context, s *Server) (secret.Text, error) {
	name := s.version()
	flight := c.flight(name)
	flight.Lock()
	defer flight.Unlock()
	c.mu.Lock()
	t := c.own[name]
	c.mu.Unlock()
	if t.fresh(c.cfg.Now()) {
		return secret.New(t.Access), nil
	}
	if s.terms().ClientID == "" {
		return secret.Text{}, errors.New("the flow client_credentials needs oauth.client_id and the secret client_secret")
	}
	at, err := c.find(ctx, s)
	if err != nil {
		return secret.Text{}, err
	}
	me := identity{ID: s.terms().ClientID, Secret: s.Secret.Reveal()}
	t, err = c.ask(ctx, s, at, me, form{"grant_type": "client_credentials", "scope": strings.Join(s.terms().Scopes, " ")})
	if err != nil {
		return secret.Text{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own[name] = t
	return secret.New(t.Access), nil
}

// Drop forgets the gateway's own token, which the server has refused.
func (c *Client) Drop(s *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.own, s.version())
}

// Status says whether a holder has allowed the gateway to act for him, until when the access token
// lasts, and what it may.
func (c *Client) Status(ctx context.Context, s *Server, holder string) (allowed bool, until resource.Time, scope string, err error) {
	t, _, err := c.load(ctx, resource.MCPTokenID(s.ID, holder))
	if errors.Is(err, ErrNeeded) || err == nil && t.URL != s.URL {
		return false, 0, "", nil
	}
	return err == nil && (t.Refresh != "" || t.fresh(c.cfg.Now())), t.ExpiresAt, t.Scope, err
}

// Forget forgets a holder's tokens.
func (c *Client) Forget(ctx context.Context, s *Server, holder string) error {
	return c.cfg.Store.Delete(ctx, resource.MCPTokenID(s.ID, holder))
}

// load reads tokens as this node knows them; ErrNeeded for none.
func (c *Client) load(ctx context.Context, id string) (t tokens, version uint64, err error) {
	return c.lookUp(ctx, id, c.cfg.Store.Token)
}

// newest reads tokens as the cluster knows them.
func (c *Client) newest(ctx context.Context, id string) (t tokens, version uint64, err error) {
	return c.lookUp(ctx, id, c.cfg.Store.Newest)
}

func (c *Client) lookUp(ctx context.Context, id string, look func(context.Context, string) (*resource.MCPToken, uint64, bool, error)) (t tokens, version uint64, err error) {
	rec, version, ok, err := look(ctx, id)
	if err != nil {
		return t, 0, fmt.Errorf("look up token: %w", err)
	}
	if !ok {
		return t, 0, ErrNeeded
	}
	text, err := c.cfg.Sealer.Open(rec.Secret, kind, id, field)
	if err != nil {
		return t, 0, err
	}
	if err := json.Unmarshal([]byte(text.Reveal()), &t); err != nil {
		return t, 0, errors.New("a stored token cannot be read")
	}
	return t, version, nil
}

func (c *Client) save(ctx context.Context, id string, t tokens, read uint64, replace bool) (uint64, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return 0, fmt.Errorf("encode token: %w", err)
	}
	sealed, err := c.cfg.Sealer.Seal(secret.New(string(b)), kind, id, field)
	if err != nil {
		return 0, err
	}
	return c.cfg.Store.Put(ctx, &resource.MCPToken{
		ID: id, Secret: sealed, ExpiresAt: t.ExpiresAt, Scopes: t.Scope, UpdatedAt: resource.At(c.cfg.Now()),
	}, read, replace)
}
