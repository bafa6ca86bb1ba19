//go:build e2e

package counterparts

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/keyservice"
	"github.com/conclave-llm/conclave/plugins/builtin/vaultkv"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/secret"
	"github.com/conclave-llm/conclave/test/cluster"
)

const baoRoot = "root-of-the-test"

// bao is a server of OpenBao, or of Vault, in memory.
type bao struct {
	t       *testing.T
	address string // URL
	client  *http.Client
	ca      string // PEM of the authority of its certificate; "": it has none
}

// startBao starts the server that CONCLAVE_BAO_BIN names: bao, or vault, which takes the same arguments.
func startBao(t *testing.T, more ...string) *bao {
	t.Helper()
	bin := os.Getenv("CONCLAVE_BAO_BIN")
	if bin == "" {
		t.Skip("CONCLAVE_BAO_BIN names no binary of OpenBao or Vault; docs/testing.md says how one is made")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	_ = l.Close()
	args := append([]string{"server", "-dev", "-dev-no-store-token", "-dev-root-token-id=" + baoRoot, "-dev-listen-address=" + host}, more...)
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	b := &bao{t: t, address: "http://" + host, client: http.DefaultClient}
	end, look := time.NewTimer(30*time.Second), time.NewTicker(50*time.Millisecond)
	defer end.Stop()
	defer look.Stop()
	for {
		b.trust(more)
		if status, _ := b.ask("", "GET", "sys/mounts", nil); status == http.StatusOK {
			return b
		}
		select {
		case <-look.C:
		case <-end.C:
			t.Fatalf("%s does not answer at %s", bin, host)
		}
	}
}

// trust takes the authority that a server with TLS has made, once it has.
func (b *bao) trust(args []string) {
	for _, a := range args {
		dir, ok := strings.CutPrefix(a, "-dev-tls-cert-dir=")
		found, _ := filepath.Glob(filepath.Join(dir, "*-ca.pem"))
		if !ok || len(found) == 0 || b.ca != "" {
			continue
		}
		text, err := os.ReadFile(found[0])
		pool := x509.NewCertPool()
		if err != nil || !pool.AppendCertsFromPEM(text) {
			continue // it is being written
		}
		b.ca, b.address = string(text), strings.Replace(b.address, "http:", "https:", 1)
		b.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	}
}

// ask calls the server as root, in a namespace ("" the root).
func (b *bao) ask(namespace, method, path string, body any) (status int, data map[string]any) {
	b.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.address+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", baoRoot)
	if namespace != "" {
		req.Header.Set("X-Vault-Namespace", namespace)
	}
	res, err := b.client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = res.Body.Close() }()
	var out struct {
		Data map[string]any
		Auth map[string]any
	}
	answer, err := io.ReadAll(res.Body)
	if err == nil && len(answer) > 0 {
		err = json.Unmarshal(answer, &out)
	}
	if err != nil {
		b.t.Fatalf("%s %s: %v %s", method, path, err, answer)
	}
	if out.Data == nil {
		out.Data = out.Auth
	}
	return res.StatusCode, out.Data
}

// must is ask of what has to work.
func (b *bao) must(namespace, method, path string, body any) map[string]any {
	b.t.Helper()
	status, data := b.ask(namespace, method, path, body)
	if status >= 300 {
		b.t.Fatalf("%s %s: %d", method, path, status)
	}
	return data
}

