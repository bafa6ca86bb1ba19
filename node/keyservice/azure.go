package keyservice

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

const (
	azureVersion   = "7.4"
	azureAlgorithm = "RSA-OAEP-256"
)

// azureKMS is an RSA key of Azure's Key Vault or Managed HSM.
type azureKMS struct {
	s         *Services
	host, key string
}

func newAzure(s *Services, u *url.URL, path string) (secret.Cover, bool) {
	name, ok := strings.CutPrefix(path, "keys/")
	return &azureKMS{s: s, host: u.Host, key: url.PathEscape(name)}, ok && strings.Contains(u.Host, ".") && name != "" && !strings.Contains(name, "/")
}

// wrapped is a value in Azure's words.
type wrapped struct {
	Algorithm string `json:"alg,omitempty"`
	Kid       string `json:"kid,omitempty"` // https://HOST/keys/NAME/VERSION
	Value     string `json:"value"`         // base64 for URLs, without padding
}

// Seal implements secret.Cover. The version of the key is a part of what it gives: a key that was
// exchanged in the vault still opens what its older version has sealed.
func (k *azureKMS) Seal(ctx context.Context, plain []byte) (string, error) {
	out := wrapped{}
	in := wrapped{Algorithm: azureAlgorithm, Value: base64.RawURLEncoding.EncodeToString(plain)}
	if err := k.call(ctx, k.key+"/wrapkey", in, &out); err != nil {
		return "", err
	}
	version := out.Kid[strings.LastIndexByte(out.Kid, '/')+1:]
	if version == "" || out.Value == "" {
		return "", errors.New("the vault answers without a key's version or a value")
	}
	return prefixAzure + version + "/" + out.Value, nil
}

// Open implements secret.Cover.
func (k *azureKMS) Open(ctx context.Context, text string) ([]byte, error) {
	rest, ok := strings.CutPrefix(text, prefixAzure)
	version, value, cut := strings.Cut(rest, "/")
	if !ok || !cut {
		return nil, fmt.Errorf("it is not %sVERSION/VALUE", prefixAzure)
	}
	out := wrapped{}
	in := wrapped{Algorithm: azureAlgorithm, Value: value}
	if err := k.call(ctx, k.key+"/"+url.PathEscape(version)+"/unwrapkey", in, &out); err != nil {
		return nil, err
	}
	plain, err := base64.RawURLEncoding.DecodeString(out.Value)
	if err != nil {
		return nil, errors.New("what Azure answers is not base64")
	}
	return plain, nil
}

func (k *azureKMS) call(ctx context.Context, path string, in, out any) error {
	a := &sign.Account{Options: map[string]string{"azure_use_environment": "true", "azure_scope": scopeOf(k.host)}}
	return k.s.call(ctx, provider.EntraToken, a, "https://"+k.host+"/keys/"+path+"?api-version="+azureVersion, http.Header{}, in, out)
}

// scopeOf is what a token must be for: https://vault.azure.net for NAME.vault.azure.net, and so in
// Azure's other clouds.
func scopeOf(host string) string {
	_, domain, _ := strings.Cut(host, ".")
	return "https://" + domain + "/.default"
}
