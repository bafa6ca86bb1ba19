package google

import (
	"cmp"
	"context"
	"encoding/json"
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

// SecretManager is the secret source that reads and writes Google's Secret Manager. A path is SECRET,
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
	p, err := s.place(at.Path, 3)
	if err != nil {
		return sdk.SecretValue{}, err
	}
	var out struct {
		Name    string `json:"name"`
		Payload struct {
			Data []byte `json:"data"`
		} `json:"payload"`
	}
	if err := s.ask(ctx, http.MethodGet, p.url()+"/versions/"+p.version+":access", nil, &out); err != nil {
		return sdk.SecretValue{}, err
	}
	return secretstore.Value(string(out.Payload.Data), at.Field, out.Name[strings.LastIndex(out.Name, "/")+1:])
}

// ask asks the service one thing and reads its answer.
func (s *SecretManager) ask(ctx context.Context, method, path string, in, out any) error {
	t, err := s.tokens.Token()
	if err != nil {
		return tokenRefused(err)
	}
	r := &secretstore.Request{Method: method, URL: s.cfg.Endpoint + "/v1/" + path, Header: map[string]string{"Authorization": "Bearer " + t.AccessToken}}
	if in != nil {
		r.Header["Content-Type"] = "application/json"
		if r.Body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	status, answer, err := secretstore.Do(ctx, s.client, secretManager, r)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return secretstore.Refused(secretManager, status)
	}
	return secretstore.ReadJSON(secretManager, answer, out)
}

// Write implements sdk.SecretWriter: a secret that is not there is created, replicated as Google likes.
func (s *SecretManager) Write(ctx context.Context, w sdk.SecretWritten) (version string, err error) {
	p, err := s.place(w.Path, 2)
	if err != nil {
		return "", err
	}
	var out struct {
		Name string `json:"name"`
	}
	add := map[string]any{"payload": map[string]any{"data": []byte(w.Text.Reveal())}}
	err = s.ask(ctx, http.MethodPost, p.url()+":addVersion", add, &out)
	if e, ok := errors.AsType[*sdk.SecretError](err); ok && e.Reason == sdk.SecretNotFound {
		made := map[string]any{"replication": map[string]any{"automatic": map[string]any{}}}
		if w.Description != "" {
			made["annotations"] = map[string]string{"description": w.Description}
		}
		if err = s.ask(ctx, http.MethodPost, "projects/"+p.project+"/secrets?secretId="+p.secret, made, &struct{}{}); err == nil {
			err = s.ask(ctx, http.MethodPost, p.url()+":addVersion", add, &out)
		}
	}
	return out.Name[strings.LastIndex(out.Name, "/")+1:], err
}

// Delete implements sdk.SecretWriter: with all its versions.
func (s *SecretManager) Delete(ctx context.Context, path string) error {
	p, err := s.place(path, 2)
	if err != nil {
		return err
	}
	return s.ask(ctx, http.MethodDelete, p.url(), nil, &struct{}{})
}

// place is where a secret is.
type place struct{ project, secret, version string }

func (p place) url() string { return "projects/" + p.project + "/secrets/" + p.secret }

// place reads a path of so many parts at most.
func (s *SecretManager) place(path string, most int) (place, error) {
	parts, err := secretstore.Path(path, 1, most, "project/secret or project/secret/version")
	if err != nil {
		return place{}, err
	}
	p := place{project: s.cfg.Project, version: "latest"}
	if len(parts) > 1 {
		p.project, parts = parts[0], parts[1:]
	}
	p.secret = parts[0]
	if len(parts) > 1 {
		p.version = parts[1]
	}
	if p.project == "" {
		return place{}, secretstore.Malformed("the path names no project, and the secret source has none: write project/secret")
	}
	return p, nil
}

// tokenRefused tells apart whether the account may not, or the service of tokens is down.
func tokenRefused(err error) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.Response != nil && e.Response.StatusCode < http.StatusInternalServerError {
		return &sdk.SecretError{Reason: sdk.SecretDenied, Text: "Google refuses a token of the service account"}
	}
	return &sdk.SecretError{Reason: sdk.SecretUnavailable, Text: "a token of the service account could not be asked for, or its private_key is none"}
}
