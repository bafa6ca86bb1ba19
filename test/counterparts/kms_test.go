//go:build e2e

package counterparts

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/node/keyservice"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// led sends every request to one address, whatever host it names.
type led struct{ host string }

// RoundTrip implements http.RoundTripper.
func (l led) RoundTrip(req *http.Request) (*http.Response, error) {
	to := req.Clone(req.Context())
	to.URL.Scheme, to.URL.Host, to.Host = "http", l.host, req.URL.Host
	return http.DefaultTransport.RoundTrip(to)
}

// TestKMS_Moto seals and opens by a key of a service that checks who asks.
func TestKMS_Moto(t *testing.T) {
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
	key := func() string {
		t.Helper()
		u, err := url.Parse(base + "/")
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"TrentService.CreateKey"}}
		a := &sign.Account{
			Options: map[string]string{"region": "us-east-1", "aws_service": "kms", "aws_access_key_id": made.ID},
			Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New(made.Secret)},
		}
		if err := sign.New(sign.Config{}).Sign(t.Context(), provider.SigV4, a, &sign.Request{Method: http.MethodPost, URL: u, Header: h, Body: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		status, answer := post(t, u.String(), h, []byte("{}"))
		var out struct{ KeyMetadata struct{ KeyId string } } //nolint:revive // Amazon's name
		if err := json.Unmarshal([]byte(answer), &out); err != nil || status != http.StatusOK || out.KeyMetadata.KeyId == "" {
			t.Fatalf("CreateKey: %d %s", status, answer)
		}
		return out.KeyMetadata.KeyId
	}
	services := func(text string) *keyservice.Services {
		env := map[string]string{"AWS_ACCESS_KEY_ID": made.ID, "AWS_SECRET_ACCESS_KEY": text, "AWS_REGION_NAME": "us-east-1"}
		return keyservice.New(keyservice.Config{
			Client: &http.Client{Transport: led{strings.TrimPrefix(base, "http://")}}, Env: func(name string) string { return env[name] },
		})
	}
	cover := func(s *keyservice.Services, key string) secret.Cover {
		t.Helper()
		c, err := s.Cover("aws-kms://us-east-1/" + key)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, other := key(), key()
	good := services(made.Secret)
	sealed, err := cover(good, one).Seal(t.Context(), []byte("the KEK of a cluster"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := cover(good, one).Open(t.Context(), sealed); err != nil || string(plain) != "the KEK of a cluster" {
		t.Errorf("opened: %q, %v", plain, err)
	}
	if plain, was, err := good.Open(t.Context(), sealed); err != nil || !was || string(plain) != "the KEK of a cluster" {
		t.Errorf("opened as a value of the configuration: %q, %v, %v", plain, was, err)
	}
	if _, err := cover(good, other).Open(t.Context(), sealed); err == nil {
		t.Error("another key opens it")
	}
	box, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sealed, "aws_kms/"))
	if err != nil {
		t.Fatal(err)
	}
	box[len(box)-1] ^= 1
	if _, err := cover(good, one).Open(t.Context(), "aws_kms/"+base64.StdEncoding.EncodeToString(box)); err == nil {
		t.Error("what was changed opens")
	}
	for what, do := range map[string]func(secret.Cover) error{
		"seal": func(c secret.Cover) error { _, err := c.Seal(t.Context(), []byte("x")); return err },
		"open": func(c secret.Cover) error { _, err := c.Open(t.Context(), sealed); return err },
	} {
		if err := do(cover(services("wrong"), one)); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s with a wrong secret: %v", what, err)
		}
	}
}