// prepare makes a policy and an AppRole with it, whose tokens live for ttl and are renewed up to most.
func (b *bao) prepare(namespace, ttl, most string) (roleID, secretID string) {
	b.t.Helper()
	policy := `path "secret/*" { capabilities = ["create", "read", "update", "delete"] }
path "old/*" { capabilities = ["create", "read", "update", "delete"] }
path "secret/data/closed/*" { capabilities = ["deny"] }
path "transit/encrypt/cluster" { capabilities = ["update"] }
path "transit/decrypt/cluster" { capabilities = ["update"] }`
	b.must(namespace, "PUT", "sys/policies/acl/conclave", map[string]any{"policy": policy})
	b.must(namespace, "POST", "sys/auth/approle", map[string]any{"type": "approle"})
	b.must(namespace, "POST", "auth/approle/role/conclave", map[string]any{"token_policies": "conclave", "token_ttl": ttl, "token_max_ttl": most})
	roleID, _ = b.must(namespace, "GET", "auth/approle/role/conclave/role-id", nil)["role_id"].(string)
	secretID, _ = b.must(namespace, "POST", "auth/approle/role/conclave/secret-id", nil)["secret_id"].(string)
	return roleID, secretID
}

// source is the secret source with the configuration, beside the address.
func (b *bao) source(config map[string]any) *vaultkv.Vault {
	b.t.Helper()
	config["address"] = b.address
	if b.ca != "" {
		config["ca"] = b.ca
	}
	text, err := json.Marshal(config)
	if err != nil {
		b.t.Fatal(err)
	}
	v := &vaultkv.Vault{}
	if _, err := v.Configure(b.t.Context(), sdk.SecretSourceSettings{Config: text}); err != nil {
		b.t.Fatal(err)
	}
	return v
}

// reads says what the source reads, or the reason why not.
func (b *bao) reads(v *vaultkv.Vault, path, field string) string {
	b.t.Helper()
	got, err := v.Read(b.t.Context(), sdk.SecretAddress{Path: path, Field: field})
	return said(got.Text.Reveal()+" "+got.Version, err)
}

func said(text string, err error) string {
	if e, ok := errors.AsType[*sdk.SecretError](err); ok {
		return string(e.Reason)
	}
	if err != nil {
		return err.Error()
	}
	return text
}

