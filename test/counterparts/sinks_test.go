//go:build e2e

package counterparts

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/amazon"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// TestSinks_Moto has the callback s3 deliver to a store that checks who signs.
func TestSinks_Moto(t *testing.T) {
	base := moto(t)
	bare(t, base, url.Values{"Action": {"CreateUser"}, "UserName": {"sinks"}})
	bare(t, base, url.Values{"Action": {"PutUserPolicy"}, "UserName": {"sinks"}, "PolicyName": {"p"}, "PolicyDocument": {anyone}})
	var made struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	if err := xml.Unmarshal([]byte(bare(t, base, url.Values{"Action": {"CreateAccessKey"}, "UserName": {"sinks"}})), &made); err != nil || made.ID == "" {
		t.Fatalf("no key was made: %v", err)
	}
	config := func(secret string, more map[string]any) map[string]any {
		more["access_key_id"], more["secret_access_key"], more["region"] = made.ID, secret, "us-east-1"
		return more
	}
	object := func(secret string) sdk.Callback {
		c := &amazon.S3{}
		sinktest.Configure(t, c, config(secret, map[string]any{"endpoint": base, "bucket": "sinks", "prefix": "llm"}))
		return c
	}
	if n, err := object(made.Secret).Deliver(t.Context(), sinktest.Records(3)); n != 0 || err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Fatalf("without a bucket: delivered %d, %v", n, err)
	}
	bucket(t, base, made.ID, made.Secret, "/sinks")
	sinktest.Deliver(t, object(made.Secret), sinktest.Records(3))
	if n, err := object("wrong").Deliver(t.Context(), sinktest.Records(3)); n != 0 || err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("with a wrong secret: delivered %d, %v", n, err)
	}
}

// bucket makes a bucket.
func bucket(t *testing.T, base, id, secret, path string) {
	t.Helper()
	s := bucketOf(base+path, id, secret)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if err := s.Sign(t.Context(), req, nothing); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("make bucket: %d %s", res.StatusCode, b)
	}
}
