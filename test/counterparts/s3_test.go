//go:build e2e

package counterparts

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/backup/shelf"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// bucketOf is a bucket of a store, with the signatures that a node makes.
func bucketOf(address, id, key string) *shelf.S3 {
	signer := sign.New(sign.Config{})
	a := &sign.Account{
		Options: map[string]string{"region": "us-east-1", "aws_service": "s3", "aws_access_key_id": id},
		Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New(key)},
	}
	return &shelf.S3{
		URL: address, Prefix: "nightly-", HTTP: http.DefaultClient, // no slash: moto unescapes a query before it checks it
		Sign: func(ctx context.Context, r *http.Request, digest string) error {
			return signer.Sign(ctx, provider.SigV4, a, &sign.Request{Method: r.Method, URL: r.URL, Header: r.Header, Digest: digest})
		},
	}
}

// TestS3_Moto keeps snapshots in a store that checks who signs.
func TestS3_Moto(t *testing.T) {
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
	address := base + "/backups"
	signer := bucketOf(address, made.ID, made.Secret)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if err := signer.Sign(t.Context(), req, nothing); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("create bucket: %v %v", res, err)
	}
	_ = res.Body.Close()

	body := bytes.Repeat([]byte("snapshot "), 1<<18)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	put := func(s *shelf.S3, name string) error {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		return s.Put(t.Context(), name, f, int64(len(body)))
	}
	name := shelf.Name("c1", time.Now(), 1, 2)
	if err := put(bucketOf(address, made.ID, "wrong"), name); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("a wrong key: got %v", err)
	}
	if err := put(signer, name); err != nil {
		t.Fatalf("put: %v", err)
	}
	all, err := signer.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != name || all[0].Size != int64(len(body)) {
		t.Fatalf("list: got %+v, %v", all, err)
	}
	r, err := signer.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
		t.Errorf("open: %d bytes, %v", len(got), err)
	}
	_ = r.Close()
	if err := signer.Delete(t.Context(), name); err != nil {
		t.Errorf("delete: %v", err)
	}
	if all, err := signer.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("after the deletion: got %+v, %v", all, err)
	}
}
