// Package keyservice seals small values by a key that leaves a service never: Vault's Transit,
// Amazon's KMS, Google's or Azure's Key Vault. A node asks it at its start, for its KEK and for values that are
// given to it sealed, and when the KEK is exchanged; never for a request.
package keyservice

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

const (
	maxAnswer = 1 << 20
	timeout   = 10 * time.Second
)

// What begins a value that a service has sealed.
const (
	prefixAWS    = "aws_kms/"
	prefixGoogle = "gcp_kms/"
	prefixAzure  = "azure_kms/"
)

// Config is what the services need. Its zero value works.
type Config struct {
	Client *http.Client             // nil: one that dials directly
	Env    func(name string) string // nil: os.Getenv
}

// Services are the key services that a node can ask.
type Services struct {
	cfg    Config
	signer *sign.Signer
}

// New makes Services.
func New(cfg Config) *Services {
	if cfg.Client == nil {
		cfg.Client = egress.Direct(nil).Client(timeout)
	}
	if cfg.Env == nil {
		cfg.Env = os.Getenv
	}
	return &Services{cfg: cfg, signer: sign.New(sign.Config{Client: cfg.Client, Env: cfg.Env})}
}

// Location says whether a text is the location of a key in a service, and not a key.
func Location(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	return ok && strings.HasSuffix(scheme, "-transit") || ok && strings.HasSuffix(scheme, "-kms")
}

// Cover is the key at a location:
//
//	vault-transit://HOST[:PORT]/MOUNT/keys/NAME   VAULT_TOKEN or VAULT_TOKEN_FILE; or VAULT_ROLE_ID with VAULT_SECRET_ID
//	                                              (_FILE); or VAULT_KUBERNETES_ROLE; VAULT_AUTH_MOUNT, VAULT_NAMESPACE;
//	                                              ?tls=off for a Vault on the same machine
//	aws-kms://REGION/KEY                          KEY is an id, an ARN or alias/NAME; Amazon's own variables
//	gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K
//	                                              GOOGLE_APPLICATION_CREDENTIALS, else the machine's account
//	azure-kms://NAME.vault.azure.net/keys/NAME    an RSA key; AZURE_TENANT_ID, AZURE_CLIENT_ID with AZURE_CLIENT_SECRET or
//	                                              AZURE_FEDERATED_TOKEN_FILE, else the machine's identity
func (s *Services) Cover(location string) (secret.Cover, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("kek: the location of the key is not a URL")
	}
	find, ok := locations[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("kek: there is no key service %q", u.Scheme)
	}
	cover, ok := find.cover(s, u, strings.Trim(u.Path, "/"))
	if !ok {
		return nil, errors.New("kek: the location is " + find.form)
	}
	return cover, nil
}

// locations are the forms of locations by their schemes, and what makes of one the key that is there.
var locations = map[string]struct {
	form  string
	cover func(s *Services, u *url.URL, path string) (secret.Cover, bool)
}{
	"vault-transit": {"vault-transit://HOST:PORT/MOUNT/keys/NAME", newVault},
	"aws-kms":       {"aws-kms://REGION/KEY", newAWS},
	"gcp-kms":       {"gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K", newGoogle},
	"azure-kms":     {"azure-kms://NAME.vault.azure.net/keys/NAME", newAzure},
}

// Sealed says whether a value is one that a key service has sealed, which Open opens.
func Sealed(value string) bool {
	return strings.HasPrefix(value, prefixAWS) || strings.HasPrefix(value, prefixGoogle) || strings.HasPrefix(value, prefixAzure)
}

// Open opens a value that begins with aws_kms/ (by the region in AWS_REGION_NAME or AWS_REGION),
// gcp_kms/ (by the key in GOOGLE_KMS_RESOURCE_NAME) or azure_kms/ (by the key in
// AZURE_KEY_VAULT_KEY, NAME.vault.azure.net/keys/NAME); false: it is another value.
func (s *Services) Open(ctx context.Context, value string) (plain []byte, sealed bool, err error) {
	switch {
	case strings.HasPrefix(value, prefixAWS):
		region := s.cfg.Env("AWS_REGION_NAME")
		if region == "" {
			region = s.cfg.Env("AWS_REGION")
		}
		if region == "" {
			return nil, true, errors.New("AWS_REGION_NAME and AWS_REGION are not set")
		}
		plain, err = (&awsKMS{s: s, region: region}).Open(ctx, value)
		return plain, true, err
	case strings.HasPrefix(value, prefixGoogle):
		name := s.cfg.Env("GOOGLE_KMS_RESOURCE_NAME")
		if name == "" {
			return nil, true, errors.New("GOOGLE_KMS_RESOURCE_NAME is not set")
		}
		plain, err = (&googleKMS{s: s, name: name}).Open(ctx, value)
		return plain, true, err
	case strings.HasPrefix(value, prefixAzure):
		location := s.cfg.Env("AZURE_KEY_VAULT_KEY")
		if location == "" {
			return nil, true, errors.New("AZURE_KEY_VAULT_KEY is not set")
		}
		cover, err := s.Cover("azure-kms://" + location)
		if err != nil {
			return nil, true, err
		}
		plain, err = cover.Open(ctx, value)
		return plain, true, err
	}
	return nil, false, nil
}

// call posts JSON and reads JSON. What the service says in an error is not repeated but for its
// status: some repeat what they were sent.
func (s *Services) call(ctx context.Context, auth provider.Auth, a *sign.Account, address string, header http.Header, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("ask key service: %w", err)
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	if a != nil {
		if err := s.signer.Sign(ctx, auth, a, &sign.Request{Method: http.MethodPost, URL: u, Header: header, Body: body}); err != nil {
			return fmt.Errorf("ask key service %s: %w", u.Host, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask key service: %w", err)
	}
	req.Header = header
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return fmt.Errorf("ask key service: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // all that counts was read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer of key service %s: %w", u.Host, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("key service %s answers %s", u.Host, resp.Status)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("key service %s answers no JSON", u.Host)
	}
	return nil
}

// boxOf is what a service has sealed, without what begins it.
func boxOf(text, prefix string) ([]byte, error) {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, fmt.Errorf("it does not begin with %s", prefix)
	}
	box, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return nil, fmt.Errorf("what follows %s is not base64", prefix)
	}
	return box, nil
}
