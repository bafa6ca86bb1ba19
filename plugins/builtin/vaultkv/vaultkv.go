// Package vaultkv is the secret source that reads and writes HashiCorp Vault's KV engine, versions 1 and 2,
// and that of whatever answers its API. Its own token is renewed while it lasts, and asked for anew then.
package vaultkv

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// timeout is of one request to Vault.
const timeout = 4 * time.Second

// usualField is read where a reference names no field and the secret has several.
const usualField = "key"

// Config configures the source.
type Config struct {
	Address   string `json:"address"`             // URL of Vault
	Namespace string `json:"namespace,omitempty"` // of Vault Enterprise
	CA        string `json:"ca,omitempty"`        // PEM of the authorities that are trusted instead of the system's
	Proxy     string `json:"proxy,omitempty"`     // http, https or socks5 URL

	Mount      string `json:"mount,omitempty"`       // of the engine; empty: the first part of each reference's path
	PathPrefix string `json:"path_prefix,omitempty"` // stands before the path of each reference
	KV         int    `json:"kv,omitempty"`          // version of the engine, 1 or 2; 0: Vault is asked

	Auth      string `json:"auth,omitempty"`       // token (default), approle, kubernetes or cert
	AuthMount string `json:"auth_mount,omitempty"` // below auth/; default: as the method is called
	Token     string `json:"token,omitempty"`      // of auth token
	RoleID    string `json:"role_id,omitempty"`    // of auth approle
	SecretID  string `json:"secret_id,omitempty"`  // of auth approle; empty: the role needs none
	Role      string `json:"role,omitempty"`       // of auth kubernetes and cert
	TokenFile string `json:"token_file,omitempty"` // of auth kubernetes; default: the pod's own
	Cert      string `json:"client_cert,omitempty"`
	Key       string `json:"client_key,omitempty"` // PEM; with client_cert of auth cert
}

// Vault is the secret source.
type Vault struct {
	cfg    Config
	client *api.Client // without a token

	mu       sync.Mutex // guards what follows
	now      *session
	versions map[string]int // of engines, by their mounts
}

