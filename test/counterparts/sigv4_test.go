//go:build e2e

package counterparts

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// moto starts a stand-in of Amazon's services that, after three requests, checks every signature.
func moto(t *testing.T) (address string) {
	t.Helper()
	python := os.Getenv("CONCLAVE_MOTO_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_MOTO_PYTHON names no interpreter with moto; run make e2e")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(host)
	cmd := exec.CommandContext(t.Context(), python, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", port)
	cmd.Env = append(os.Environ(), "INITIAL_NO_AUTH_ACTION_COUNT=3")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	said := bufio.NewScanner(out)
	for said.Scan() {
		if strings.Contains(said.Text(), "Running on") {
			go io.Copy(io.Discard, out) //nolint:errcheck // ends with the process
			return "http://" + host
		}
	}
	t.Fatalf("moto has ended before it listened: %v", said.Err())
	return ""
}

// post sends a request and returns its answer.
func post(t *testing.T, address string, h http.Header, body []byte) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// bare calls IAM while nobody checks signatures yet.
func bare(t *testing.T, address string, form url.Values) string {
	t.Helper()
	form.Set("Version", "2010-05-08")
	status, answer := post(t, address, http.Header{
		"Content-Type":  {"application/x-www-form-urlencoded; charset=utf-8"},
		"Authorization": {"AWS4-HMAC-SHA256 Credential=none/20260102/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none"},
	}, []byte(form.Encode()))
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", form.Get("Action"), status, answer)
	}
	return answer
}

// signed sends a signed request.
func signed(t *testing.T, a *sign.Account, address, contentType string, body []byte) (status int, answer string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Content-Type": {contentType}, "User-Agent": {"conclave"}}
	r := &sign.Request{Method: http.MethodPost, URL: u, Header: h, Body: body}
	if err := sign.New(sign.Config{}).Sign(context.Background(), provider.SigV4, a, r); err != nil {
		t.Fatal(err)
	}
	return post(t, address, h, body)
}

const anyone = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// TestSigV4_Moto has signatures checked by somebody else: with a key of one's own, with a wrong
// one, and with that of a role.
func TestSigV4_Moto(t *testing.T) {
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
	account := func(secretKey string, more map[string]string) *sign.Account {
		a := &sign.Account{
			Options: map[string]string{"region": "us-east-1", "aws_access_key_id": made.ID},
			Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New(secretKey)},
		}
		maps.Copy(a.Options, more)
		return a
	}
	p, _ := provider.Lookup("bedrock")
	address, err := p.URL(base, llm.Place{Endpoint: llm.Messages, Model: "anthropic.claude-v2"}) // moto unescapes paths before it checks them
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hé"}]}`)
	if status, answer := signed(t, account(made.Secret, nil), address, "application/json", body); status != http.StatusOK {
		t.Errorf("the right key: got %d %s", status, answer)
	}
	if status, answer := signed(t, account("wrong", nil), address, "application/json", body); status != http.StatusForbidden || !strings.Contains(answer, "Signature") {
		t.Errorf("a wrong key: got %d %s", status, answer)
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}]}`
	for _, form := range []url.Values{
		{"Action": {"CreateRole"}, "RoleName": {"r"}, "AssumeRolePolicyDocument": {trust}},
		{"Action": {"PutRolePolicy"}, "RoleName": {"r"}, "PolicyName": {"p"}, "PolicyDocument": {anyone}},
	} {
		form.Set("Version", "2010-05-08")
		if status, answer := signed(t, account(made.Secret, map[string]string{"aws_service": "iam"}), base+"/", "application/x-www-form-urlencoded; charset=utf-8", []byte(form.Encode())); status != http.StatusOK {
			t.Fatalf("%s: %d %s", form.Get("Action"), status, answer)
		}
	}
	role := account(made.Secret, map[string]string{"aws_role_name": "arn:aws:iam::123456789012:role/r", "aws_external_id": "e", "aws_sts_endpoint": base + "/"})
	if status, answer := signed(t, role, address, "application/json", body); status != http.StatusOK {
		t.Errorf("a role's key: got %d %s", status, answer)
	}
}
