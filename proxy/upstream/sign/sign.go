// Package sign proves to providers who sends a request, where a key in a header is not enough:
// signatures over the request, and tokens that are fetched and renewed.
package sign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/secret"
)

// Account is on whose behalf a deployment is asked. It is made once for each deployment of a
// catalog and never changed.
type Account struct {
	Key     secret.Text
	Options map[string]string      // that are no secrets: "region", "project", "api_version"
	Secrets map[string]secret.Text // "aws_secret_access_key", "vertex_credentials", …

	once  sync.Once
	id    string
	place string
}

// Place tells apart the accounts whose options differ, and with them the addresses at which
// they are asked. It is "" without options.
func (a *Account) Place() string {
	a.describe()
	return a.place
}

// identity is the same for accounts that say the same, and tells nothing of their secrets.
func (a *Account) identity() string {
	a.describe()
	return a.id
}

// describe works out what tells accounts apart, once.
func (a *Account) describe() {
	a.once.Do(func() {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(a.Options)) {
			fmt.Fprintf(&b, "%q=%q\n", name, a.Options[name])
		}
		a.place = b.String()
		h := sha256.New()
		h.Write([]byte(a.place))
		for _, name := range slices.Sorted(maps.Keys(a.Secrets)) {
			fmt.Fprintf(h, "%q:%q\n", name, a.Secrets[name].Reveal())
		}
		fmt.Fprintf(h, "%q", a.Key.Reveal())
		a.id = string(h.Sum(nil))
	})
}

// none is the account of who has none.
var none Account

// Or is the account, or an empty one for nil.
func (a *Account) Or() *Account {
	if a == nil {
		return &none
	}
	return a
}

// Hide takes the account's secrets out of what a provider says: some repeat them in their errors.
func (a *Account) Hide(body []byte) []byte {
	if a == nil {
		return body
	}
	body = hide(body, a.Key.Reveal())
	for _, s := range a.Secrets {
		body = hide(body, s.Reveal())
	}
	return body
}

// shortSecret is the length below which a secret is hidden only as a word of its own: keys that local servers are
// given, such as "x", stand within others' words.
const shortSecret = 8

func hide(body []byte, text string) []byte {
	if text == "" || !bytes.Contains(body, []byte(text)) {
		return body
	}
	var out []byte
	from := 0
	for at := 0; ; {
		i := bytes.Index(body[at:], []byte(text))
		if i < 0 {
			return append(out, body[from:]...)
		}
		start := at + i
		end := start + len(text)
		if at = end; len(text) < shortSecret && within(body, start, end) {
			continue
		}
		out = append(append(out, body[from:start]...), "(hidden)"...)
		from = end
	}
}

// within says whether body[start:end] is part of a longer word.
func within(body []byte, start, end int) bool {
	return start > 0 && letter(body[start-1]) || end < len(body) && letter(body[end])
}

// letter says whether c is a letter or a digit, or a byte of a character beyond ASCII.
func letter(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c >= 0x80
}

// Request is what is signed.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header // to which the signature is added
	Body   []byte
	Digest string // SHA-256 of a body that is not in Body, in hexadecimal; "": Body's
	Signed []byte // set by who signs a body itself: what is sent in its place
}

// A method signs requests in one way. It may be called concurrently.
type method interface {
	// sign adds the proof. It may wait for a token.
	sign(ctx context.Context, a *Account, r *Request) error
}

// Config is what the methods need. Its zero value works.
type Config struct {
	// Client fetches tokens; nil: one that dials directly, with a bound of ten seconds.
	Client *http.Client
	// Now is the clock; nil: clock.Now.
	Now func() time.Time
	// Env is the process's environment, for accounts that may use it; nil: os.Getenv.
	Env func(name string) string
}

// Signer signs requests in every way that the table of providers knows. It is safe for
// concurrent use.
type Signer struct{ methods map[provider.Auth]method }

// New makes a Signer.
func New(cfg Config) *Signer {
	if cfg.Client == nil {
		cfg.Client = egress.Direct(nil).Client(10 * time.Second)
	}
	client := *cfg.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a secret goes nowhere else
	cfg.Client = &client
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Env == nil {
		cfg.Env = os.Getenv
	}
	return &Signer{methods: methods(cfg)}
}

// methods is the table of methods: one line for each.
func methods(cfg Config) map[provider.Auth]method {
	return map[provider.Auth]method{
		provider.SigV4:       newSigV4(cfg),
		provider.GoogleToken: newGoogleToken(cfg),
		provider.EntraToken:  newEntraToken(cfg),

		provider.IBMToken:        newBought(cfg, "ibm", ibm),
		provider.DatabricksToken: newBought(cfg, "databricks", databricks),
		provider.SAPToken:        newBought(cfg, "sap", sap),
		provider.SnowflakeToken:  newSnowflakeToken(cfg),
		provider.OracleSignature: oracle{cfg.Now},
		provider.GigaToken:       newBought(cfg, "gigachat", gigachat),
		provider.GraphToken:      newBought(cfg, "entra", graph),
		provider.SigV4Events:     &sigV4Events{newSigV4(cfg)},
		provider.CopilotToken:    newCopilotToken(cfg),
		provider.ChatGPTToken:    newChatGPTToken(cfg),
		provider.RuntimeSigV4:    runtimeSigV4{newSigV4(cfg)},
	}
}

// Sign adds to the request what the provider wants to see of the account.
func (s *Signer) Sign(ctx context.Context, auth provider.Auth, a *Account, r *Request) error {
	if auth.InHeader() {
		auth.Set(r.Header, a.Key.Reveal())
		return nil
	}
	m, ok := s.methods[auth]
	if !ok {
		return fmt.Errorf("sign request: no method %d", auth)
	}
	return m.sign(ctx, a, r)
}
