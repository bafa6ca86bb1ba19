// Package signin is people's sign-ins at providers. A Desk begins them: a person enters a code in a browser, and what
// the provider gives goes into a secret of a credential. A Renewer renews the tokens of those that deployments and
// credentials hold in their secret chatgpt_auth, before they end: a refresh token may be used once, so that the leader
// alone uses it, and puts what it gave in the place of the secret, sealed, in the replicated state, of which all nodes
// take it.
package signin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
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

// Way adds to a context how a provider is reached: as requests with the credential or the deployment reach it.
type Way func(ctx context.Context, provider string, c *resource.Credential, d *resource.Deployment) (context.Context, error)

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
	Way     Way
	Every   time.Duration    // between looks; 0: a minute
	Now     func() time.Time // nil: clock.Now
	Logger  *slog.Logger
}

// Renewer renews tokens. Run may be called once.
type Renewer struct {
	cfg     Config
	refused map[string]refusedToken // by kind and id
	kept    map[string]renewed      // what was given and is not stored yet, likewise
}

// refusedToken is a refresh token that was refused.
type refusedToken struct {
	box   []byte // of the secret that had it
	until time.Time
}

// renewed is a secret that takes another's place.
type renewed struct {
	old  *resource.Sealed
	text secret.Text
}

// owner is a record with a sign-in.
type owner struct {
	kind, id, name string
	options        map[string]string
	credential     *resource.Credential // or a deployment
	deployment     *resource.Deployment
	sealed         *resource.Sealed
}

// New makes a Renewer.
func New(cfg Config) *Renewer {
	if cfg.Every == 0 {
		cfg.Every = defaultEvery
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	return &Renewer{cfg: cfg, refused: map[string]refusedToken{}, kept: map[string]renewed{}}
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
		r.renew(ctx, &owner{"credential", c.ID, c.Name, c.Options, c, nil, c.Secrets[chatgpt.Secret]})
	}
	for _, d := range t.Deployments {
		r.renew(ctx, &owner{"deployment", d.ID, d.Name, d.Options, nil, d, d.Secrets[chatgpt.Secret]})
	}
}

// renew renews one secret, if it is due. One that is no auth.json, such as the name of a secret elsewhere, is
// whoever's keeps it.
func (r *Renewer) renew(ctx context.Context, o *owner) {
	if o.sealed == nil {
		return
	}
	log := r.cfg.Logger.With("kind", o.kind, "id", o.id, "name", o.name)
	key := o.kind + "/" + o.id
	next, ok := r.kept[key]
	if !ok || !bytes.Equal(next.old.Box, o.sealed.Box) {
		delete(r.kept, key)
		text, err := r.cfg.Keys.Open(o.sealed, o.kind, o.id, chatgpt.Secret)
		if err != nil {
			log.Error("a sign-in cannot be opened", "error", err)
			return
		}
		auth, err := chatgpt.ParseAuth(text.Reveal())
		if err != nil || !r.due(key, auth, o.sealed) {
			return
		}
		if next, err = r.again(ctx, o, auth); err != nil {
			if ctx.Err() == nil {
				r.refused[key] = refusedToken{o.sealed.Box, r.cfg.Now().Add(again)}
				log.Error("a sign-in to ChatGPT cannot be renewed", "error", err)
			}
			return
		}
		r.kept[key] = next
	}
	if err := r.store(ctx, o, next); err != nil {
		log.Error("a sign-in to ChatGPT that was renewed is not stored yet", "error", err)
		return
	}
	delete(r.kept, key)
	delete(r.refused, key)
	log.Info("a sign-in to ChatGPT is renewed")
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

// again asks for tokens. Of a refusal the code alone is told: what is said may repeat the token.
func (r *Renewer) again(ctx context.Context, o *owner, a *chatgpt.Auth) (renewed, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, err := r.cfg.Way(ctx, "chatgpt", o.credential, o.deployment)
	if err != nil {
		return renewed{}, err
	}
	status, body, err := postJSON(ctx, r.cfg.Client, chatgpt.TokenURL(o.options), map[string]string{
		"client_id": chatgpt.ClientID, "grant_type": "refresh_token", "refresh_token": a.Refresh, "scope": "openid profile email",
	})
	if err != nil {
		return renewed{}, err
	}
	got, err := openaiTokens(status, body)
	if _, said := errors.AsType[*refusal](err); said {
		return renewed{}, fmt.Errorf("%w: sign in again with conclave provider signin, or give the secret %s anew", err, chatgpt.Secret)
	}
	if err != nil {
		return renewed{}, err
	}
	a.Renew(got, r.cfg.Now())
	text, err := a.Text()
	return renewed{o.sealed, secret.New(text)}, err
}

// store puts the secret in the place of the one before, unless somebody has given another meanwhile.
func (r *Renewer) store(ctx context.Context, o *owner, next renewed) error {
	sealed, err := r.cfg.Keys.Seal(next.text, o.kind, o.id, chatgpt.Secret)
	if err != nil {
		return err
	}
	sealed.Follow(next.old)
	return r.cfg.Propose(ctx, fsm.Reseal{Items: []fsm.Resealed{{Kind: o.kind, ID: o.id, Field: chatgpt.Secret, Old: next.old.Box, Sealed: sealed}}})
}
