package sign

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Defaults of the options azure_scope and azure_authority_host.
const (
	entraScope     = "https://cognitiveservices.azure.com/.default"
	entraAuthority = "https://login.microsoftonline.com"
)

// assertionType is what a token of another identity provider is called in a request.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// entraToken sends the account's key, or else a bearer's token of Microsoft's Entra: the secret
// azure_ad_token as it is, or one that is fetched for the options tenant_id and client_id with
// the secret client_secret or with the token in the file azure_federated_token_file. What the
// environment or the machine would give is used only if the option azure_use_environment is "true".
type entraToken struct {
	cfg    Config
	tokens *keeper[string]
}

func newEntraToken(cfg Config) *entraToken {
	return &entraToken{cfg: cfg, tokens: newKeeper[string](cfg.Now)}
}

// ownHosts are the addresses of single models, which take their key as a bearer's token.
var ownHosts = []string{".models.ai.azure.com", ".inference.ai.azure.com", ".inference.ml.azure.com"}

// sign implements method.
func (e *entraToken) sign(ctx context.Context, a *Account, r *Request) error {
	if !a.Key.IsZero() {
		for _, host := range ownHosts {
			if strings.HasSuffix(r.URL.Hostname(), host) {
				r.Header["Authorization"] = []string{"Bearer " + a.Key.Reveal()}
				return nil
			}
		}
		r.Header["Api-Key"] = []string{a.Key.Reveal()}
		return nil
	}
	token := a.Secrets["azure_ad_token"].Reveal()
	if token == "" {
		fetch, err := e.source(a)
		if err != nil {
			return err
		}
		if token, err = e.tokens.get(ctx, a, fetch); err != nil {
			return err
		}
	}
	r.Header["Authorization"] = []string{"Bearer " + token}
	return nil
}

// client is for whom a token is fetched.
type client struct{ authority, tenant, id, secret, file, scope string }

// or is v, or the variable of the environment if that may be used.
func (e *entraToken) or(a *Account, v, name string) string {
	if v == "" && a.Options["azure_use_environment"] == "true" {
		return e.cfg.Env(name)
	}
	return v
}

// source says how the account's tokens are fetched.
func (e *entraToken) source(a *Account) (func(context.Context) (string, time.Time, error), error) {
	c := client{
		authority: e.or(a, a.Options["azure_authority_host"], "AZURE_AUTHORITY_HOST"), tenant: e.or(a, a.option("tenant_id"), "AZURE_TENANT_ID"),
		id: e.or(a, a.option("client_id"), "AZURE_CLIENT_ID"), secret: e.or(a, a.Secrets["client_secret"].Reveal(), "AZURE_CLIENT_SECRET"),
		file: e.or(a, a.Options["azure_federated_token_file"], "AZURE_FEDERATED_TOKEN_FILE"), scope: a.Options["azure_scope"],
	}
	if c.authority == "" {
		c.authority = entraAuthority
	}
	if c.scope == "" {
		c.scope = entraScope
	}
	switch {
	case c.tenant != "" && c.id != "" && (c.secret != "" || c.file != ""):
		return func(ctx context.Context) (string, time.Time, error) { return e.fetch(ctx, c) }, nil
	case a.Options["azure_use_environment"] == "true":
		return func(ctx context.Context) (string, time.Time, error) { return e.managed(ctx, c) }, nil
	}
	return nil, errors.New("the deployment has neither api_key, azure_ad_token, nor tenant_id, client_id and client_secret (or azure_federated_token_file)")
}

// fetch asks Entra for a token.
func (e *entraToken) fetch(ctx context.Context, c client) (string, time.Time, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.id}, "scope": {c.scope}}
	if c.secret != "" {
		form.Set("client_secret", c.secret)
	} else {
		text, err := readToken(c.file)
		if err != nil {
			return "", time.Time{}, err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", text)
	}
	address := strings.TrimRight(c.authority, "/") + "/" + url.PathEscape(c.tenant) + "/oauth2/v2.0/token"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("ask entra for a token: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return e.token(req)
}

// graphScope is what a token for a person is good for, unless the option azure_scope says otherwise: all to which
// he, or his administrator, has agreed.
const graphScope = "https://graph.microsoft.com/.default"

// graph sends the key as it is, which is a person's access token; or one for the secret entra_refresh_token, of the
// application in the options tenant_id and client_id, with the secret client_secret if it has one. Entra gives a
// new refresh token each time, and the one of before stays good until it expires.
func graph(a *Account, _ *Request) (string, *order, error) {
	if !a.Key.IsZero() {
		return "Bearer " + a.Key.Reveal(), nil, nil
	}
	tenant, id, refresh := a.option("tenant_id"), a.option("client_id"), a.Secrets["entra_refresh_token"].Reveal()
	if tenant == "" || id == "" || refresh == "" {
		return "", nil, errors.New("the deployment has neither api_key nor entra_refresh_token with tenant_id and client_id")
	}
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {id}, "refresh_token": {refresh}, "scope": {cmp.Or(a.Options["azure_scope"], graphScope)}}
	if passphrase := a.Secrets["client_secret"].Reveal(); passphrase != "" {
		form.Set("client_secret", passphrase)
	}
	authority := strings.TrimRight(cmp.Or(a.Options["azure_authority_host"], entraAuthority), "/")
	return "", &order{address: authority + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token", form: form}, nil
}

// managed asks the machine for a token of its identity, or of the one that is named.
func (e *entraToken) managed(ctx context.Context, c client) (string, time.Time, error) {
	base, h := e.cfg.Env("IDENTITY_ENDPOINT"), http.Header{"Metadata": {"true"}}
	version := "2019-08-01"
	if base == "" {
		base, version = "http://169.254.169.254/metadata/identity/oauth2/token", "2018-02-01"
	} else {
		h.Set("X-Identity-Header", e.cfg.Env("IDENTITY_HEADER"))
	}
	query := url.Values{"api-version": {version}, "resource": {strings.TrimSuffix(c.scope, "/.default")}}
	if c.id != "" {
		query.Set("client_id", c.id)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"?"+query.Encode(), nil)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("ask the machine for a token: %w", err)
	}
	req.Header = h
	return e.token(req)
}

// token sends a request for a token and reads the answer. What Entra says about a refusal names
// the tenant and the application: its code is enough.
func (e *entraToken) token(req *http.Request) (string, time.Time, error) {
	asked := e.cfg.Now()
	status, body, err := do(e.cfg.Client, req)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("ask entra for a token: %w", err)
	}
	var got struct {
		Token   string          `json:"access_token"`
		Expires json.RawMessage `json:"expires_in"` // a number, or one in a string
		Error   string          `json:"error"`
	}
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK || got.Token == "" {
		return "", time.Time{}, fmt.Errorf("entra refused a token: %d %s", status, got.Error)
	}
	seconds, err := strconv.Atoi(strings.Trim(string(got.Expires), `"`))
	if err != nil || seconds < 0 {
		return "", time.Time{}, errors.New("entra did not say how long its token is good")
	}
	return got.Token, asked.Add(time.Duration(seconds) * time.Second), nil
}
