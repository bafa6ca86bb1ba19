//go:build e2e

package counterparts

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/amazon"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// TestSecretsManager_Moto reads secrets of a store that checks who asks.
func TestSecretsManager_Moto(t *testing.T) {
	base := moto(t)
	bare(t, base, url.Values{"Action": {"CreateUser"}, "UserName": {"u"}})
	bare(t, base, url.Values{"Action": {"PutUserPolicy"}, "UserName": {"u"}, "PolicyName": {"p"}, "PolicyDocument": {anyone}})
	var made struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	if err := xml.Unmarshal([]byte(bare(t, base, url.Values{"Action": {"CreateAccessKey"}, "UserName": {"u"}})), &made); err != nil || made.ID == "" {
		t.Fatalf("no key was made: %v", err)
	}
	write := func(action, body string) {
		t.Helper()
		u, err := url.Parse(base + "/")
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"secretsmanager." + action}}
		a := &sign.Account{
			Options: map[string]string{"region": "us-east-1", "aws_service": "secretsmanager", "aws_access_key_id": made.ID},
			Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New(made.Secret)},
		}
		if err := sign.New(sign.Config{}).Sign(t.Context(), provider.SigV4, a, &sign.Request{Method: http.MethodPost, URL: u, Header: h, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
		if status, answer := post(t, u.String(), h, []byte(body)); status != http.StatusOK {
			t.Fatalf("%s: %d %s", action, status, answer)
		}
	}
	write("CreateSecret", `{"Name":"llm/openai","SecretString":"{\"key\":\"sk-1\"}","ClientRequestToken":"11111111-1111-1111-1111-111111111111"}`)
	source := func(key string) *amazon.SecretsManager {
		s := &amazon.SecretsManager{}
		config := fmt.Sprintf(`{"access_key_id":%q,"secret_access_key":%q,"endpoint":%q}`, made.ID, key, base)
		if _, err := s.Configure(t.Context(), sdk.SecretSourceSettings{Config: []byte(config)}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	at := sdk.SecretAddress{Path: "llm/openai", Field: "key"}
	good := source(made.Secret)
	if v, err := good.Read(t.Context(), at); err != nil || v.Text.Reveal() != "sk-1" || v.Version == "" {
		t.Errorf("got %v, version %q, %v", v.Text, v.Version, err)
	}
	write("PutSecretValue", `{"SecretId":"llm/openai","SecretString":"{\"key\":\"sk-2\"}","ClientRequestToken":"22222222-2222-2222-2222-222222222222"}`)
	if v, err := good.Read(t.Context(), at); err != nil || v.Text.Reveal() != "sk-2" {
		t.Errorf("after a rotation got %v, %v", v.Text, err)
	}
	_, err := good.Read(t.Context(), sdk.SecretAddress{Path: "llm/nothing"})
	if e, ok := errors.AsType[*sdk.SecretError](err); !ok || e.Reason != sdk.SecretNotFound {
		t.Errorf("a secret that there is not: %v", err)
	}
	for _, text := range []string{"sk-first", "sk-second"} {
		version, err := good.Write(t.Context(), sdk.SecretWritten{Path: "litellm/alice", Text: sdk.NewSecret(text), Description: "a key"})
		if err != nil || version == "" {
			t.Fatalf("write: version %q, %v", version, err)
		}
		if v, err := good.Read(t.Context(), sdk.SecretAddress{Path: "litellm/alice"}); err != nil || v.Text.Reveal() != text {
			t.Errorf("what was written: %v, %v", v.Text, err)
		}
	}
	if err := good.Delete(t.Context(), "litellm/alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := good.Write(t.Context(), sdk.SecretWritten{Path: "litellm/alice", Text: sdk.NewSecret("sk-third")}); err != nil {
		t.Errorf("a name that was deleted: %v", err)
	}
	_, err = source("wrong").Write(t.Context(), sdk.SecretWritten{Path: "litellm/alice", Text: sdk.NewSecret("x")})
	if e, ok := errors.AsType[*sdk.SecretError](err); !ok || e.Reason != sdk.SecretDenied {
		t.Errorf("written with a wrong key: %v", err)
	}
	_, err = source("wrong").Read(t.Context(), at)
	if e, ok := errors.AsType[*sdk.SecretError](err); !ok || e.Reason != sdk.SecretDenied {
		t.Errorf("a wrong key: %v", err)
	}
}
