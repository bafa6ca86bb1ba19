// Package signin renews the tokens of sign-ins that deployments and credentials hold in their secret
// chatgpt_auth, before they end. A refresh token may be used once: the leader alone uses it, and puts what it
// gave in the place of the secret, sealed, in the replicated state, of which all nodes take it.
package signin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/provider/chatgpt"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	defaultEvery = time.Minute
	before       = 24 * time.Hour // the end of an access token, which is good for some days
	again        = time.Hour      // after a refusal, unless the secret is another
	timeout      = 30 * time.Second
	maxAnswer    = 1 << 20
)

// Keys seals secrets and opens them.
type Keys interface {
	Seal(plaintext secret.Text, kind, id, field string) (*resource.Sealed, error)
	Open(s *resource.Sealed, kind, id, field string) (secret.Text, error)
}

// Config is what New needs. All fields without a default are required.
type Config struct {
	Catalog func() *resource.Catalog
	Keys    Keys
	Propose func(ctx context.Context, cmd fsm.Command) error
	Leads   func() bool // and knows that it does
	Client  *http.Client
	URL     string           // where tokens are renewed; "": OpenAI's
	Every   time.Duration    // between looks; 0: a minute
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger
}

// Renewer renews tokens. Run may be called once.
type Renewer struct {
	cfg     Config
	refused map[string]refusal // by kind and id
	kept    map[string]renewed // what was given and is not stored yet, likewise
}

// refusal is one of a refresh token.
type refusal struct {
	box   []byte // of the secret that had it
	until time.Time
}

// renewed is a secret that takes another's place.
type renewed struct {
	old  []byte
	text secret.Text
}

// New makes a Renewer.
func New(cfg Config) *Renewer {
	if cfg.URL == "" {
		cfg.URL = chatgpt.TokenURL
	}
	if cfg.Every == 0 {
		cfg.Every = defaultEvery
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Renewer{cfg: cfg, refused: map[string]refusal{}, kept: map[string]renewed{}}
}

// Run renews what is due while this node leads, until ctx is over.
func (r *Renewer) Run(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	for {
		if r.cfg.Leads() {
			r.Look(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Look renews what is due now.
func (r *Renewer) Look(ctx context.Context) {
	t := r.cfg.Catalog().Tables()
	for _, c := range t.Credentials {
		r.renew(ctx, "credential", c.ID, c.Name, c.Secrets[chatgpt.Secret])
	}
	for _, d := range t.Deployments {
		r.renew(ctx, "deployment", d.ID, d.Name, d.Secrets[chatgpt.Secret])
	}
}

// renew renews one secret, if it is due. One that is no auth.json, such as the name of a secret elsewhere, is
// whoever's keeps it.
func (r *Renewer) renew(ctx context.Context, kind, id, name string, s *resource.Sealed) {
	if s == nil {
		return
	}
	key := kind + "/" + id
	next, ok := r.kept[key]
	if !ok || !bytes.Equal(next.old, s.Box) {
		delete(r.kept, key)
		text, err := r.cfg.Keys.Open(s, kind, id, chatgpt.Secret)
		if err != nil {
			r.cfg.Logger.Error("a sign-in cannot be opened", "kind", kind, "id", id, "name", name, "error", err)
			return
		}
		auth, err := chatgpt.ParseAuth(text.Reveal())
		if err != nil || !r.due(key, auth, s) {
			return
		}
		if next, err = r.again(ctx, auth, s); err != nil {
			if ctx.Err() == nil {
				r.refused[key] = refusal{s.Box, r.cfg.Now().Add(again)}
				r.cfg.Logger.Error("a sign-in to ChatGPT cannot be renewed", "kind", kind, "id", id, "name", name, "error", err)
			}
			return
		}
		r.kept[key] = next
	}
	if err := r.store(ctx, kind, id, next); err != nil {
		r.cfg.Logger.Error("a sign-in to ChatGPT that was renewed is not stored yet", "kind", kind, "id", id, "name", name, "error", err)
		return
	}
	delete(r.kept, key)
	delete(r.refused, key)
	r.cfg.Logger.Info("a sign-in to ChatGPT is renewed", "kind", kind, "id", id, "name", name)
}

// due says whether the tokens end soon, and may be renewed.
func (r *Renewer) due(key string, a *chatgpt.Auth, s *resource.Sealed) bool {
	now := r.cfg.Now()
	if a.Refresh == "" || a.Access != "" && (a.Expires.IsZero() || a.Expires.After(now.Add(before))) {
		return false
	}
	was, ok := r.refused[key]
	return !ok || !bytes.Equal(was.box, s.Box) || now.After(was.until)
}

// again asks for tokens.
func (r *Renewer) again(ctx context.Context, a *chatgpt.Auth, s *resource.Sealed) (renewed, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{
		"client_id": chatgpt.ClientID, "grant_type": "refresh_token", "refresh_token": a.Refresh, "scope": "openid profile email",
	})
	if err != nil {
		return renewed{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return renewed{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "conclave")
	got, err := r.ask(req)
	if err != nil {
		return renewed{}, err
	}
	a.Renew(got, r.cfg.Now())
	text, err := a.Text()
	return renewed{s.Box, secret.New(text)}, err
}

// ask sends the request. Of a refusal the code alone is told: what is said may repeat the token.
func (r *Renewer) ask(req *http.Request) (t chatgpt.Tokens, err error) {
	res, err := r.cfg.Client.Do(req)
	if err != nil {
		return t, err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return t, err
	}
	var got struct {
		chatgpt.Tokens
		Error json.RawMessage `json:"error"` // a code, or an object with one
	}
	bad := json.Unmarshal(raw, &got)
	if res.StatusCode != http.StatusOK {
		return t, fmt.Errorf("refused with %d %s: sign in again, and give the secret %s anew", res.StatusCode, codeOf(got.Error), chatgpt.Secret)
	}
	if bad != nil || got.Access == "" {
		return t, errors.New("the answer has no access_token")
	}
	return got.Tokens, nil
}

// codeOf is the code of an error: letters, digits and underscores.
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

// store puts the secret in the place of the one before, unless somebody has given another meanwhile.
func (r *Renewer) store(ctx context.Context, kind, id string, next renewed) error {
	sealed, err := r.cfg.Keys.Seal(next.text, kind, id, chatgpt.Secret)
	if err != nil {
		return err
	}
	return r.cfg.Propose(ctx, fsm.Reseal{Items: []fsm.Resealed{{Kind: kind, ID: id, Field: chatgpt.Secret, Old: next.old, Sealed: sealed}}})
}
