package keyservice

import (
	"context"
	"fmt"
	"net/http"

	"github.com/conclave-llm/conclave/provider"
)

// Shelf is a place in Vault's KV engine, version 2.
type Shelf struct {
	API       string // https://HOST:PORT/v1
	URL       string // of the secret: API/MOUNT/data/PATH
	Namespace string // ""; that of the environment
	Token     string // ""; that of the environment, or one that Vault gives for what the node is
}

// Keep writes a version of a secret. To write the same again makes one more version, and changes
// nothing else.
func (s *Services) Keep(ctx context.Context, at Shelf, values map[string]string) error {
	h := http.Header{"X-Vault-Request": {"true"}}
	if at.Namespace == "" {
		at.Namespace = s.cfg.Env("VAULT_NAMESPACE")
	}
	if at.Namespace != "" {
		h.Set("X-Vault-Namespace", at.Namespace)
	}
	if at.Token == "" {
		var err error
		if at.Token, err = (&vault{s: s, base: at.API}).token(ctx, h); err != nil {
			return err
		}
	}
	h.Set("X-Vault-Token", at.Token)
	var out struct {
		Data struct {
			Version int `json:"version"`
		} `json:"data"`
	}
	if err := s.call(ctx, provider.Auth(0), nil, at.URL, h, map[string]any{"data": values}, &out); err != nil {
		return err
	}
	if out.Data.Version == 0 {
		return fmt.Errorf("the answer names no version: %s is not of the KV engine, version 2", at.URL)
	}
	return nil
}
