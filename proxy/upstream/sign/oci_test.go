package sign_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// TestOracle: the signature is over what it says, and can be checked with the public key.
func TestOracle(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a := &sign.Account{
		Options: map[string]string{"oci_tenancy": "ten", "oci_user": "usr", "oci_fingerprint": "aa:bb", "oci_compartment_id": "comp"},
		Secrets: map[string]secret.Text{"oci_private_key": secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))},
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := sign.New(sign.Config{Now: func() time.Time { return now }})
	r := request(t, "https://inference.example/openai/v1/chat/completions?x=1")
	r.Method, r.Body = http.MethodPost, []byte(`{"model":"m"}`)
	r.Header.Set("Content-Type", "application/json")
	if err := s.Sign(t.Context(), provider.OracleSignature, a, r); err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`^Signature version="1",keyId="ten/usr/aa:bb",algorithm="rsa-sha256",headers="([^"]+)",signature="([^"]+)"$`).FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		t.Fatalf("got %q", r.Header.Get("Authorization"))
	}
	var lines []string
	for name := range strings.FieldsSeq(m[1]) {
		value := r.Header.Get(name)
		switch name {
		case "(request-target)":
			value = "post /openai/v1/chat/completions?x=1"
		case "host":
			value = "inference.example"
		case "content-length":
			value = "13"
		}
		lines = append(lines, name+": "+value)
	}
	digest := sha256.Sum256(r.Body)
	if r.Header.Get("X-Content-Sha256") != base64.StdEncoding.EncodeToString(digest[:]) || len(lines) != 6 || r.Header.Get("Opc-Compartment-Id") != "comp" {
		t.Errorf("headers %v", r.Header)
	}
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	signature, _ := base64.StdEncoding.DecodeString(m[2])
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		t.Errorf("%q: %v", lines, err)
	}
	if h, err := prove(t, s, provider.OracleSignature, &sign.Account{Key: secret.New("sk-1")}, "https://inference.example/"); err != nil || h.Get("Authorization") != "Bearer sk-1" {
		t.Errorf("with a key: got %v, %v", h, err)
	}
	for _, bad := range []*sign.Account{{}, {Options: a.Options}, {Options: a.Options, Secrets: map[string]secret.Text{"oci_private_key": secret.New("hush")}}} {
		if _, err := prove(t, s, provider.OracleSignature, bad, "https://inference.example/"); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("got %v", err)
		}
	}
}

// TestGigaChat: a token is bought with the authorization key as it is and an id of its own, and kept
// until the moment that is named.
func TestGigaChat(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_ = r.ParseForm()
		if r.Header.Get("Authorization") != "Basic aWQ6aHVzaA==" || r.Form.Get("scope") != "GIGACHAT_API_CORP" || len(r.Header.Get("RqUID")) != 36 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"token1","expires_at":1700001800000}`)
	}))
	t.Cleanup(srv.Close)
	s := sign.New(sign.Config{Client: srv.Client(), Now: func() time.Time { return now }})
	a := &sign.Account{Key: secret.New("aWQ6aHVzaA=="), Options: map[string]string{"gigachat_auth_url": srv.URL + "/oauth", "gigachat_scope": "GIGACHAT_API_CORP"}}
	for range 3 {
		if h, err := prove(t, s, provider.GigaToken, a, "https://giga.example/"); err != nil || h.Get("Authorization") != "Bearer token1" {
			t.Fatalf("got %v, %v", h, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	now = now.Add(31 * time.Minute)
	if _, err := prove(t, s, provider.GigaToken, a, "https://giga.example/"); err != nil || asked != 2 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	if _, err := prove(t, s, provider.GigaToken, &sign.Account{Key: secret.New("hush"), Options: a.Options}, "https://giga.example/"); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}
