package amazon_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/amazon"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// secretsManager answers as the service's documentation says; test/counterparts asks moto, which
// checks signatures.
func secretsManager(w http.ResponseWriter, r *http.Request) {
	var in struct{ SecretId string } //nolint:revive // Amazon's spelling
	if json.NewDecoder(r.Body).Decode(&in) != nil || r.Method != http.MethodPost || r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" ||
		!strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/secretsmanager/aws4_request") {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	answers := map[string]string{
		"openai": `{"Name":"openai","VersionId":"v1","SecretString":"{\"key\":\"sk-1\",\"n\":5}"}`,
		"arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf": `{"VersionId":"v2","SecretString":"plain"}`,
		"binary": `{"VersionId":"v3","SecretBinary":"aGk="}`,
	}
	errs := map[string]string{
		"denied": `{"__type":"AccessDeniedException","Message":"a detail"}`, "key": `{"__type":"com.amazonaws#DecryptionFailure"}`,
		"going": `{"__type":"InvalidRequestException"}`, "busy": `{"__type":"ThrottlingException"}`, "odd": `{"__type":"ValidationException"}`,
	}
	if text, ok := answers[in.SecretId]; ok {
		_, _ = io.WriteString(w, text)
		return
	}
	text, ok := errs[in.SecretId]
	if !ok {
		text = `{"__type":"ResourceNotFoundException"}`
	}
	w.WriteHeader(http.StatusBadRequest)
	_, _ = io.WriteString(w, text)
}

func TestSecretsManager(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(secretsManager))
	t.Cleanup(srv.Close)
	s := &amazon.SecretsManager{}
	config := `{"access_key_id":"AKIA","secret_access_key":"x","region":"eu-west-1","endpoint":"` + srv.URL + `"}`
	if _, err := s.Configure(t.Context(), sdk.SecretSourceSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, field, want string }{
		{"a field", "openai", "key", "sk-1"},
		{"a field that is a number", "openai", "n", "5"},
		{"the whole", "/openai", "", `{"key":"sk-1","n":5}`},
		{"an ARN", "arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf", "", "plain"},
		{"binary", "binary", "", "hi"},
		{"a field of what is no JSON", "binary", "x", "malformed"},
		{"a field that there is not", "openai", "x", "not_found"},
		{"a secret that there is not", "nope", "", "not_found"},
		{"one that is to be deleted", "going", "", "not_found"},
		{"denied", "denied", "", "denied"},
		{"denied by the key", "key", "", "denied"},
		{"too many requests", "busy", "", "unavailable"},
		{"a name that cannot be", "odd", "", "malformed"},
		{"no name", "/", "", "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := s.Read(t.Context(), sdk.SecretAddress{Path: tt.path, Field: tt.field})
			text := got.Text.Reveal()
			if e, ok := errors.AsType[*sdk.SecretError](err); ok {
				text = string(e.Reason)
			}
			if text != tt.want || err != nil && strings.Contains(err.Error(), "a detail") {
				t.Errorf("got %q, %v, want %q", text, err, tt.want)
			}
		})
	}
	for _, bad := range []string{``, `{"access_key_id":"x"}`, `{"access_key_id":"x","secret_access_key":"y","endpoint":"nowhere"}`, `{"acces_key_id":"x"}`} {
		if _, err := (&amazon.SecretsManager{}).Configure(t.Context(), sdk.SecretSourceSettings{Config: []byte(bad)}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
