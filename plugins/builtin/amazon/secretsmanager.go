package amazon

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/secretstore"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const secretsManager = "AWS Secrets Manager" //nolint:gosec // the name of a service

// SecretsManagerConfig configures SecretsManager.
type SecretsManagerConfig struct {
	Account
	Endpoint string `json:"endpoint,omitempty"` // URL; default: that of the region
	CA       string `json:"ca,omitempty"`
	Proxy    string `json:"proxy,omitempty"`
	KMSKeyID string `json:"kms_key_id,omitempty"` // that seals what is written; default: the account's own
}

// SecretsManager is the secret source that reads and writes AWS Secrets Manager. A path is the name or the ARN of a
// secret, a field one of a secret that is JSON.
type SecretsManager struct {
	cfg    SecretsManagerConfig
	client *http.Client
	now    func() time.Time // nil: time.Now
}

// Configure implements sdk.SecretSource.
func (s *SecretsManager) Configure(_ context.Context, set sdk.SecretSourceSettings) (sdk.SecretSourceDescription, error) {
	if err := sink.ReadConfig(set.Config, &s.cfg); err != nil {
		return sdk.SecretSourceDescription{}, err
	}
	if err := s.cfg.check(); err != nil {
		return sdk.SecretSourceDescription{}, err
	}
	s.cfg.Endpoint = cmp.Or(s.cfg.Endpoint, "https://secretsmanager."+s.cfg.Region+".amazonaws.com")
	var err error
	s.client, err = secretstore.Client("endpoint", s.cfg.CA, s.cfg.Proxy, s.cfg.Endpoint)
	return sdk.SecretSourceDescription{Version: scan.Version}, err
}

// denied and missing are what the service calls refusals, all of which have status 400.
var (
	denied = map[string]bool{
		"AccessDeniedException": true, "DecryptionFailure": true, "ExpiredTokenException": true, "IncompleteSignatureException": true,
		"InvalidClientTokenId": true, "InvalidSignatureException": true, "SignatureDoesNotMatch": true, "UnrecognizedClientException": true,
	}
	missing = map[string]bool{"ResourceNotFoundException": true, "InvalidRequestException": true} // the second: it is to be deleted
	busy    = map[string]bool{"ThrottlingException": true, "RequestLimitExceeded": true, "InternalServiceError": true}
)

// Read implements sdk.SecretSource.
func (s *SecretsManager) Read(ctx context.Context, at sdk.SecretAddress) (sdk.SecretValue, error) {
	id, err := secretID(at.Path)
	if err != nil {
		return sdk.SecretValue{}, err
	}
	var out struct {
		SecretString *string `json:"SecretString"`
		SecretBinary []byte  `json:"SecretBinary"`
		VersionID    string  `json:"VersionId"`
	}
	if err := s.ask(ctx, "GetSecretValue", map[string]any{"SecretId": id}, &out); err != nil {
		return sdk.SecretValue{}, err
	}
	text := string(out.SecretBinary)
	if out.SecretString != nil {
		text = *out.SecretString
	}
	return secretstore.Value(text, at.Field, out.VersionID)
}

func secretID(path string) (string, error) {
	id := strings.Trim(path, "/")
	if id == "" || len(id) > 2048 {
		return "", secretstore.Malformed("the path is not the name or the ARN of a secret")
	}
	return id, nil
}

// ask does one operation of the service and reads its answer.
func (s *SecretsManager) ask(ctx context.Context, operation string, in map[string]any, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	status, answer, err := secretstore.Do(ctx, s.client, secretsManager, &secretstore.Request{
		Method: http.MethodPost, URL: strings.TrimRight(s.cfg.Endpoint, "/") + "/", Body: body, Sign: s.cfg.signer("secretsmanager", s.now),
		Header: map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager." + operation},
	})
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return refusal(status, answer)
	}
	return secretstore.ReadJSON(secretsManager, answer, out)
}

// Write implements sdk.SecretWriter: a secret that is there gets a new version, another one is created.
func (s *SecretsManager) Write(ctx context.Context, w sdk.SecretWritten) (version string, err error) {
	id, err := secretID(w.Path)
	if err != nil {
		return "", err
	}
	var out struct {
		VersionID string `json:"VersionId"`
	}
	in := map[string]any{"SecretId": id, "SecretString": w.Text.Reveal(), "ClientRequestToken": rand.Text() + rand.Text()}
	err = s.ask(ctx, "PutSecretValue", in, &out)
	if e, ok := errors.AsType[*sdk.SecretError](err); !ok || e.Reason != sdk.SecretNotFound {
		return out.VersionID, err
	}
	delete(in, "SecretId")
	in["Name"] = id
	if w.Description != "" {
		in["Description"] = w.Description
	}
	if s.cfg.KMSKeyID != "" {
		in["KmsKeyId"] = s.cfg.KMSKeyID
	}
	err = s.ask(ctx, "CreateSecret", in, &out)
	return out.VersionID, err
}

// Delete implements sdk.SecretWriter: at once, so that the name can be used again.
func (s *SecretsManager) Delete(ctx context.Context, path string) error {
	id, err := secretID(path)
	if err != nil {
		return err
	}
	return s.ask(ctx, "DeleteSecret", map[string]any{"SecretId": id, "ForceDeleteWithoutRecovery": true}, &struct{}{})
}

// refusal is what an answer means that is none: of those with status 400 the type says more.
func refusal(status int, answer []byte) error {
	var e struct {
		Type string `json:"__type"`
	}
	_ = json.Unmarshal(answer, &e) // the status alone is an answer, too
	kind := e.Type[strings.LastIndex(e.Type, "#")+1:]
	why := sdk.SecretError{Text: secretsManager + " answers " + kind}
	switch {
	case denied[kind]:
		why.Reason = sdk.SecretDenied
	case missing[kind]:
		why.Reason = sdk.SecretNotFound
	case busy[kind]:
		why.Reason = sdk.SecretUnavailable
	default:
		return secretstore.Refused(secretsManager, status)
	}
	return &why
}
