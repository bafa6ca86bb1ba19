package azure

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/secretstore"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	keyVault      = "Azure's Key Vault"
	keyVaultScope = "https://vault.azure.net/.default"
	keyVaultAPI   = "7.4"
)

// KeyVaultConfig configures KeyVault.
type KeyVaultConfig struct {
	VaultURL string `json:"vault_url"` // https://NAME.vault.azure.net
	App
	Scope string `json:"scope,omitempty"` // default that of Azure's public cloud
	CA    string `json:"ca,omitempty"`
	Proxy string `json:"proxy,omitempty"`
}

// KeyVault is the secret source. A path is NAME or NAME/VERSION, a field one of a secret that is JSON.
type KeyVault struct {
	cfg    KeyVaultConfig
	client *http.Client
	tokens *tokens
}

// Configure implements sdk.SecretSource.
func (k *KeyVault) Configure(_ context.Context, s sdk.SecretSourceSettings) (sdk.SecretSourceDescription, error) {
	c := &k.cfg
	if err := sink.ReadConfig(s.Config, c); err != nil {
		return sdk.SecretSourceDescription{}, err
	}
	if err := c.check(); err != nil {
		return sdk.SecretSourceDescription{}, err
	}
	c.VaultURL = strings.TrimRight(c.VaultURL, "/")
	var err error
	k.client, err = secretstore.Client("vault_url", c.CA, c.Proxy, c.VaultURL, c.Authority)
	k.tokens = &tokens{app: &c.App, scope: cmp.Or(c.Scope, keyVaultScope), client: k.client, now: time.Now}
	return sdk.SecretSourceDescription{Version: scan.Version}, err
}

// Read implements sdk.SecretSource.
func (k *KeyVault) Read(ctx context.Context, at sdk.SecretAddress) (sdk.SecretValue, error) {
	parts, err := secretstore.Path(at.Path, 1, 2, "name or name/version")
	if err != nil {
		return sdk.SecretValue{}, err
	}
	token, err := k.tokens.bearer(ctx)
	if err != nil {
		return sdk.SecretValue{}, err
	}
	status, answer, err := secretstore.Do(ctx, k.client, keyVault, &secretstore.Request{
		Method: http.MethodGet, URL: k.cfg.VaultURL + "/secrets/" + strings.Join(parts, "/") + "?api-version=" + keyVaultAPI,
		Header: map[string]string{"Authorization": "Bearer " + token},
	})
	if err != nil {
		return sdk.SecretValue{}, err
	}
	if status == http.StatusUnauthorized {
		k.tokens.drop()
	}
	if status != http.StatusOK {
		return sdk.SecretValue{}, secretstore.Refused(keyVault, status)
	}
	var out struct {
		Value string `json:"value"`
		ID    string `json:"id"`
	}
	if err := secretstore.ReadJSON(keyVault, answer, &out); err != nil {
		return sdk.SecretValue{}, err
	}
	return secretstore.Value(out.Value, at.Field, out.ID[strings.LastIndex(out.ID, "/")+1:])
}
