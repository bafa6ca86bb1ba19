package keyservice

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// googleKMS is a key of Google's KMS.
type googleKMS struct {
	s    *Services
	name string
}

func newGoogle(s *Services, u *url.URL, path string) (secret.Cover, bool) {
	return &googleKMS{s: s, name: u.Host + "/" + path}, strings.Contains(path, "/cryptoKeys/")
}

// Seal implements secret.Cover.
func (k *googleKMS) Seal(ctx context.Context, plain []byte) (string, error) {
	var out struct {
		Ciphertext []byte `json:"ciphertext"`
	}
	if err := k.call(ctx, "encrypt", map[string][]byte{"plaintext": plain}, &out); err != nil {
		return "", err
	}
	return prefixGoogle + base64.StdEncoding.EncodeToString(out.Ciphertext), nil
}

// Open implements secret.Cover.
func (k *googleKMS) Open(ctx context.Context, text string) ([]byte, error) {
	box, err := boxOf(text, prefixGoogle)
	if err != nil {
		return nil, err
	}
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	err = k.call(ctx, "decrypt", map[string][]byte{"ciphertext": box}, &out)
	return out.Plaintext, err
}

func (k *googleKMS) call(ctx context.Context, verb string, in, out any) error {
	a := &sign.Account{Options: map[string]string{"google_auth": "metadata"}}
	if path := k.s.cfg.Env("GOOGLE_APPLICATION_CREDENTIALS"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read Google's credentials: %w", err)
		}
		a = &sign.Account{Secrets: map[string]secret.Text{"vertex_credentials": secret.New(string(b))}}
	}
	return k.s.call(ctx, provider.GoogleToken, a, "https://cloudkms.googleapis.com/v1/"+k.name+":"+verb, http.Header{}, in, out)
}