// TestVault_Bao reads and writes secrets of both versions of the KV engine, by a token and by an AppRole whose tokens end.
func TestVault_Bao(t *testing.T) {
	b := startBao(t)
	b.must("", "POST", "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	roleID, secretID := b.prepare("", "1h", "2h")
	b.must("", "POST", "secret/data/llm/openai", map[string]any{"data": map[string]any{"key": "sk-1", "other": 7}})
	b.must("", "POST", "secret/data/closed/x", map[string]any{"data": map[string]any{"key": "sk-closed"}})
	b.must("", "POST", "old/llm", map[string]any{"key": "sk-old"})
	token, _ := b.must("", "POST", "auth/token/create", map[string]any{"policies": []string{"conclave"}, "ttl": "1h"})["client_token"].(string)
	for name, v := range map[string]*vaultkv.Vault{
		"token":   b.source(map[string]any{"token": token}),
		"approle": b.source(map[string]any{"auth": "approle", "role_id": roleID, "secret_id": secretID}),
	} {
		for at, want := range map[[2]string]string{
			{"secret/llm/openai", "key"}: "sk-1 1", {"secret/llm/openai", "other"}: "7 1", {"secret/llm/openai", "none"}: "not_found",
			{"secret/llm/nothing", "key"}: "not_found", {"secret/closed/x", "key"}: "denied", {"nowhere/llm", "key"}: "denied",
			{"old/llm", ""}: "sk-old ", {"old/nothing", ""}: "not_found",
		} {
			if got := b.reads(v, at[0], at[1]); got != want {
				t.Errorf("%s: %v: got %q, want %q", name, at, got, want)
			}
		}
		for _, engine := range []string{"secret", "old"} {
			for _, text := range []string{"sk-first", "sk-second"} {
				if _, err := v.Write(t.Context(), sdk.SecretWritten{Path: engine + "/litellm/alice", Text: sdk.NewSecret(text), Description: "a key"}); err != nil {
					t.Fatalf("%s: write to %s: %v", name, engine, err)
				}
				if got := b.reads(v, engine+"/litellm/alice", ""); !strings.HasPrefix(got, text+" ") {
					t.Errorf("%s: what was written to %s: %q", name, engine, got)
				}
			}
			if err := v.Delete(t.Context(), engine+"/litellm/alice"); err != nil {
				t.Errorf("%s: delete in %s: %v", name, engine, err)
			}
			if got := b.reads(v, engine+"/litellm/alice", ""); got != "not_found" {
				t.Errorf("%s: what was deleted in %s: %q", name, engine, got)
			}
			_, err := v.Write(t.Context(), sdk.SecretWritten{Path: engine + "/../sys/x", Text: sdk.NewSecret("x")})
			if said("", err) != "malformed" {
				t.Errorf("%s: a path that leaves %s: %v", name, engine, err)
			}
		}
		_, err := v.Write(t.Context(), sdk.SecretWritten{Path: "secret/closed/x", Text: sdk.NewSecret("x")})
		if said("", err) != "denied" {
			t.Errorf("%s: written where it may not: %v", name, err)
		}
	}
	if got := b.reads(b.source(map[string]any{"token": "s.nobody"}), "secret/llm/openai", "key"); got != "denied" {
		t.Errorf("a token that there is not: %q", got)
	}
	if got := b.reads(b.source(map[string]any{"auth": "approle", "role_id": roleID, "secret_id": "wrong"}), "secret/llm/openai", "key"); got != "denied" {
		t.Errorf("a wrong secret of the role: %q", got)
	}
}

// TestVault_BaoTokens lets tokens end: by their time, which renewal puts off up to a point, and by revocation.
func TestVault_BaoTokens(t *testing.T) {
	b := startBao(t)
	roleID, secretID := b.prepare("", "2s", "5s")
	b.must("", "POST", "secret/data/llm/openai", map[string]any{"data": map[string]any{"key": "sk-1"}})
	v := b.source(map[string]any{"auth": "approle", "role_id": roleID, "secret_id": secretID})
	alone := b.source(map[string]any{"token": b.must("", "POST", "auth/token/create", map[string]any{"policies": []string{"conclave"}, "ttl": "2s"})["client_token"]})
	look, end := time.NewTicker(100*time.Millisecond), time.NewTimer(8*time.Second)
	defer look.Stop()
	defer end.Stop()
	for reads := true; reads; {
		for name, one := range map[string]*vaultkv.Vault{"approle": v, "token": alone} {
			if got := b.reads(one, "secret/llm/openai", "key"); got != "sk-1 1" {
				t.Fatalf("%s: %q while its token is renewed, or asked for anew", name, got)
			}
		}
		select {
		case <-look.C:
		case <-end.C:
			reads = false
		}
	}
	for _, accessor := range b.must("", "LIST", "auth/token/accessors", nil)["keys"].([]any) {
		about := b.must("", "POST", "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
		if fmt.Sprint(about["meta"]) != "<nil>" && strings.Contains(fmt.Sprint(about["path"]), "approle") {
			b.must("", "POST", "auth/token/revoke-accessor", map[string]any{"accessor": accessor})
		}
	}
	if got := b.reads(v, "secret/llm/openai", "key"); got != "sk-1 1" {
		t.Errorf("%q after its token was revoked", got)
	}
}

// TestVault_BaoNamespace reads in a namespace, which OpenBao has and Vault sells.
func TestVault_BaoNamespace(t *testing.T) {
	b := startBao(t)
	if status, _ := b.ask("", "POST", "sys/namespaces/house", nil); status >= 300 {
		t.Skipf("the server has no namespaces: %d", status)
	}
	b.must("house", "POST", "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	roleID, secretID := b.prepare("house", "1h", "2h")
	b.must("house", "POST", "secret/data/llm", map[string]any{"data": map[string]any{"key": "sk-house"}})
	role := func(namespace string) map[string]any {
		return map[string]any{"auth": "approle", "role_id": roleID, "secret_id": secretID, "namespace": namespace}
	}
	if got := b.reads(b.source(role("house")), "secret/llm", ""); got != "sk-house 1" {
		t.Errorf("in the namespace: %q", got)
	}
	if got := b.reads(b.source(role("")), "secret/llm", ""); got != "denied" {
		t.Errorf("outside of it: %q", got)
	}
}

// certificate makes a certificate of its own for the name, and its key, in PEM.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	about := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: bytes}))
}

// TestVault_BaoCert logs in with a certificate, over TLS.
func TestVault_BaoCert(t *testing.T) {
	b := startBao(t, "-dev-tls", "-dev-tls-cert-dir="+t.TempDir())
	b.prepare("", "1h", "2h")
	b.must("", "POST", "secret/data/llm", map[string]any{"data": map[string]any{"key": "sk-1"}})
	b.must("", "POST", "sys/auth/cert", map[string]any{"type": "cert"})
	b.must("", "POST", "sys/auth/machines", map[string]any{"type": "cert"})
	cert, key := certificate(t, "gateway")
	other, otherKey := certificate(t, "somebody")
	for _, mount := range []string{"cert", "machines"} {
		b.must("", "POST", "auth/"+mount+"/certs/conclave", map[string]any{"certificate": cert, "token_policies": "conclave", "token_ttl": "1h"})
	}
	for _, tt := range []struct {
		name   string
		config map[string]any
		want   string
	}{
		{"the certificate", map[string]any{"client_cert": cert, "client_key": key}, "sk-1 1"},
		{"for a role", map[string]any{"client_cert": cert, "client_key": key, "role": "conclave"}, "sk-1 1"},
		{"at another mount", map[string]any{"client_cert": cert, "client_key": key, "auth_mount": "machines"}, "sk-1 1"},
		{"for a role that there is not", map[string]any{"client_cert": cert, "client_key": key, "role": "nobody"}, "denied"},
		{"another's", map[string]any{"client_cert": other, "client_key": otherKey}, "denied"},
		{"at a mount that there is not", map[string]any{"client_cert": cert, "client_key": key, "auth_mount": "nowhere"}, "denied"},
	} {
		tt.config["auth"] = "cert"
		if got := b.reads(b.source(tt.config), "secret/llm", ""); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	b.ca, _ = certificate(t, "another authority")
	if got := b.reads(b.source(map[string]any{"auth": "cert", "client_cert": cert, "client_key": key}), "secret/llm", ""); got != "unavailable" {
		t.Errorf("a server of an authority that is not trusted: got %q", got)
	}
}

// account is the token of a pod's account, as Kubernetes signs it.
func account(t *testing.T, key *ecdsa.PrivateKey, namespace, name string) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now().Unix()
	signed := part(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": "https://kubernetes.default.svc", "aud": []string{"https://kubernetes.default.svc"}, "iat": now, "nbf": now, "exp": now + 3600,
		"sub":           "system:serviceaccount:" + namespace + ":" + name,
		"kubernetes.io": map[string]any{"namespace": namespace, "serviceaccount": map[string]string{"name": name, "uid": "uid-" + name}},
	})
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// TestVault_BaoKubernetes logs in with the token of a pod's account, about which the server asks a stand-in of Kubernetes' API
// (tokenreviews); the token in the file changes, as Kubernetes changes it.
func TestVault_BaoKubernetes(t *testing.T) {
	b := startBao(t)
	b.prepare("", "1s", "1s")
	b.must("", "POST", "secret/data/llm", map[string]any{"data": map[string]any{"key": "sk-1"}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, another := account(t, key, "apps", "gateway"), account(t, key, "apps", "somebody")
	var mu sync.Mutex // guards revoked
	revoked := ""
	kubernetes := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Spec struct {
				Token     string
				Audiences []string
			}
		}
		if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		who := map[string]string{good: "gateway", another: "somebody"}[in.Spec.Token]
		status := map[string]any{"authenticated": who != "" && in.Spec.Token != revoked, "audiences": in.Spec.Audiences}
		if who != "" {
			status["user"] = map[string]any{"username": "system:serviceaccount:apps:" + who, "uid": "uid-" + who, "groups": []string{"system:serviceaccounts"}}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
	}))
	t.Cleanup(kubernetes.Close)
	b.must("", "POST", "sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	b.must("", "POST", "auth/kubernetes/config", map[string]any{
		"kubernetes_host": kubernetes.URL, "token_reviewer_jwt": "reviewer", "disable_local_ca_jwt": true,
		"kubernetes_ca_cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: kubernetes.Certificate().Raw})),
	})
	b.must("", "POST", "auth/kubernetes/role/conclave", map[string]any{
		"bound_service_account_names": "gateway", "bound_service_account_namespaces": "apps", "token_policies": "conclave", "token_ttl": "1s", "token_max_ttl": "1s",
	})
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := func(role string) *vaultkv.Vault {
		return b.source(map[string]any{"auth": "kubernetes", "role": role, "token_file": file})
	}
	if got := b.reads(source("conclave"), "secret/llm", ""); got != "unavailable" {
		t.Errorf("without a token: got %q", got)
	}
	write(another)
	if got := b.reads(source("conclave"), "secret/llm", ""); got != "denied" {
		t.Errorf("another account: got %q", got)
	}
	write(good)
	if got := b.reads(source("nobody"), "secret/llm", ""); got != "denied" {
		t.Errorf("a role that there is not: got %q", got)
	}
	v := source("conclave")
	if got := b.reads(v, "secret/llm", ""); got != "sk-1 1" {
		t.Fatalf("got %q", got)
	}
	fresh := account(t, key, "apps", "gateway")
	mu.Lock()
	good, revoked = fresh, good // the one before counts no more
	mu.Unlock()
	write(fresh)
	look, end := time.NewTicker(100*time.Millisecond), time.NewTimer(3*time.Second)
	defer look.Stop()
	defer end.Stop()
	for reads := true; reads; { // over the end of the tokens that logins gave
		if got := b.reads(v, "secret/llm", ""); got != "sk-1 1" {
			t.Fatalf("after Kubernetes has written another token: got %q", got)
		}
		select {
		case <-look.C:
		case <-end.C:
			reads = false
		}
	}
}

