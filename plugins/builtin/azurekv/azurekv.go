// Package azurekv is the secret source that reads the secrets of Azure's Key Vault.
package azurekv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/secretstore"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	name       = "Azure's Key Vault"
	authority  = "https://login.microsoftonline.com"
	scope      = "https://vault.azure.net/.default"
	apiVersion = "7.4"
	early      = time.Minute // before a token expires, another is asked for

	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// Config configures the source.
type Config struct {
	VaultURL     string `json:"vault_url"` // https://NAME.vault.azure.net
	TenantID     string `json:"tenant_id"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
	TokenFile    string `json:"federated_token_file,omitempty"` // of a workload identity, in the place of client_secret
	Authority    string `json:"authority_host,omitempty"`       // URL; default that of Azure's public cloud
	Scope        string `json:"scope,omitempty"`                // default that of Azure's public cloud
	CA           string `json:"ca,omitempty"`
	Proxy        string `json:"proxy,omitempty"`
}

// KeyVault is the secret source. A path is NAME or NAME/VERSION, a field one of a secret that is JSON.
type KeyVault struct {
	cfg    Config
	client *http.Client
	now    func() time.Time // nil: time.Now

	mu    sync.Mutex // guards what follows
	token string
	until time.Time
}

// Configure implements sdk.SecretSource.
func (k *KeyVault) Configure(_ context.Context, s sdk.SecretSourceSettings) (sdk.SecretSourceDescription, error) {
	c := &k.cfg
	if err := sink.ReadConfig(s.Config, c); err != nil {
		return sdk.SecretSourceDescription{}, err
	}
	if c.TenantID == "" || c.ClientID == "" || (c.ClientSecret == "") == (c.TokenFile == "") {
		return sdk.SecretSourceDescription{}, errors.New("tenant_id, client_id: give both, and one of client_secret and federated_token_file")
	}
	c.Authority, c.Scope = strings.TrimRight(cmp.Or(c.Authority, authority), "/"), cmp.Or(c.Scope, scope)
	c.VaultURL = strings.TrimRight(c.VaultURL, "/")
	if k.now == nil {
		k.now = time.Now
	}
	var err error
	k.client, err = secretstore.Client("vault_url", c.CA, c.Proxy, c.VaultURL, c.Authority)
	return sdk.SecretSourceDescription{Version: scan.Version}, err
}

// Read implements sdk.SecretSource.
func (k *KeyVault) Read(ctx context.Context, at sdk.SecretAddress) (sdk.SecretValue, error) {
	parts, err := secretstore.Path(at.Path, 1, 2, "name or name/version")
	if err != nil {
		return sdk.SecretValue{}, err
	}
	token, err := k.bearer(ctx)
	if err != nil {
		return sdk.SecretValue{}, err
	}
	status, answer, err := secretstore.Do(ctx, k.client, name, &secretstore.Request{
		Method: http.MethodGet, URL: k.cfg.VaultURL + "/secrets/" + strings.Join(parts, "/") + "?api-version=" + apiVersion,
		Header: map[string]string{"Authorization": "Bearer " + token},
	})
	if err != nil {
		return sdk.SecretValue{}, err
	}
	if status == http.StatusUnauthorized { // the next read asks for another token
		k.mu.Lock()
		k.until = time.Time{}
		k.mu.Unlock()
	}
	if status != http.StatusOK {
		return sdk.SecretValue{}, secretstore.Refused(name, status)
	}
	var out struct {
		Value string `json:"value"`
		ID    string `json:"id"`
	}
	if err := secretstore.ReadJSON(name, answer, &out); err != nil {
		return sdk.SecretValue{}, err
	}
	return secretstore.Value(out.Value, at.Field, out.ID[strings.LastIndex(out.ID, "/")+1:])
}

// bearer is the token of the application, asked for when there is none that lasts.
func (k *KeyVault) bearer(ctx context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock() // who comes meanwhile waits for the same token
	if k.now().Before(k.until) {
		return k.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {k.cfg.ClientID}, "scope": {k.cfg.Scope}}
	if k.cfg.ClientSecret != "" {
		form.Set("client_secret", k.cfg.ClientSecret)
	} else {
		text, err := os.ReadFile(k.cfg.TokenFile)
		if err != nil {
			return "", &sdk.SecretError{Reason: sdk.SecretDenied, Text: fmt.Sprintf("read the workload's token: %v", err)}
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", strings.TrimSpace(string(text)))
	}
	asked := k.now()
	status, answer, err := secretstore.Do(ctx, k.client, "Microsoft's Entra", &secretstore.Request{
		Method: http.MethodPost, URL: k.cfg.Authority + "/" + url.PathEscape(k.cfg.TenantID) + "/oauth2/v2.0/token", Body: []byte(form.Encode()),
		Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	})
	if err != nil {
		return "", err
	}
	var out struct {
		Token   string `json:"access_token"`
		Seconds int64  `json:"expires_in"`
	}
	if status < http.StatusInternalServerError && status != http.StatusOK && status != http.StatusTooManyRequests {
		return "", &sdk.SecretError{Reason: sdk.SecretDenied, Text: fmt.Sprintf("Microsoft's Entra refuses a token: it answers %d", status)}
	}
	if status != http.StatusOK {
		return "", secretstore.Refused("Microsoft's Entra", status)
	}
	if err := secretstore.ReadJSON("Microsoft's Entra", answer, &out); err != nil {
		return "", err
	}
	k.token, k.until = out.Token, asked.Add(time.Duration(out.Seconds)*time.Second-early)
	return k.token, nil
}
