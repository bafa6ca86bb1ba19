package sign_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

func request(t *testing.T, address string) *sign.Request {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return &sign.Request{Method: "POST", URL: u, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{}`)}
}

func TestSigV4(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := sign.New(sign.Config{Now: func() time.Time { return now }})
	good := func() *sign.Account {
		return &sign.Account{
			Options: map[string]string{"region": "eu-west-1", "aws_access_key_id": "AKIDEXAMPLE"},
			Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New("hush"), "aws_session_token": secret.New("tok")},
		}
	}
	r := request(t, "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a%3A0/converse")
	if err := s.Sign(t.Context(), provider.SigV4, good(), r); err != nil {
		t.Fatal(err)
	}
	got := r.Header.Get("Authorization")
	for _, part := range []string{
		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-west-1/bedrock/aws4_request", "SignedHeaders=", "content-type", "x-amz-date", "Signature=",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("the signature %q lacks %q", got, part)
		}
	}
	if r.Header.Get("X-Amz-Date") != "20260102T030405Z" || r.Header.Get("X-Amz-Security-Token") != "tok" || strings.Contains(got, "hush") {
		t.Errorf("headers %v", r.Header)
	}
	other := request(t, "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a%3A0/converse")
	other.Body = []byte(`{"x":1}`)
	if err := s.Sign(t.Context(), provider.SigV4, good(), other); err != nil || other.Header.Get("Authorization") == got {
		t.Errorf("another body has the same signature (%v)", err)
	}
	for name, spoil := range map[string]func(*sign.Account){
		"no key":    func(a *sign.Account) { delete(a.Options, "aws_access_key_id") },
		"no secret": func(a *sign.Account) { a.Secrets = nil },
		"no region": func(a *sign.Account) { delete(a.Options, "region") },
	} {
		a := good()
		spoil(a)
		if err := s.Sign(t.Context(), provider.SigV4, a, request(t, "https://h/x")); err == nil {
			t.Errorf("%s: it is signed", name)
		}
	}
	r = request(t, "https://h/x")
	if err := s.Sign(t.Context(), provider.SigV4, &sign.Account{Key: secret.New("abk")}, r); err != nil || r.Header.Get("Authorization") != "Bearer abk" {
		t.Errorf("an API key: %v, %v", r.Header, err)
	}
}

// TestRuntimeSigV4: a runtime of Amazon's sees a signature for its region, and others the key, if there is
// one.
func TestRuntimeSigV4(t *testing.T) {
	t.Parallel()
	s := sign.New(sign.Config{Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }})
	runtime := map[string]string{"runtime_arn": "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/d", "aws_access_key_id": "AKIDEXAMPLE"}
	secrets := map[string]secret.Text{"aws_secret_access_key": secret.New("hush")}
	for _, tt := range []struct {
		name string
		a    *sign.Account
		want string // that the header begins with
	}{
		{"a runtime", &sign.Account{Options: runtime, Secrets: secrets}, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-west-2/bedrock-agentcore/aws4_request"},
		{"a runtime with a key", &sign.Account{Options: runtime, Key: secret.New("k")}, "Bearer k"},
		{"a server of one's own", &sign.Account{}, ""},
		{"a server with a key", &sign.Account{Key: secret.New("k")}, "Bearer k"},
	} {
		r := request(t, "https://h/x")
		if err := s.Sign(t.Context(), provider.RuntimeSigV4, tt.a, r); err != nil {
			t.Fatal(err)
		}
		if got := r.Header.Get("Authorization"); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: got %q", tt.name, got)
		}
	}
	if err := s.Sign(t.Context(), provider.RuntimeSigV4, &sign.Account{Options: map[string]string{"runtime_arn": runtime["runtime_arn"]}}, request(t, "https://h/x")); err == nil {
		t.Error("a runtime without keys is asked")
	}
}

// serviceAccount is the file that Google gives out, with its token service at address.
func serviceAccount(t *testing.T, address string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key_id": "k", "token_uri": address,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

func TestGoogleToken(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if err := r.ParseForm(); err != nil || strings.Count(r.Form.Get("assertion"), ".") != 2 {
			t.Errorf("no assertion: %v", r.Form)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"ya29.token","token_type":"Bearer","expires_in":3600}`))
	}))
	t.Cleanup(srv.Close)
	s := sign.New(sign.Config{})
	a := &sign.Account{Secrets: map[string]secret.Text{"vertex_credentials": secret.New(serviceAccount(t, srv.URL))}}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			r := request(t, "https://h/x")
			if err := s.Sign(t.Context(), provider.GoogleToken, a, r); err != nil || r.Header.Get("Authorization") != "Bearer ya29.token" {
				t.Errorf("got %v, %v", r.Header, err)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("%d tokens were fetched, want 1", n)
	}
}

func TestGoogleToken_Fails(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"secret detail"}`))
	}))
	t.Cleanup(srv.Close)
	s := sign.New(sign.Config{})
	for name, file := range map[string]string{"refused": serviceAccount(t, srv.URL), "no file": "{", "nothing": ""} {
		a := &sign.Account{Secrets: map[string]secret.Text{"vertex_credentials": secret.New(file)}}
		err := s.Sign(t.Context(), provider.GoogleToken, a, request(t, "https://h/x"))
		if err == nil || strings.Contains(err.Error(), "secret detail") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	stalled := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices that a client leaves once it has read its request
		<-r.Context().Done()
	}))
	t.Cleanup(func() { stalled.CloseClientConnections(); stalled.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &sign.Account{Secrets: map[string]secret.Text{"vertex_credentials": secret.New(serviceAccount(t, stalled.URL))}}
	if err := s.Sign(ctx, provider.GoogleToken, a, request(t, "https://h/x")); err == nil {
		t.Error("a request that has ended is signed")
	}
}
