package keyservice

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// awsKMS is a key of Amazon's KMS.
type awsKMS struct {
	s           *Services
	region, key string
}

func newAWS(s *Services, u *url.URL, path string) (secret.Cover, bool) {
	return &awsKMS{s: s, region: u.Host, key: path}, u.Host != "" && path != ""
}

// Seal implements secret.Cover.
func (k *awsKMS) Seal(ctx context.Context, plain []byte) (string, error) {
	var out struct{ CiphertextBlob []byte }
	if err := k.call(ctx, "Encrypt", map[string]any{"KeyId": k.key, "Plaintext": plain}, &out); err != nil {
		return "", err
	}
	return prefixAWS + base64.StdEncoding.EncodeToString(out.CiphertextBlob), nil
}

// Open implements secret.Cover.
func (k *awsKMS) Open(ctx context.Context, text string) ([]byte, error) {
	box, err := boxOf(text, prefixAWS)
	if err != nil {
		return nil, err
	}
	in := map[string]any{"CiphertextBlob": box}
	if k.key != "" {
		in["KeyId"] = k.key
	}
	var out struct{ Plaintext []byte }
	err = k.call(ctx, "Decrypt", in, &out)
	return out.Plaintext, err
}

func (k *awsKMS) call(ctx context.Context, action string, in, out any) error {
	a := &sign.Account{Options: map[string]string{"region": k.region, "aws_service": "kms", "aws_use_environment": "true"}}
	h := http.Header{"X-Amz-Target": {"TrentService." + action}, "Content-Type": {"application/x-amz-json-1.1"}}
	domain := "amazonaws.com"
	if strings.HasPrefix(k.region, "cn-") {
		domain = "amazonaws.com.cn"
	}
	return k.s.call(ctx, provider.SigV4, a, "https://kms."+k.region+"."+domain+"/", h, in, out)
}
