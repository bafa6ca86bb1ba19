package keyservice_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/node/keyservice"
)

// service plays the key services: what it seals is the text backwards.
type service struct {
	t    *testing.T
	seen []*http.Request
	fail int
}

// logins are the requests for tokens and what answers them.
func logins(r *http.Request, body []byte) (answer any, ok bool) {
	form, _ := url.ParseQuery(string(body))
	switch {
	case r.URL.Path == "/v1/auth/approle/login" && string(body) == `{"role_id":"role","secret_id":"planted"}`,
		r.URL.Path == "/v1/auth/k8s/login" && string(body) == `{"jwt":"jwt","role":"conclave"}`:
		return map[string]any{"auth": map[string]any{"client_token": "hvs.login", "lease_duration": 60}}, true
	case r.URL.Host == "login.microsoftonline.com" && r.URL.Path == "/tenant/oauth2/v2.0/token" && form.Get("client_secret") == "planted" &&
		form.Get("scope") == "https://vault.azure.net/.default":
		return map[string]any{"access_token": "azure-token", "expires_in": 3600}, true
	case strings.HasPrefix(r.URL.Path, "/computeMetadata/v1/instance/service-accounts/") && r.Header.Get("Metadata-Flavor") == "Google":
		return map[string]any{"access_token": "google-token", "expires_in": 3600, "token_type": "Bearer"}, true
	}
	return nil, false
}

func reversed(b []byte) []byte {
	out := bytes.Clone(b)
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if out, ok := logins(r, body); ok {
		return answer(http.StatusOK, out)
	}
	s.seen = append(s.seen, r)
	if s.fail != 0 {
		return &http.Response{StatusCode: s.fail, Status: http.StatusText(s.fail), Body: io.NopCloser(bytes.NewReader(body))}, nil
	}
	var in struct {
		Plaintext      []byte `json:"plaintext"`
		Ciphertext     string `json:"ciphertext"`
		CiphertextBlob []byte
		Alg, Value     string
	}
	if err := json.Unmarshal(body, &in); err != nil {
		s.t.Errorf("the body is not JSON: %s", body)
	}
	var out any
	switch {
	case strings.HasSuffix(r.URL.Path, "/transit/encrypt/conclave"):
		out = map[string]any{"data": map[string]string{"ciphertext": "vault:v1:" + string(reversed(in.Plaintext))}}
	case strings.HasSuffix(r.URL.Path, "/transit/decrypt/conclave"):
		out = map[string]any{"data": map[string][]byte{"plaintext": reversed([]byte(strings.TrimPrefix(in.Ciphertext, "vault:v1:")))}}
	case strings.HasSuffix(r.URL.Path, "/cryptoKeys/k:encrypt"):
		out = map[string][]byte{"ciphertext": reversed(in.Plaintext)}
	case strings.HasSuffix(r.URL.Path, "/cryptoKeys/k:decrypt"):
		box, _ := base64.StdEncoding.DecodeString(in.Ciphertext)
		out = map[string][]byte{"plaintext": reversed(box)}
	case r.URL.RequestURI() == "/keys/conclave/wrapkey?api-version=7.4", r.URL.RequestURI() == "/keys/conclave/v7/unwrapkey?api-version=7.4":
		box, err := base64.RawURLEncoding.DecodeString(in.Value)
		if err != nil || in.Alg != "RSA-OAEP-256" {
			s.t.Errorf("Azure is asked with %s", body)
		}
		out = map[string]string{"kid": "https://kv.vault.azure.net/keys/conclave/v7", "value": base64.RawURLEncoding.EncodeToString(reversed(box))}
	case r.Header.Get("X-Amz-Target") == "TrentService.Encrypt":
		out = map[string][]byte{"CiphertextBlob": reversed(in.Plaintext)}
	case r.Header.Get("X-Amz-Target") == "TrentService.Decrypt":
		out = map[string][]byte{"Plaintext": reversed(in.CiphertextBlob)}
	default:
		s.t.Errorf("unexpected request %s %v", r.URL, r.Header)
	}
	return answer(http.StatusOK, out)
}

func answer(status int, out any) (*http.Response, error) {
	b, err := json.Marshal(out)
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(b))}, err
}

func env(name string) string {
	return map[string]string{
		"VAULT_TOKEN": "hvs.planted", "VAULT_NAMESPACE": "ns", "AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "planted", "AWS_REGION": "eu-west-1",
		"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "planted", "AZURE_KEY_VAULT_KEY": "kv.vault.azure.net/keys/conclave",
		"GOOGLE_KMS_RESOURCE_NAME": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
	}[name]
}

