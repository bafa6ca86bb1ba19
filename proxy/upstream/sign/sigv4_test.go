package sign_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// TestSigV4_Vectors signs the requests of Amazon's published test suite of signatures.
func TestSigV4_Vectors(t *testing.T) {
	t.Parallel()
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	s := sign.New(sign.Config{Now: func() time.Time { return at }})
	a := &sign.Account{
		Options: map[string]string{"region": "us-east-1", "aws_access_key_id": "AKIDEXAMPLE", "aws_service": "service"},
		Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")},
	}
	for _, tt := range []struct{ name, contentType, body, signed, want string }{
		{"post-vanilla", "", "", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"post-x-www-form-urlencoded", "application/x-www-form-urlencoded", "Param1=value1", "content-type;host;x-amz-date", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	} {
		r := request(t, "https://example.amazonaws.com/")
		r.Header, r.Body = http.Header{}, []byte(tt.body)
		if tt.contentType != "" {
			r.Header.Set("Content-Type", tt.contentType)
		}
		if err := s.Sign(t.Context(), provider.SigV4, a, r); err != nil {
			t.Fatal(err)
		}
		want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + tt.signed + ", Signature=" + tt.want
		if got := r.Header.Get("Authorization"); got != want {
			t.Errorf("%s: got\n%s, want\n%s", tt.name, got, want)
		}
	}
}

// TestSigV4_Path signs a model's path, whose name is escaped, as Amazon's Python library does.
func TestSigV4_Path(t *testing.T) {
	t.Parallel()
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	s := sign.New(sign.Config{Now: func() time.Time { return at }})
	a := &sign.Account{
		Options: map[string]string{"region": "us-east-1", "aws_access_key_id": "AKIDEXAMPLE"},
		Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")},
	}
	r := request(t, "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-3-haiku-20240307-v1%3A0/converse")
	r.Body = []byte(`{"a":1}`)
	if err := s.Sign(t.Context(), provider.SigV4, a, r); err != nil {
		t.Fatal(err)
	}
	const want = "f7140f7be9a00d87f30f129662601128facd61f2fb21b7813b95ca1ca1fe4129"
	if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, "SignedHeaders=content-type;host;x-amz-date, Signature="+want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// sts is a service of temporary keys that gives the nth key of a role, good for an hour.
type sts struct {
	*httptest.Server
	asked  atomic.Int64
	mu     sync.Mutex // guards forms
	forms  []string
	signed []string
	fail   atomic.Bool
}

func newSTS(t *testing.T, now func() time.Time) *sts {
	s := new(sts)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n := s.asked.Add(1)
		s.mu.Lock()
		s.forms, s.signed = append(s.forms, string(body)), append(s.signed, r.Header.Get("Authorization"))
		s.mu.Unlock()
		if s.fail.Load() {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/x</Message></Error></ErrorResponse>`)
			return
		}
		action := "AssumeRole"
		if strings.Contains(string(body), "WebIdentity") {
			action = "AssumeRoleWithWebIdentity"
		}
		_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>ASIA%[2]d</AccessKeyId>`+
			`<SecretAccessKey>made</SecretAccessKey><SessionToken>session%[2]d</SessionToken><Expiration>%[3]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
			action, n, now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(s.Close)
	return s
}

// clock is a clock that is set by hand.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ns.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// key signs a request and tells with which key that was done.
func key(t *testing.T, s *sign.Signer, a *sign.Account) (id, token string) {
	t.Helper()
	r := request(t, "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a/converse")
	if err := s.Sign(t.Context(), provider.SigV4, a, r); err != nil {
		t.Error(err)
		return "", ""
	}
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ = strings.Cut(rest, "/")
	return id, r.Header.Get("X-Amz-Security-Token")
}

func TestSigV4_Role(t *testing.T) {
	t.Parallel()
	c := newClock()
	srv := newSTS(t, c.now)
	s := sign.New(sign.Config{Now: c.now})
	a := &sign.Account{
		Options: map[string]string{
			"region": "eu-west-1", "aws_access_key_id": "AKID", "aws_role_name": "arn:aws:iam::1:role/r", "aws_session_name": "me",
			"aws_external_id": "ext", "aws_sts_endpoint": srv.URL,
		},
		Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New("hush")},
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if id, token := key(t, s, a); id != "ASIA1" || token != "session1" {
				t.Errorf("got %s, %s", id, token)
			}
		})
	}
	all.Wait()
	if n := srv.asked.Load(); n != 1 {
		t.Fatalf("the role was assumed %d times, want once", n)
	}
	form := srv.forms[0]
	for _, part := range []string{"Action=AssumeRole&", "ExternalId=ext", "RoleSessionName=me", "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"} {
		if !strings.Contains(form, part) {
			t.Errorf("the form %q lacks %q", form, part)
		}
	}
	if !strings.Contains(srv.signed[0], "Credential=AKID/20260102/eu-west-1/sts/aws4_request") {
		t.Errorf("signed %q", srv.signed[0])
	}
	c.advance(2 * time.Hour)
	if id, _ := key(t, s, a); id != "ASIA2" {
		t.Errorf("after it expired got %s, want a new key", id)
	}
	// Close to the end, what is kept serves while, and although, it cannot be renewed.
	srv.fail.Store(true)
	c.advance(time.Hour - time.Minute)
	if id, _ := key(t, s, a); id != "ASIA2" {
		t.Errorf("close to its end got %s, want the old key", id)
	}
	c.advance(time.Hour)
	err := s.Sign(t.Context(), provider.SigV4, a, request(t, "https://h/x"))
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") || strings.Contains(err.Error(), "123456789012") {
		t.Errorf("refused: got %v", err)
	}
}

func TestSigV4_WebIdentity(t *testing.T) {
	t.Parallel()
	c := newClock()
	srv := newSTS(t, c.now)
	dir := t.TempDir()
	file, other := filepath.Join(dir, "token"), filepath.Join(dir, "other")
	if err := os.WriteFile(file, []byte("eyJh.eyJz.c2ln\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("root:x:0:0"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := sign.New(sign.Config{Now: c.now})
	a := &sign.Account{Options: map[string]string{"region": "eu-west-1", "aws_role_name": "r", "aws_sts_endpoint": srv.URL, "aws_web_identity_token_file": file}}
	if id, _ := key(t, s, a); id != "ASIA1" || !strings.Contains(srv.forms[0], "WebIdentityToken=eyJh.eyJz.c2ln") || srv.signed[0] != "" {
		t.Errorf("got %s with %v, signed %q", id, srv.forms, srv.signed)
	}
	b := &sign.Account{Options: map[string]string{"region": "eu-west-1", "aws_role_name": "r", "aws_sts_endpoint": srv.URL, "aws_web_identity_token_file": other}}
	if err := s.Sign(t.Context(), provider.SigV4, b, request(t, "https://h/x")); err == nil || srv.asked.Load() != 1 {
		t.Errorf("a file that is no token was sent (%v)", err)
	}
}

func TestSigV4_Environment(t *testing.T) {
	t.Parallel()
	env := map[string]string{"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s"}
	imds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/latest/api/token" && r.Method == http.MethodPut:
			_, _ = io.WriteString(w, "tok")
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "tok":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/role"):
			_, _ = io.WriteString(w, `{"Code":"Success","AccessKeyId":"ASIMDS","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}`)
		default:
			_, _ = io.WriteString(w, "role\n")
		}
	}))
	t.Cleanup(imds.Close)
	machine := map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.URL}
	s := sign.New(sign.Config{Env: func(name string) string { return env[name] }})
	m := sign.New(sign.Config{Env: func(name string) string { return machine[name] }})
	ask := &sign.Account{Options: map[string]string{"region": "eu-west-1", "aws_use_environment": "true"}}
	if id, _ := key(t, s, ask); id != "AKENV" {
		t.Errorf("got %s, want the environment's key", id)
	}
	if id, token := key(t, m, ask); id != "ASIMDS" || token != "t" {
		t.Errorf("got %s, %s, want the machine's key", id, token)
	}
	for _, value := range []string{"", "false"} {
		a := &sign.Account{Options: map[string]string{"region": "eu-west-1", "aws_use_environment": value}}
		if err := s.Sign(t.Context(), provider.SigV4, a, request(t, "https://h/x")); err == nil {
			t.Errorf("the environment is used though the option is %q", value)
		}
	}
}

