package sign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/conclave-llm/conclave/egress"
)

// googleScope is what a token of Google's is for.
const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// The values of the option google_auth: credentials that are more than a key of one's own must be
// asked for.
const (
	authWorkload = "workload_identity" // vertex_credentials is a configuration of workload identity federation
	authMetadata = "metadata"          // the service account of the machine, from its metadata server
)

// googleToken sends a bearer's token that is made of the account's secret vertex_credentials: the
// JSON of a service account, or of a user. The option google_auth admits the other sources. An
// account that has a key alone is one of express mode.
type googleToken struct {
	client *http.Client
	now    func() time.Time
	trusts func(host string) bool // with a token of another issuer's
	tokens *keeper[googleAccess]
}

// googleAccess is a token, and the project that pays for its use, "" for the deployment's own.
type googleAccess struct{ token, quota string }

// googleKey is what an account's tokens are made of.
type googleKey struct{ kind, raw, quota string }

func newGoogleToken(cfg Config) *googleToken {
	return &googleToken{client: cfg.Client, now: cfg.Now, trusts: isGoogle, tokens: newKeeper[googleAccess](cfg.Now)}
}

// isGoogle says whether a host is one of Google's APIs.
func isGoogle(host string) bool {
	return host == "googleapis.com" || strings.HasSuffix(host, ".googleapis.com")
}

// sign implements method.
func (g *googleToken) sign(ctx context.Context, a *Account, r *Request) error {
	if key := a.Key.Reveal(); key != "" && a.Secrets["vertex_credentials"].IsZero() && a.Options["google_auth"] == "" {
		if strings.HasPrefix(key, "ya29.") { // a token that somebody else renews
			r.Header["Authorization"] = []string{"Bearer " + key}
		} else {
			r.Header["X-Goog-Api-Key"] = []string{key}
		}
		return nil
	}
	t, err := g.tokens.get(ctx, a, func(ctx context.Context) (googleAccess, time.Time, error) { return g.fetch(ctx, a) })
	if err != nil {
		return err
	}
	r.Header["Authorization"] = []string{"Bearer " + t.token}
	if t.quota != "" {
		r.Header["X-Goog-User-Project"] = []string{t.quota}
	}
	return nil
}

// credentials are as much of a file of credentials as is checked.
type credentials struct {
	Type             string `json:"type"`
	QuotaProject     string `json:"quota_project_id"`
	TokenURL         string `json:"token_url"`
	ImpersonationURL string `json:"service_account_impersonation_url"`
	TokenInfoURL     string `json:"token_info_url"`
	Source           struct {
		Executable    json.RawMessage `json:"executable"`
		EnvironmentID string          `json:"environment_id"`
	} `json:"credential_source"`
}

// parse checks what tokens are to be made of. Errors do not repeat it.
func (g *googleToken) parse(auth, raw string) (*googleKey, error) {
	if auth == authMetadata {
		return &googleKey{kind: authMetadata}, nil
	}
	if auth != "" && auth != authWorkload {
		return nil, fmt.Errorf("the option google_auth must be %q or %q", authWorkload, authMetadata)
	}
	if raw == "" {
		return nil, errors.New("the deployment has neither vertex_credentials nor api_key")
	}
	var c credentials
	if json.Unmarshal([]byte(raw), &c) != nil {
		return nil, errors.New("vertex_credentials is not the JSON of a service account (it may not be the name of a file)")
	}
	switch google.CredentialsType(c.Type) {
	case google.ServiceAccount, google.AuthorizedUser:
	case google.ExternalAccount:
		if auth != authWorkload {
			return nil, fmt.Errorf("vertex_credentials is of workload identity federation, which needs the option google_auth = %q", authWorkload)
		}
		if err := g.checkExternal(&c); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("vertex_credentials must be of the type service_account, authorized_user or external_account")
	}
	return &googleKey{kind: c.Type, raw: raw, quota: c.QuotaProject}, nil
}

// checkExternal refuses configurations that run programs, or that send the token which proves this
// machine's identity to others than Google.
func (g *googleToken) checkExternal(c *credentials) error {
	if len(c.Source.Executable) > 0 || c.Source.EnvironmentID != "" {
		return errors.New("vertex_credentials may take its token from a file or a URL only")
	}
	for _, address := range []string{c.TokenURL, c.ImpersonationURL, c.TokenInfoURL} {
		u, err := url.Parse(address)
		if err != nil || address != "" && !g.trusts(u.Hostname()) {
			return errors.New("vertex_credentials names an address that is not Google's")
		}
	}
	return nil
}

// fetch asks for a token and says when it ends.
func (g *googleToken) fetch(ctx context.Context, a *Account) (googleAccess, time.Time, error) {
	k, err := g.parse(a.Options["google_auth"], a.Secrets["vertex_credentials"].Reveal())
	if err != nil {
		return googleAccess{}, time.Time{}, err
	}
	t, err := g.ask(ctx, k)
	switch {
	case err != nil:
		return googleAccess{}, time.Time{}, err
	case t.Expiry.IsZero():
		t.Expiry = g.now().Add(time.Hour)
	}
	if t.AccessToken == "" || !t.Expiry.After(g.now()) {
		return googleAccess{}, time.Time{}, errors.New("google's token service sent no token that can be used")
	}
	return googleAccess{t.AccessToken, k.quota}, t.Expiry, nil
}

// ask asks for a token. The request ends with ctx, which the library does not promise.
func (g *googleToken) ask(ctx context.Context, k *googleKey) (*oauth2.Token, error) {
	client := *g.client
	base := client.Transport
	if base == nil {
		base = egress.Direct(nil).Client(0).Transport
	}
	client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) { return base.RoundTrip(r.WithContext(ctx)) })
	if k.kind == authMetadata {
		return g.machine(ctx, &client)
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &client)
	c, err := google.CredentialsFromJSONWithType(ctx, []byte(k.raw), google.CredentialsType(k.kind), googleScope)
	if err != nil {
		return nil, errors.New("vertex_credentials cannot be used: its JSON lacks what its type needs")
	}
	t, err := c.TokenSource.Token()
	if err != nil {
		return nil, tokenError(err)
	}
	return t, nil
}

// roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// machine asks the metadata server of the machine for a token.
func (g *googleToken) machine(ctx context.Context, client *http.Client) (*oauth2.Token, error) {
	text, err := metadata.NewClient(client).GetWithContext(ctx, "instance/service-accounts/default/token")
	if err != nil {
		return nil, errors.New("the machine's metadata server gave no token")
	}
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if json.Unmarshal([]byte(text), &t) != nil {
		return nil, errors.New("the machine's metadata server sent something that is no token")
	}
	return &oauth2.Token{AccessToken: t.AccessToken, Expiry: g.now().Add(time.Duration(t.ExpiresIn) * time.Second)}, nil
}

// tokenError says what went wrong without what the service said, which may repeat the credentials:
// its status and, if it is one of OAuth's words, its code.
func tokenError(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response == nil {
		return errors.New("google's token service could not be reached, or did not take the credentials")
	}
	var said struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(refused.Body, &said) // it may be a page
	if said.Error == "" || len(said.Error) > 40 || strings.Trim(said.Error, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return fmt.Errorf("google answered %d to the request for a token", refused.Response.StatusCode)
	}
	return fmt.Errorf("google answered %d to the request for a token: %s", refused.Response.StatusCode, said.Error)
}