// transit is the key services with the variables, and the cover by a key of the Transit engine.
func (b *bao) transit(env map[string]string, key string) secret.Cover {
	b.t.Helper()
	s := keyservice.New(keyservice.Config{Client: http.DefaultClient, Env: func(name string) string { return env[name] }})
	c, err := s.Cover("vault-transit://" + strings.TrimPrefix(b.address, "http://") + "/transit/keys/" + key + "?tls=off")
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// TestTransit_Bao seals and opens by a key of the Transit engine, by a token and by an AppRole.
func TestTransit_Bao(t *testing.T) {
	b := startBao(t)
	b.must("", "POST", "sys/mounts/transit", map[string]any{"type": "transit"})
	for _, key := range []string{"cluster", "other"} {
		b.must("", "POST", "transit/keys/"+key, nil)
	}
	roleID, secretID := b.prepare("", "1h", "2h")
	root, role := map[string]string{"VAULT_TOKEN": baoRoot}, map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_SECRET_ID": secretID}
	sealed, err := b.transit(role, "cluster").Seal(t.Context(), []byte("the KEK of a cluster"))
	if err != nil {
		t.Fatal(err)
	}
	b.must("", "POST", "transit/keys/cluster/rotate", nil)
	for name, env := range map[string]map[string]string{"token": root, "approle": role} {
		if plain, err := b.transit(env, "cluster").Open(t.Context(), sealed); err != nil || string(plain) != "the KEK of a cluster" {
			t.Errorf("%s: opened %q, %v, after another version of the key was made", name, plain, err)
		}
	}
	if _, err := b.transit(root, "other").Open(t.Context(), sealed); err == nil {
		t.Error("another key opens it")
	}
	if _, err := b.transit(root, "cluster").Open(t.Context(), sealed[:len(sealed)-2]+"AA"); err == nil {
		t.Error("what was changed opens")
	}
	if _, err := b.transit(role, "other").Seal(t.Context(), []byte("x")); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("by a key that the role may not use: %v", err)
	}
	if _, err := b.transit(map[string]string{"VAULT_TOKEN": "s.nobody"}, "cluster").Open(t.Context(), sealed); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("with a token that there is not: %v", err)
	}
}

