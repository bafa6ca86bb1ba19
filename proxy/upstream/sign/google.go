package sign

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/jwt"
)

// googleScope is what a token of Google's is for.
const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// maxTokens bounds the accounts whose tokens are kept; a catalog has fewer.
const maxTokens = 1024

// googleToken sends a bearer's token that is made of the account's service account, the secret
// vertex_credentials: the JSON file that Google gives out. Tokens are kept until shortly before
// they expire, and one request at a time fetches a new one.
type googleToken struct {
	client *http.Client

	mu      sync.Mutex // guards sources
	sources map[*Account]oauth2.TokenSource
}

func newGoogleToken(client *http.Client) *googleToken {
	return &googleToken{client: client, sources: map[*Account]oauth2.TokenSource{}}
}

// sign implements method.
func (g *googleToken) sign(ctx context.Context, a *Account, r *Request) error {
	if a.Secrets["vertex_credentials"].IsZero() && !a.Key.IsZero() { // express mode has keys
		r.Header["X-Goog-Api-Key"] = []string{a.Key.Reveal()}
		return nil
	}
	source, err := g.source(a)
	if err != nil {
		return err
	}
	token, err := fetch(ctx, source)
	if err != nil {
		return err
	}
	r.Header["Authorization"] = []string{"Bearer " + token.AccessToken}
	return nil
}

// source is where the account's tokens come from.
func (g *googleToken) source(a *Account) (oauth2.TokenSource, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.sources[a]; ok {
		return s, nil
	}
	raw := a.Secrets["vertex_credentials"].Reveal()
	if raw == "" {
		return nil, errors.New("the deployment has neither vertex_credentials nor api_key")
	}
	cfg, err := google.JWTConfigFromJSON([]byte(raw), googleScope)
	if err != nil {
		return nil, errors.New("vertex_credentials is not the JSON of a service account")
	}
	if len(g.sources) >= maxTokens {
		clear(g.sources)
	}
	s := oauth2.ReuseTokenSourceWithExpiry(nil, fresh{cfg, g.client}, 2*time.Minute)
	g.sources[a] = s
	return s, nil
}

// fresh fetches a token each time. It does not end with the request that happens to need it:
// others wait for the same one.
type fresh struct {
	cfg    *jwt.Config
	client *http.Client
}

// Token implements oauth2.TokenSource.
func (f fresh) Token() (*oauth2.Token, error) {
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, f.client)
	t, err := f.cfg.TokenSource(ctx).Token()
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response != nil { // its body may repeat the assertion
			return nil, fmt.Errorf("google answered %d to the request for a token", refused.Response.StatusCode)
		}
		return nil, errors.New("google's token service could not be reached")
	}
	return t, nil
}

// fetch waits for a token, but not longer than the request lives.
func fetch(ctx context.Context, s oauth2.TokenSource) (*oauth2.Token, error) {
	type result struct {
		token *oauth2.Token
		err   error
	}
	got := make(chan result, 1)
	go func() {
		t, err := s.Token()
		got <- result{t, err}
	}()
	select {
	case r := <-got:
		return r.token, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
