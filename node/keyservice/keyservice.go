// Package keyservice seals small values by a key that leaves a service never: Vault's Transit,
// Amazon's KMS or Google's. A node asks it at its start, for its KEK and for values that are
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
//	vault-transit://HOST[:PORT]/MOUNT/keys/NAME   VAULT_TOKEN or VAULT_TOKEN_FILE, VAULT_NAMESPACE;
//	                                              ?tls=off for a Vault on the same machine
//	aws-kms://REGION/KEY                          KEY is an id, an ARN or alias/NAME; Amazon's own variables
//	gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K
//	                                              GOOGLE_APPLICATION_CREDENTIALS, else the machine's account
func (s *Services) Cover(location string) (secret.Cover, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("kek: the location of the key is not a URL")
	}
	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "vault-transit":
		mount, name, ok := strings.Cut(path, "/keys/")
		if !ok || u.Host == "" || name == "" {
			return nil, errors.New("kek: the location is vault-transit://HOST:PORT/MOUNT/keys/NAME")
		}
		base := "https://" + u.Host
		if u.Query().Get("tls") == "off" {
			base = "http://" + u.Host
		}
		return &vault{s: s, base: base + "/v1/" + mount, name: name}, nil
	case "aws-kms":
		if u.Host == "" || path == "" {
			return nil, errors.New("kek: the location is aws-kms://REGION/KEY")
		}
		return &awsKMS{s: s, region: u.Host, key: path}, nil
	case "gcp-kms":
		name := u.Host + "/" + path
		if !strings.Contains(name, "/cryptoKeys/") {
			return nil, errors.New("kek: the location is gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K")
		}
		return &googleKMS{s: s, name: name}, nil
	}
	return nil, fmt.Errorf("kek: there is no key service %q", u.Scheme)
}

// Open opens a value that begins with aws_kms/ (by the region in AWS_REGION_NAME or AWS_REGION)
// or gcp_kms/ (by the key in GOOGLE_KMS_RESOURCE_NAME); false: it is another value.
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

// vault is a key of Vault's Transit engine.
type vault struct {
	s          *Services
	base, name string
}

// Seal implements secret.Cover.
func (v *vault) Seal(ctx context.Context, plain []byte) (string, error) {
	var out struct {
		Data struct {
			Ciphertext string `json:"ciphertext"`
		} `json:"data"`
	}
	if err := v.call(ctx, "encrypt", map[string][]byte{"plaintext": plain}, &out); err != nil {
		return "", err
	}
	if !strings.HasPrefix(out.Data.Ciphertext, "vault:") {
		return "", errors.New("vault answers without a ciphertext")
	}
	return out.Data.Ciphertext, nil
}

// Open implements secret.Cover.
func (v *vault) Open(ctx context.Context, text string) ([]byte, error) {
	if !strings.HasPrefix(text, "vault:") {
		return nil, errors.New("it was not sealed by Vault's Transit")
	}
	var out struct {
		Data struct {
			Plaintext []byte `json:"plaintext"`
		} `json:"data"`
	}
	err := v.call(ctx, "decrypt", map[string]string{"ciphertext": text}, &out)
	return out.Data.Plaintext, err
}

func (v *vault) call(ctx context.Context, verb string, in, out any) error {
	token := v.s.cfg.Env("VAULT_TOKEN")
	if path := v.s.cfg.Env("VAULT_TOKEN_FILE"); token == "" && path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read Vault's token: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	if token == "" {
		return errors.New("neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set")
	}
	h := http.Header{"X-Vault-Token": {token}, "X-Vault-Request": {"true"}}
	if ns := v.s.cfg.Env("VAULT_NAMESPACE"); ns != "" {
		h.Set("X-Vault-Namespace", ns)
	}
	return v.s.call(ctx, provider.Auth(0), nil, v.base+"/"+verb+"/"+url.PathEscape(v.name), h, in, out)
}

// awsKMS is a key of Amazon's KMS.
type awsKMS struct {
	s           *Services
	region, key string
}

// Seal implements secret.Cover.
func (k *awsKMS) Seal(ctx context.Context, plain []byte) (string, error) {
	var out struct{ CiphertextBlob []byte }
	if err := k.call(ctx, "Encrypt", map[string]any{"KeyId": k.key, "Plaintext": plain}, &out); err != nil {
		return "", err
	}
	return prefixAWS + base64.StdEncoding.EncodeToString(out.CiphertextBlob), nil
}

// Open implements secret.Cover.
func (k *awsKMS) Open(ctx context.Context, text string) ([]byte, error) {
	box, err := boxOf(text, prefixAWS)
	if err != nil {
		return nil, err
	}
	in := map[string]any{"CiphertextBlob": box}
	if k.key != "" {
		in["KeyId"] = k.key
	}
	var out struct{ Plaintext []byte }
	err = k.call(ctx, "Decrypt", in, &out)
	return out.Plaintext, err
}

func (k *awsKMS) call(ctx context.Context, action string, in, out any) error {
	a := &sign.Account{Options: map[string]string{"region": k.region, "aws_service": "kms", "aws_use_environment": "true"}}
	h := http.Header{"X-Amz-Target": {"TrentService." + action}, "Content-Type": {"application/x-amz-json-1.1"}}
	domain := "amazonaws.com"
	if strings.HasPrefix(k.region, "cn-") {
		domain = "amazonaws.com.cn"
	}
	return k.s.call(ctx, provider.SigV4, a, "https://kms."+k.region+"."+domain+"/", h, in, out)
}

// googleKMS is a key of Google's KMS.
type googleKMS struct {
	s    *Services
	name string
}

// Seal implements secret.Cover.
func (k *googleKMS) Seal(ctx context.Context, plain []byte) (string, error) {
	var out struct {
		Ciphertext []byte `json:"ciphertext"`
	}
	if err := k.call(ctx, "encrypt", map[string][]byte{"plaintext": plain}, &out); err != nil {
		return "", err
	}
	return prefixGoogle + base64.StdEncoding.EncodeToString(out.Ciphertext), nil
}

// Open implements secret.Cover.
func (k *googleKMS) Open(ctx context.Context, text string) ([]byte, error) {
	box, err := boxOf(text, prefixGoogle)
	if err != nil {
		return nil, err
	}
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	err = k.call(ctx, "decrypt", map[string][]byte{"ciphertext": box}, &out)
	return out.Plaintext, err
}

func (k *googleKMS) call(ctx context.Context, verb string, in, out any) error {
	a := &sign.Account{Options: map[string]string{"google_auth": "metadata"}}
	if path := k.s.cfg.Env("GOOGLE_APPLICATION_CREDENTIALS"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read Google's credentials: %w", err)
		}
		a = &sign.Account{Secrets: map[string]secret.Text{"vertex_credentials": secret.New(string(b))}}
	}
	return k.s.call(ctx, provider.GoogleToken, a, "https://cloudkms.googleapis.com/v1/"+k.name+":"+verb, http.Header{}, in, out)
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
