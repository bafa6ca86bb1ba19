package vaultkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// The ways to log in.
const (
	authToken      = "token"
	authAppRole    = "approle"
	authKubernetes = "kubernetes"
	authCert       = "cert"
)

// podAccount is the file that Kubernetes gives a pod for its account.
const podAccount = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// needed are the fields that each way to log in needs.
var needed = map[string][]struct {
	field string
	of    func(*Config) string
}{
	authToken:      {{"token", func(c *Config) string { return c.Token }}},
	authAppRole:    {{"role_id", func(c *Config) string { return c.RoleID }}},
	authKubernetes: {{"role", func(c *Config) string { return c.Role }}},
	authCert:       {{"client_cert", func(c *Config) string { return c.Cert }}, {"client_key", func(c *Config) string { return c.Key }}},
}

// session is a token of Vault's, renewed as long as Vault lets it.
type session struct {
	client *api.Client
	watch  *api.LifetimeWatcher // nil: the token does not expire, or cannot be renewed
	over   chan struct{}        // closed when the token is not renewed any more; nil: never
}

func (s *session) ended() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// session is the one that there is, or a new one. failed is one whose token was refused.
func (v *Vault) session(ctx context.Context, failed *session) (*session, error) {
	v.mu.Lock()
	defer v.mu.Unlock() // who comes meanwhile waits for the same login
	if v.now != nil && v.now != failed && !v.now.ended() {
		return v.now, nil
	}
	s, err := v.login(ctx)
	if err != nil {
		return nil, err
	}
	if v.now != nil && v.now.watch != nil {
		v.now.watch.Stop()
	}
	v.now = s
	return s, nil
}

// login asks for a token, or takes the one that is configured.
func (v *Vault) login(ctx context.Context) (*session, error) {
	c, err := v.client.CloneWithHeaders() // the namespace is a header
	if err != nil {
		return nil, err
	}
	s := &session{client: c}
	if v.cfg.Auth == authToken {
		c.SetToken(v.cfg.Token)
		return s, s.keepOwn(ctx)
	}
	proof, err := v.cfg.proof()
	if err != nil {
		return nil, err
	}
	got, err := c.Logical().WriteWithContext(ctx, v.cfg.loginPath(), proof)
	if err != nil {
		return nil, err
	}
	if got == nil || got.Auth == nil || got.Auth.ClientToken == "" {
		return nil, errors.New("the answer has no token")
	}
	c.SetToken(got.Auth.ClientToken)
	return s, s.keep(got)
}

// loginPath is where the way to log in is.
func (c *Config) loginPath() string {
	return "auth/" + strings.Trim(cmp.Or(c.AuthMount, c.Auth), "/") + "/login"
}

// loginFailed tells a node why Vault let nobody in.
func (c *Config) loginFailed(err error) error {
	if status(err) == http.StatusNotFound {
		return &sdk.SecretError{Reason: sdk.SecretDenied, Text: "log in to Vault: nothing is at " + c.loginPath() + " (404)"}
	}
	return reason("log in to Vault", err)
}

// proof is what a way to log in sends.
func (c *Config) proof() (map[string]any, error) {
	switch c.Auth {
	case authAppRole:
		proof := map[string]any{"role_id": c.RoleID}
		if c.SecretID != "" { // a role may be bound to addresses alone
			proof["secret_id"] = c.SecretID
		}
		return proof, nil
	case authCert:
		if c.Role == "" {
			return map[string]any{}, nil
		}
		return map[string]any{"name": c.Role}, nil
	}
	jwt, err := os.ReadFile(cmp.Or(c.TokenFile, podAccount))
	if err != nil {
		return nil, fmt.Errorf("read the pod's token: %w", err)
	}
	return map[string]any{"role": c.Role, "jwt": strings.TrimSpace(string(jwt))}, nil
}

// keepOwn has a token renewed that was given from outside, if it is one that expires. Of one whose
// policy does not let it look at itself nothing is known: it is used as it is.
func (s *session) keepOwn(ctx context.Context) error {
	got, err := s.client.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil || got == nil {
		return nil //nolint:nilerr // as above; a read tells whether the token is good
	}
	renewable, _ := got.TokenIsRenewable()
	ttl, _ := got.TokenTTL()
	if !renewable || ttl <= 0 {
		return nil
	}
	return s.keep(&api.Secret{Auth: &api.SecretAuth{ClientToken: s.client.Token(), Renewable: true, LeaseDuration: int(ttl.Seconds())}})
}

// keep has the token of a login renewed. over is closed when that ends, so that the next read logs in
// anew: a little before the token expires.
func (s *session) keep(login *api.Secret) error {
	if login.Auth.LeaseDuration == 0 {
		return nil // it does not expire
	}
	w, err := s.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: login})
	if err != nil {
		return err
	}
	s.watch, s.over = w, make(chan struct{})
	go w.Start() // until the token is not renewed any more, or Stop
	go func() {  // likewise
		for {
			select {
			case <-w.RenewCh():
			case <-w.DoneCh(): //nolint:errcheck // whatever ended it, the next read logs in anew
				close(s.over)
				return
			}
		}
	}()
	return nil
}
