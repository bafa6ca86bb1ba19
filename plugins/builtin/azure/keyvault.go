package azure

import (
	"cmp"
	"context"
	"encoding/json"
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

// KeyVault is the secret source, which also writes. A path is NAME or NAME/VERSION, a field one of a secret
// that is JSON.
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
	out, err := k.ask(ctx, http.MethodGet, strings.Join(parts, "/"), nil)
	if err != nil {
		return sdk.SecretValue{}, err
	}
	return secretstore.Value(out.Value, at.Field, out.version())
}

// stored is a secret as the service shows it.
type stored struct {
	Value string `json:"value"`
	ID    string `json:"id"` // the last part is its version
}

func (s *stored) version() string { return s.ID[strings.LastIndex(s.ID, "/")+1:] }

// ask asks the service about a secret.
func (k *KeyVault) ask(ctx context.Context, method, secret string, body []byte) (*stored, error) {
	token, err := k.tokens.bearer(ctx)
	if err != nil {
		return nil, err
	}
	status, answer, err := secretstore.Do(ctx, k.client, keyVault, &secretstore.Request{
		Method: method, URL: k.cfg.VaultURL + "/secrets/" + secret + "?api-version=" + keyVaultAPI, Body: body,
		Header: map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/json"},
	})
	if err != nil {
		return nil, err
	}
	switch status {
	case http.StatusOK:
	case http.StatusUnauthorized:
		k.tokens.drop()
		return nil, secretstore.Refused(keyVault, status)
	case http.StatusConflict:
		return nil, &sdk.SecretError{Reason: sdk.SecretUnavailable, Text: keyVault + " answers 409 Conflict: it still keeps a deleted secret of that name, which can be purged there"}
	default:
		return nil, secretstore.Refused(keyVault, status)
	}
	out := new(stored)
	return out, secretstore.ReadJSON(keyVault, answer, out)
}

// written is the name of a secret that may be written.
func written(path string) (string, error) {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	}
	if path == "" || len(path) > 127 || strings.ContainsFunc(path, odd) {
		return "", secretstore.Malformed("the path is no name of a secret that can be written: 1 to 127 letters, digits and dashes")
	}
	return path, nil
}

// Write implements sdk.SecretWriter.
func (k *KeyVault) Write(ctx context.Context, w sdk.SecretWritten) (version string, err error) {
	name, err := written(w.Path)
	if err != nil {
		return "", err
	}
	in := map[string]any{"value": w.Text.Reveal()}
	if w.Description != "" {
		in["tags"] = map[string]string{"description": w.Description}
	}
	body, err := json.Marshal(in)
	if err != nil {
		return "", err
	}
	out, err := k.ask(ctx, http.MethodPut, name, body)
	if err != nil {
		return "", err
	}
	return out.version(), nil
}

// Delete implements sdk.SecretWriter. A vault with soft delete keeps it until it is purged there.
func (k *KeyVault) Delete(ctx context.Context, path string) error {
	name, err := written(path)
	if err != nil {
		return err
	}
	_, err = k.ask(ctx, http.MethodDelete, name, nil)
	return err
}
