package amazon

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

const secretsManager = "AWS Secrets Manager" //nolint:gosec // the name of a service

// SecretsManagerConfig configures SecretsManager.
type SecretsManagerConfig struct {
	Account
	Endpoint string `json:"endpoint,omitempty"` // URL; default: that of the region
	CA       string `json:"ca,omitempty"`
	Proxy    string `json:"proxy,omitempty"`
}

// SecretsManager is the secret source that reads AWS Secrets Manager. A path is the name or the ARN of a
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
	id := strings.Trim(at.Path, "/")
	if id == "" || len(id) > 2048 {
		return sdk.SecretValue{}, secretstore.Malformed("the path is not the name or the ARN of a secret")
	}
	body, err := json.Marshal(map[string]string{"SecretId": id})
	if err != nil {
		return sdk.SecretValue{}, err
	}
	status, answer, err := secretstore.Do(ctx, s.client, secretsManager, &secretstore.Request{
		Method: http.MethodPost, URL: strings.TrimRight(s.cfg.Endpoint, "/") + "/", Body: body, Sign: s.cfg.signer("secretsmanager", s.now),
		Header: map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"},
	})
	if err != nil {
		return sdk.SecretValue{}, err
	}
	if status != http.StatusOK {
		return sdk.SecretValue{}, refusal(status, answer)
	}
	var out struct {
		SecretString *string `json:"SecretString"`
		SecretBinary []byte  `json:"SecretBinary"`
		VersionID    string  `json:"VersionId"`
	}
	if err := secretstore.ReadJSON(secretsManager, answer, &out); err != nil {
		return sdk.SecretValue{}, err
	}
	text := string(out.SecretBinary)
	if out.SecretString != nil {
		text = *out.SecretString
	}
	return secretstore.Value(text, at.Field, out.VersionID)
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
