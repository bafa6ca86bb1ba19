package google

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"golang.org/x/oauth2"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/secretstore"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	secretManager     = "Google's Secret Manager"
	secretManagerBase = "https://secretmanager.googleapis.com" //nolint:gosec // the address of a service
)

// SecretManagerConfig configures SecretManager.
type SecretManagerConfig struct {
	Account
	Project  string `json:"project,omitempty"`  // of references that name none
	Endpoint string `json:"endpoint,omitempty"` // URL; default Google's
	CA       string `json:"ca,omitempty"`
	Proxy    string `json:"proxy,omitempty"`
}

// SecretManager is the secret source that reads Google's Secret Manager. A path is SECRET,
// PROJECT/SECRET or PROJECT/SECRET/VERSION, a field one of a secret that is JSON.
type SecretManager struct {
	cfg    SecretManagerConfig
	client *http.Client
	tokens oauth2.TokenSource
}

// Configure implements sdk.SecretSource.
func (s *SecretManager) Configure(_ context.Context, set sdk.SecretSourceSettings) (sdk.SecretSourceDescription, error) {
	if err := sink.ReadConfig(set.Config, &s.cfg); err != nil {
		return sdk.SecretSourceDescription{}, err
	}
	if s.cfg.ServiceAccount == nil {
		return sdk.SecretSourceDescription{}, errors.New("service_account: is missing")
	}
	s.cfg.Endpoint = strings.TrimRight(cmp.Or(s.cfg.Endpoint, secretManagerBase), "/")
	c, err := newClient(service.Config{APIBase: s.cfg.Endpoint, CA: s.cfg.CA, Proxy: s.cfg.Proxy}, &s.cfg.Account, secretManagerBase)
	if err != nil {
		return sdk.SecretSourceDescription{}, errors.New(strings.ReplaceAll(err.Error(), "api_base", "endpoint"))
	}
	s.client, s.tokens = c.sender.HTTP(), c.tokens
	return sdk.SecretSourceDescription{Version: scan.Version}, nil
}

// Read implements sdk.SecretSource.
func (s *SecretManager) Read(ctx context.Context, at sdk.SecretAddress) (sdk.SecretValue, error) {
	address, err := s.address(at.Path)
	if err != nil {
		return sdk.SecretValue{}, err
	}
	t, err := s.tokens.Token()
	if err != nil {
		return sdk.SecretValue{}, tokenRefused(err)
	}
	status, answer, err := secretstore.Do(ctx, s.client, secretManager, &secretstore.Request{
		Method: http.MethodGet, URL: address, Header: map[string]string{"Authorization": "Bearer " + t.AccessToken},
	})
	if err != nil {
		return sdk.SecretValue{}, err
	}
	if status != http.StatusOK {
		return sdk.SecretValue{}, secretstore.Refused(secretManager, status)
	}
	var out struct {
		Name    string `json:"name"`
		Payload struct {
			Data []byte `json:"data"`
		} `json:"payload"`
	}
	if err := secretstore.ReadJSON(secretManager, answer, &out); err != nil {
		return sdk.SecretValue{}, err
	}
	return secretstore.Value(string(out.Payload.Data), at.Field, out.Name[strings.LastIndex(out.Name, "/")+1:])
}

// address is where the secret of a path is read.
func (s *SecretManager) address(path string) (string, error) {
	parts, err := secretstore.Path(path, 1, 3, "project/secret or project/secret/version")
	if err != nil {
		return "", err
	}
	project, version := s.cfg.Project, "latest"
	if len(parts) > 1 {
		project, parts = parts[0], parts[1:]
	}
	if len(parts) > 1 {
		version = parts[1]
	}
	if project == "" {
		return "", secretstore.Malformed("the path names no project, and the secret source has none: write project/secret")
	}
	return s.cfg.Endpoint + "/v1/projects/" + project + "/secrets/" + parts[0] + "/versions/" + version + ":access", nil
}

// tokenRefused tells apart whether the account may not, or the service of tokens is down.
func tokenRefused(err error) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.Response != nil && e.Response.StatusCode < http.StatusInternalServerError {
		return &sdk.SecretError{Reason: sdk.SecretDenied, Text: "Google refuses a token of the service account"}
	}
	return &sdk.SecretError{Reason: sdk.SecretUnavailable, Text: "a token of the service account could not be asked for, or its private_key is none"}
}