// Configure implements sdk.SecretSource.
func (v *Vault) Configure(_ context.Context, s sdk.SecretSourceSettings) (sdk.SecretSourceDescription, error) {
	if err := sink.ReadConfig(s.Config, &v.cfg); err != nil {
		return sdk.SecretSourceDescription{}, err
	}
	if err := v.cfg.check(); err != nil {
		return sdk.SecretSourceDescription{}, err
	}
	sender, err := service.New(service.Config{APIBase: v.cfg.Address, CA: v.cfg.CA, Proxy: v.cfg.Proxy}, "https://vault.corp:8200")
	if err != nil {
		return sdk.SecretSourceDescription{}, errors.New(strings.ReplaceAll(err.Error(), "api_base", "address"))
	}
	hc := sender.HTTP()
	if v.cfg.Auth == authCert {
		pair, err := tls.X509KeyPair([]byte(v.cfg.Cert), []byte(v.cfg.Key))
		if err != nil {
			return sdk.SecretSourceDescription{}, errors.New("client_cert: is not a certificate in PEM with its client_key")
		}
		way := hc.Transport.(*http.Transport)
		if way.TLSClientConfig == nil { // without a ca
			way.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		way.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	c, err := api.NewClient(&api.Config{Address: strings.TrimRight(v.cfg.Address, "/"), HttpClient: hc, Timeout: timeout})
	if err != nil {
		return sdk.SecretSourceDescription{}, fmt.Errorf("address: %w", err)
	}
	c.SetMaxRetries(0) // the node asks again, later and later
	c.ClearToken()
	if v.cfg.Namespace != "" {
		c.SetNamespace(v.cfg.Namespace)
	}
	v.client, v.versions = c, map[string]int{}
	return sdk.SecretSourceDescription{Version: scan.Version}, nil
}

// check refuses what cannot log in anywhere.
func (c *Config) check() error {
	c.Auth = cmp.Or(c.Auth, authToken)
	needs, ok := needed[c.Auth]
	if !ok {
		return fmt.Errorf("auth: %q is not token, approle, kubernetes or cert", c.Auth)
	}
	for _, n := range needs {
		if n.of(c) == "" {
			return fmt.Errorf("%s: is missing; auth %q needs it", n.field, c.Auth)
		}
	}
	if c.KV < 0 || c.KV > 2 {
		return fmt.Errorf("kv: %d is not 1, 2 or 0 (Vault is asked)", c.KV)
	}
	c.Mount, c.PathPrefix = strings.Trim(c.Mount, "/"), strings.Trim(c.PathPrefix, "/")
	return nil
}

// place is where a secret is.
type place struct{ mount, path string }

// placeOf finds the place of a reference.
func (c *Config) placeOf(ref string) (place, error) {
	if slices.Contains(strings.Split(ref, "/"), "..") || strings.ContainsAny(ref, "?%\\") {
		return place{}, malformed("the path has parts that a path in Vault has not")
	}
	ref = strings.Trim(path.Clean("/"+ref), "/")
	p := place{c.Mount, ref}
	if c.Mount == "" {
		p.mount, p.path, _ = strings.Cut(ref, "/")
	}
	if p.mount == "" || p.path == "" {
		return place{}, malformed("the path does not name an engine and a secret in it, such as secret/providers/openai")
	}
	p.path = path.Join(c.PathPrefix, p.path)
	return p, nil
}

func malformed(text string) error {
	return &sdk.SecretError{Reason: sdk.SecretMalformed, Text: text}
}

// Read implements sdk.SecretSource.
func (v *Vault) Read(ctx context.Context, at sdk.SecretAddress) (sdk.SecretValue, error) {
	var got *api.KVSecret
	err := v.do(ctx, at.Path, "read from Vault", func(s *session, p place) (err error) {
		got, err = v.read(ctx, s, p)
		return err
	})
	if err != nil {
		return sdk.SecretValue{}, err
	}
	text, err := field(got.Data, at.Field)
	if err != nil {
		return sdk.SecretValue{}, err
	}
	out := sdk.SecretValue{Text: sdk.NewSecret(text)}
	if m := got.VersionMetadata; m != nil {
		out.Version = strconv.Itoa(m.Version)
	}
	return out, nil
}

// do asks Vault about the secret of a path, as somebody who is logged in.
func (v *Vault) do(ctx context.Context, path, doing string, ask func(*session, place) error) error {
	p, err := v.cfg.placeOf(path)
	if err != nil {
		return err
	}
	s, err := v.session(ctx, nil)
	if err != nil {
		return v.cfg.loginFailed(err)
	}
	err = ask(s, p)
	if status(err) == http.StatusForbidden && v.cfg.Auth != authToken { // the token may have been revoked
		if s, err = v.session(ctx, s); err != nil {
			return v.cfg.loginFailed(err)
		}
		err = ask(s, p)
	}
	if err != nil {
		return reason(doing, err)
	}
	return nil
}

// Write implements sdk.SecretWriter: the text is the usual field, and the description one beside it.
func (v *Vault) Write(ctx context.Context, w sdk.SecretWritten) (version string, err error) {
	fields := map[string]any{usualField: w.Text.Reveal()}
	if w.Description != "" {
		fields["description"] = w.Description
	}
	err = v.do(ctx, w.Path, "write to Vault", func(s *session, p place) error {
		engine, err := v.version(ctx, s, p)
		if err != nil {
			return err
		}
		if engine == 1 {
			return s.client.KVv1(p.mount).Put(ctx, p.path, fields)
		}
		put, err := s.client.KVv2(p.mount).Put(ctx, p.path, fields)
		if err == nil && put.VersionMetadata != nil {
			version = strconv.Itoa(put.VersionMetadata.Version)
		}
		return err
	})
	return version, err
}

// Delete implements sdk.SecretWriter: with all its versions. Vault does not say whether there was one.
func (v *Vault) Delete(ctx context.Context, path string) error {
	return v.do(ctx, path, "delete in Vault", func(s *session, p place) error {
		engine, err := v.version(ctx, s, p)
		if err != nil {
			return err
		}
		if engine == 1 {
			return s.client.KVv1(p.mount).Delete(ctx, p.path)
		}
		return s.client.KVv2(p.mount).DeleteMetadata(ctx, p.path)
	})
}

// read reads a secret with all its fields.
func (v *Vault) read(ctx context.Context, s *session, p place) (*api.KVSecret, error) {
	version, err := v.version(ctx, s, p)
	if err != nil {
		return nil, err
	}
	if version == 1 {
		return s.client.KVv1(p.mount).Get(ctx, p.path)
	}
	return s.client.KVv2(p.mount).Get(ctx, p.path)
}

// version is that of the engine at a mount.
func (v *Vault) version(ctx context.Context, s *session, p place) (int, error) {
	if v.cfg.KV != 0 {
		return v.cfg.KV, nil
	}
	v.mu.Lock()
	known := v.versions[p.mount]
	v.mu.Unlock()
	if known != 0 {
		return known, nil
	}
	got, err := s.client.Logical().ReadWithContext(ctx, "sys/internal/ui/mounts/"+p.mount+"/"+p.path)
	if err != nil {
		return 0, err
	}
	version := 1
	if got != nil {
		if options, _ := got.Data["options"].(map[string]any); options["version"] == "2" {
			version = 2
		}
	}
	v.mu.Lock()
	v.versions[p.mount] = version
	v.mu.Unlock()
	return version, nil
}

// field is one field of a secret.
func field(data map[string]any, name string) (string, error) {
	if len(data) == 0 {
		return "", &sdk.SecretError{Reason: sdk.SecretNotFound, Text: "the secret has no fields: it was deleted, or never written"}
	}
	value, ok := data[cmp.Or(name, usualField)]
	if !ok && name == "" && len(data) == 1 {
		for _, only := range data {
			value, ok = only, true
		}
	}
	switch {
	case !ok && name == "":
		return "", malformed(fmt.Sprintf("the secret has %d fields and none is called %s: name one behind #", len(data), usualField))
	case !ok:
		return "", &sdk.SecretError{Reason: sdk.SecretNotFound, Text: "the secret has no such field"}
	}
	switch value := value.(type) {
	case string:
		return value, nil
	case json.Number:
		return value.String(), nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "", malformed("the field is no text")
	}
	return string(text), nil
}

// status is that of Vault's answer, 0 for another error.
func status(err error) int {
	if e, ok := errors.AsType[*api.ResponseError](err); ok {
		return e.StatusCode
	}
	return 0
}

// reason tells a node why Vault did not do what it was asked. What Vault says is not repeated: only its status.
func reason(doing string, err error) error {
	var why sdk.SecretError
	switch code := status(err); {
	case errors.Is(err, api.ErrSecretNotFound), code == http.StatusNotFound:
		why = sdk.SecretError{Reason: sdk.SecretNotFound, Text: doing + ": there is no such secret"}
	case code == http.StatusForbidden, code == http.StatusUnauthorized, code == http.StatusBadRequest:
		why = sdk.SecretError{Reason: sdk.SecretDenied, Text: fmt.Sprintf("%s: it answers %d %s", doing, code, http.StatusText(code))}
	case code == http.StatusServiceUnavailable:
		why = sdk.SecretError{Reason: sdk.SecretUnavailable, Text: doing + ": it is sealed, or in maintenance (503)"}
	case code != 0:
		why = sdk.SecretError{Reason: sdk.SecretUnavailable, Text: fmt.Sprintf("%s: it answers %d %s", doing, code, http.StatusText(code))}
	default:
		why = sdk.SecretError{Reason: sdk.SecretUnavailable, Text: fmt.Sprintf("%s: %v", doing, service.Unquoted(err))}
	}
	return &why
}
