package keyservice_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
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

func reversed(b []byte) []byte {
	out := bytes.Clone(b)
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.seen = append(s.seen, r)
	if s.fail != 0 {
		return &http.Response{StatusCode: s.fail, Status: http.StatusText(s.fail), Body: io.NopCloser(bytes.NewReader(body))}, nil
	}
	var in struct {
		Plaintext      []byte `json:"plaintext"`
		Ciphertext     string `json:"ciphertext"`
		CiphertextBlob []byte
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
	case r.Header.Get("X-Amz-Target") == "TrentService.Encrypt":
		out = map[string][]byte{"CiphertextBlob": reversed(in.Plaintext)}
	case r.Header.Get("X-Amz-Target") == "TrentService.Decrypt":
		out = map[string][]byte{"Plaintext": reversed(in.CiphertextBlob)}
	default:
		s.t.Errorf("unexpected request %s %v", r.URL, r.Header)
	}
	b, err := json.Marshal(out)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(b))}, err
}

func env(name string) string {
	return map[string]string{
		"VAULT_TOKEN": "hvs.planted", "VAULT_NAMESPACE": "ns", "AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "planted", "AWS_REGION": "eu-west-1",
	}[name]
}

func TestCover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ location, host, header, want string }{
		{"vault-transit://vault.example:8200/transit/keys/conclave", "https://vault.example:8200", "X-Vault-Token", "hvs.planted"},
		{"vault-transit://127.0.0.1:8200/transit/keys/conclave?tls=off", "http://127.0.0.1:8200", "X-Vault-Namespace", "ns"},
		{"aws-kms://eu-west-1/alias/conclave", "https://kms.eu-west-1.amazonaws.com", "Authorization", "/eu-west-1/kms/aws4_request"},
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
	for _, bad := range []string{"vault-transit://host/transit/conclave", "vault-transit:///transit/keys/x", "aws-kms://eu-west-1", "gcp-kms://projects/p", "azure-kms://x/y", "vault-transit://a b/keys/c"} {
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
	for _, bad := range []string{"aws_kms/!", "gcp_kms/dHhldA=="} {
		if _, sealed, err := s.Open(t.Context(), bad); err == nil || !sealed {
			t.Errorf("%s: got %v, %v, want an error", bad, sealed, err)
		}
	}
}
