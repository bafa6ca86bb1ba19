package mcp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/resource"
)

// errTooLarge is why an answer is not read further.
var errTooLarge = fmt.Errorf("the answer is over %d MiB", MaxAnswer>>20)

// errToken is a server's refusal of a token that an authorization server gave.
var errToken = errors.New("the server refuses the token")

// connect makes a session of the server.
func (l *link) connect(ctx context.Context, forwarded http.Header) (*sdk.ClientSession, error) {
	client := sdk.NewClient(&sdk.Implementation{Name: "conclave", Version: l.all.cfg.Version}, &sdk.ClientOptions{
		Capabilities:             &sdk.ClientCapabilities{}, // we answer no question of a server
		ToolListChangedHandler:   func(context.Context, *sdk.ToolListChangedRequest) { l.forget(listTools) },
		PromptListChangedHandler: func(context.Context, *sdk.PromptListChangedRequest) { l.forget(listPrompts) },
		ResourceListChangedHandler: func(context.Context, *sdk.ResourceListChangedRequest) {
			l.forget(listResources)
			l.forget(listTemplates)
		},
		MultiRoundTrip: &sdk.MultiRoundTripOptions{Disabled: true},
	})
	t, err := l.transport(ctx, forwarded)
	if err != nil {
		return nil, err
	}
	s, err := client.Connect(ctx, t, nil)
	if err != nil {
		if p, ok := t.(*process); ok {
			p.kill()
		}
		return nil, fmt.Errorf("connect to MCP server: %w", err)
	}
	return s, nil
}

// client makes requests to the server's own origin alone, with the headers.
func (l *link) client(at *url.URL, h http.Header) *http.Client {
	t := &roundTripper{next: l.all.transport, origin: at.Scheme + "://" + at.Host, headers: h}
	if l.server.AuthKind() == resource.MCPAuthOAuth {
		if !granted(l.server) {
			t.token = l.ownToken
		}
		t.refused = func() {
			if at, err := l.oauthServer(); err == nil {
				l.all.oauth.Drop(at)
			}
		}
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("an MCP server may not redirect") },
	}
}

// transport is how the server is reached.
func (l *link) transport(ctx context.Context, forwarded http.Header) (sdk.Transport, error) {
	if l.server.Transport == resource.MCPTransportStdio {
		return l.newProcess()
	}
	h, err := l.headers(forwarded)
	if err != nil {
		return nil, err
	}
	if l.server.Transport == resource.MCPTransportOpenAPI {
		return l.newAPI(ctx, h)
	}
	at, err := url.Parse(l.server.URL)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	client := l.client(at, h)
	if l.server.Transport == resource.MCPTransportSSE {
		return &sdk.SSEClientTransport{Endpoint: l.server.URL, HTTPClient: client, MaxEventSize: MaxAnswer}, nil
	}
	return &sdk.StreamableClientTransport{
		Endpoint: l.server.URL, HTTPClient: client, MaxRetries: -1, DisableStandaloneSSE: true, MaxEventSize: MaxAnswer,
	}, nil
}

// headers are what every request to the server carries.
func (l *link) headers(forwarded http.Header) (http.Header, error) {
	h := http.Header{}
	for name, v := range l.server.Headers {
		h.Set(name, v)
	}
	for name := range l.server.Secrets {
		if header, ok := strings.CutPrefix(name, resource.MCPSecretHeader); ok {
			v, err := l.secret(name)
			if err != nil {
				return nil, err
			}
			h.Set(header, v)
		}
	}
	if err := l.authorize(h); err != nil {
		return nil, err
	}
	maps.Copy(h, forwarded)
	return h, nil
}

// authorize sets the header that proves who we are.
func (l *link) authorize(h http.Header) error {
	kind := l.server.AuthKind()
	if kind == resource.MCPAuthNone || kind == resource.MCPAuthOAuth { // whose tokens end: each request has its own
		return nil
	}
	token, err := l.token()
	if err != nil {
		return err
	}
	switch kind {
	case resource.MCPAuthBearer:
		h.Set("Authorization", "Bearer "+token)
	case resource.MCPAuthBasic:
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(token)))
	case resource.MCPAuthRaw:
		h.Set("Authorization", token)
	case resource.MCPAuthKey:
		name := l.server.AuthHeader
		if name == "" {
			name = "X-API-Key"
		}
		h.Set(name, token)
	default:
		return fmt.Errorf("auth %q is not known", kind)
	}
	return nil
}

// token is the server's own secret, else its credential's key.
func (l *link) token() (string, error) {
	if l.server.Secrets[resource.MCPSecretAuth] != nil {
		return l.secret(resource.MCPSecretAuth)
	}
	if l.credential == nil || l.credential.APIKey == nil {
		return "", errors.New("there is no token: neither the secret auth nor a credential with a key")
	}
	text, err := l.all.cfg.Secrets.Open(l.credential.APIKey, "credential", l.credential.ID, "api_key")
	if err != nil {
		return "", fmt.Errorf("open key of credential %s: %w", l.credential.ID, err)
	}
	return text.Reveal(), nil
}

// ownToken is the gateway's own, which an authorization server gives.
func (l *link) ownToken(ctx context.Context) (string, error) {
	at, err := l.oauthServer()
	if err != nil {
		return "", err
	}
	t, err := l.all.oauth.Own(ctx, at)
	return t.Reveal(), err
}

// secret opens one of the server's secrets.
func (l *link) secret(name string) (string, error) {
	text, err := l.all.cfg.Secrets.Open(l.server.Secrets[name], "mcp_server", l.server.ID, name)
	if err != nil {
		return "", fmt.Errorf("open secret %s: %w", name, err)
	}
	return text.Reveal(), nil
}

// roundTripper adds the server's headers to requests to its own origin, and makes no others: an
// answer must not send our secrets elsewhere. Of whole answers it reads MaxAnswer bytes.
type roundTripper struct {
	next    http.RoundTripper
	origin  string
	headers http.Header
	token   func(context.Context) (string, error) // of a bearer, for each request; nil: it is among the headers, or there is none
	refused func()                                // is told that the token was refused; nil: nobody wants to know
}

// RoundTrip implements http.RoundTripper.
func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if origin := r.URL.Scheme + "://" + r.URL.Host; origin != t.origin {
		return nil, fmt.Errorf("the server names %s, which is not where it is", origin)
	}
	r = r.Clone(r.Context())
	maps.Copy(r.Header, t.headers)
	if t.token != nil {
		token, err := t.token(r.Context())
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized && t.refused != nil {
		t.refused()
		_ = resp.Body.Close() // its text is of no use
		return nil, errToken
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		resp.Body = &bounded{ReadCloser: resp.Body, left: MaxAnswer}
	}
	return resp, nil
}

// bounded is a body that ends with an error when it is too large.
type bounded struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// forwarded are the headers of the client that the server wants: each as X-Mcp-SERVER-NAME,
// which is for this server alone, or by its own name. What holds the caller's key never leaves.
func (c *caller) forwarded(s *resource.MCPServer) http.Header {
	var out http.Header
	for _, name := range s.ForwardHeaders {
		for _, from := range []string{"x-mcp-" + s.Prefix() + "-" + name, name} {
			v := c.header.Get(from)
			if v == "" || c.secret != "" && strings.Contains(v, c.secret) {
				continue
			}
			if out == nil {
				out = http.Header{}
			}
			out.Set(name, v)
			break
		}
	}
	return out
}