func TestCover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ location, host, header, want string }{
		{"vault-transit://vault.example:8200/transit/keys/conclave", "https://vault.example:8200", "X-Vault-Token", "hvs.planted"},
		{"vault-transit://127.0.0.1:8200/transit/keys/conclave?tls=off", "http://127.0.0.1:8200", "X-Vault-Namespace", "ns"},
		{"aws-kms://eu-west-1/alias/conclave", "https://kms.eu-west-1.amazonaws.com", "Authorization", "/eu-west-1/kms/aws4_request"},
		{"gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "https://cloudkms.googleapis.com", "Authorization", "Bearer google-token"},
		{"azure-kms://kv.vault.azure.net/keys/conclave", "https://kv.vault.azure.net", "Authorization", "Bearer azure-token"},
	} {
		t.Run(tt.location, func(t *testing.T) {
			t.Parallel()
			s := &service{t: t}
			c, err := keyservice.New(keyservice.Config{Client: &http.Client{Transport: s}, Env: env}).Cover(tt.location)
			if err != nil {
				t.Fatal(err)
			}
			text, err := c.Seal(t.Context(), []byte("plain text"))
			if err != nil || strings.Contains(text, "plain text") {
				t.Fatalf("Seal = %q, %v", text, err)
			}
			plain, err := c.Open(t.Context(), text)
			if err != nil || string(plain) != "plain text" {
				t.Errorf("Open = %q, %v", plain, err)
			}
			for _, r := range s.seen {
				if got := r.URL.Scheme + "://" + r.URL.Host; got != tt.host || !strings.Contains(r.Header.Get(tt.header), tt.want) {
					t.Errorf("asked %s with %s %q, want %s and %q", got, tt.header, r.Header.Get(tt.header), tt.host, tt.want)
				}
			}
			s.fail = http.StatusForbidden
			if _, err := c.Seal(t.Context(), []byte("plain text")); err == nil || strings.Contains(err.Error(), "plain") {
				t.Errorf("a refusal: got %v, want an error without what was sent", err)
			}
			if _, err := c.Open(t.Context(), "something else"); err == nil {
				t.Error("what the service has not sealed was opened")
			}
		})
	}
	for _, bad := range []string{"vault-transit://host/transit/conclave", "vault-transit:///transit/keys/x", "aws-kms://eu-west-1", "gcp-kms://projects/p", "azure-kms://x/y", "azure-kms://kv.vault.azure.net/keys/a/b", "vault-transit://a b/keys/c"} {
		if _, err := keyservice.New(keyservice.Config{}).Cover(bad); err == nil || !keyservice.Location(bad) {
			t.Errorf("%s: got %v, want an error about a location", bad, err)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	s := keyservice.New(keyservice.Config{Client: &http.Client{Transport: &service{t: t}}, Env: env})
	if plain, sealed, err := s.Open(t.Context(), "aws_kms/dHhldA=="); err != nil || !sealed || string(plain) != "text" {
		t.Errorf("got %q, %v, %v, want text", plain, sealed, err)
	}
	if _, sealed, err := s.Open(t.Context(), "sk-plain"); err != nil || sealed {
		t.Errorf("a plain value: %v, %v", sealed, err)
	}
	for _, good := range []string{"gcp_kms/dHhldA==", "azure_kms/v7/dHhldA"} {
		if plain, sealed, err := s.Open(t.Context(), good); err != nil || !sealed || string(plain) != "text" {
			t.Errorf("%s: got %q, %v, %v, want text", good, plain, sealed, err)
		}
	}
	for _, bad := range []string{"aws_kms/!", "gcp_kms/!", "azure_kms/dHhldA"} {
		if _, sealed, err := s.Open(t.Context(), bad); err == nil || !sealed {
			t.Errorf("%s: got %v, %v, want an error", bad, sealed, err)
		}
	}
}

// A node logs in to Vault for what it is, where it has no token.
func TestVault_Login(t *testing.T) {
	t.Parallel()
	jwt := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(jwt, []byte("jwt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		err  string
	}{
		{"approle", map[string]string{"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "planted"}, ""},
		{"kubernetes", map[string]string{"VAULT_KUBERNETES_ROLE": "conclave", "VAULT_KUBERNETES_TOKEN_FILE": jwt, "VAULT_AUTH_MOUNT": "k8s"}, ""},
		{"no file", map[string]string{"VAULT_KUBERNETES_ROLE": "conclave", "VAULT_KUBERNETES_TOKEN_FILE": jwt + "x"}, "no such file"},
		{"refused", map[string]string{"VAULT_ROLE_ID": "another"}, "log in to Vault"},
		{"nothing", nil, "none of VAULT_TOKEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &service{t: t}
			if tt.name == "refused" {
				s.fail = http.StatusBadRequest
			}
			c, err := keyservice.New(keyservice.Config{Client: &http.Client{Transport: s}, Env: func(name string) string { return tt.env[name] }}).
				Cover("vault-transit://vault.example:8200/transit/keys/conclave")
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Seal(t.Context(), []byte("plain"))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || s.seen[0].Header.Get("X-Vault-Token") != "hvs.login" {
				t.Errorf("got %v, with the token %q", err, s.seen[0].Header.Get("X-Vault-Token"))
			}
		})
	}
}