// TestCluster_Bao runs two nodes whose KEK is sealed by the Transit engine, whose provider's key is in the KV engine, and
// which keep virtual keys there.
func TestCluster_Bao(t *testing.T) {
	b := startBao(t)
	b.must("", "POST", "sys/mounts/transit", map[string]any{"type": "transit"})
	b.must("", "POST", "transit/keys/cluster", nil)
	roleID, secretID := b.prepare("", "5s", "20s")
	b.must("", "POST", "secret/data/llm/openai", map[string]any{"data": map[string]any{"key": "sk-upstream"}})
	t.Setenv("VAULT_ROLE_ID", roleID)
	t.Setenv("VAULT_SECRET_ID", secretID)
	c := cluster.StartWith(t, 2, fmt.Sprintf("kek = %q", "vault-transit://"+strings.TrimPrefix(b.address, "http://")+"/transit/keys/cluster?tls=off"))
	for _, n := range c.Nodes {
		if kek, err := os.ReadFile(filepath.Join(n.Dir, "kek")); err != nil || !bytes.Contains(kek, []byte("vault:v1:")) {
			t.Errorf("node %s: the KEK is not sealed: %v", n.Name, err)
		}
	}
	create := func(path string, fields map[string]any) (made map[string]any) {
		t.Helper()
		if status := c.Admin(0, http.MethodPost, "/api/v1/"+path, fields, &made); status != http.StatusCreated {
			t.Fatalf("make %s: %d", path, status)
		}
		return made
	}
	create("secret_sources", map[string]any{
		"name": "vault", "plugin": "vault", "access_mode": "read_and_write", "store_virtual_keys": true, "prefix_for_stored_virtual_keys": "secret/litellm/",
		"config": map[string]any{"address": b.address, "auth": "approle", "role_id": roleID}, "secrets": map[string]any{"secret_id": secretID},
	})
	create("models", map[string]any{"name": "kept", "deployments": []map[string]any{{
		"name": "d", "provider": "openai", "model": "demo", "api_base": c.MockURL() + "/v1", "api_key": "vault://secret/llm/openai#key",
	}}})
	var id, text string
	c.Await("a key is made and kept", 20*time.Second, func() bool { // the source's process starts
		var key struct{ ID, Secret string }
		if c.Admin(0, http.MethodPost, "/api/v1/keys", map[string]any{"name": "alice"}, &key) != http.StatusCreated {
			return false
		}
		id, text = key.ID, key.Secret
		return true
	})
	stored := func() any {
		_, data := b.ask("", "GET", "secret/data/litellm/alice", nil)
		inner, _ := data["data"].(map[string]any)
		return inner["key"]
	}
	if got := stored(); got != text {
		t.Errorf("the store has %v, not the key's secret", got)
	}
	body := cluster.ChatBody()
	body["model"] = "kept"
	answers := func(n *cluster.Node) bool {
		status, _ := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", text, body)
		return status == http.StatusOK
	}
	for _, n := range c.Nodes {
		c.Await("node "+n.Name+" asks the provider with the stored key", 20*time.Second, func() bool { return answers(n) })
	}
	c.Nodes[1].Kill()
	c.Nodes[1].Start()
	c.Nodes[1].AwaitReady()
	c.Await("a node that was killed opens its KEK and answers", 20*time.Second, func() bool { return answers(c.Nodes[1]) })
	if status := c.Admin(0, http.MethodDelete, "/api/v1/keys/"+id, nil, nil); status >= 300 {
		t.Fatalf("delete the key: %d", status)
	}
	if got := stored(); got != nil {
		t.Errorf("a deleted key's secret is still in the store: %v", got)
	}
}