// TestSigV4_Canceled checks that a request does not wait for keys longer than it lives.
func TestSigV4_Canceled(t *testing.T) {
	t.Parallel()
	stalled := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(func() { stalled.CloseClientConnections(); stalled.Close() })
	s := sign.New(sign.Config{})
	a := &sign.Account{
		Options: map[string]string{"region": "eu-west-1", "aws_access_key_id": "AKID", "aws_role_name": "r", "aws_sts_endpoint": stalled.URL},
		Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New("hush")},
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Sign(ctx, provider.SigV4, a, request(t, "https://h/x")); err == nil {
		t.Error("a request that has ended is signed")
	}
}

// TestSigV4_S3 signs Amazon's own example of a request to S3 ("GET Bucket Lifecycle").
func TestSigV4_S3(t *testing.T) {
	t.Parallel()
	const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	s := sign.New(sign.Config{Now: func() time.Time { return time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC) }})
	a := &sign.Account{
		Options: map[string]string{"region": "us-east-1", "aws_service": "s3", "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"},
		Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")},
	}
	r := request(t, "https://examplebucket.s3.amazonaws.com/?lifecycle")
	r.Method, r.Header, r.Body, r.Digest = http.MethodGet, http.Header{}, nil, nothing
	if err := s.Sign(t.Context(), provider.SigV4, a, r); err != nil {
		t.Fatal(err)
	}
	const want = "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
	if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, want) || r.Header.Get("X-Amz-Content-Sha256") != nothing {
		t.Errorf("got %q, %v, want %s", got, r.Header, want)
	}
}
