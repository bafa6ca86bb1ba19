package signing_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/signing"
)

func newKey(t *testing.T) signing.SecretKey {
	t.Helper()
	k, err := signing.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, k signing.SecretKey, content string) signing.Signature {
	t.Helper()
	s, err := k.Sign(signing.PluginBundle, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTrust_Verify(t *testing.T) {
	t.Parallel()
	alice, bob := newKey(t), newKey(t)
	trust := signing.Trust{bob.Public(), alice.Public()}
	for _, tt := range []struct {
		name    string
		trust   signing.Trust
		sig     signing.Signature
		as      signing.Context
		content string
		want    error
	}{
		{"a trusted publisher's", trust, sign(t, alice, "a bundle"), signing.PluginBundle, "a bundle", nil},
		{"a flipped byte", trust, sign(t, alice, "a bundle"), signing.PluginBundle, "a bundlE", signing.ErrSignature},
		{"something else that he signed", trust, sign(t, alice, "a bundle"), signing.ProductBundle, "a bundle", signing.ErrSignature},
		{"a stranger's", trust[:1], sign(t, alice, "a bundle"), signing.PluginBundle, "a bundle", signing.ErrUntrusted},
		{"nobody is trusted", nil, sign(t, alice, "a bundle"), signing.PluginBundle, "a bundle", signing.ErrUntrusted},
		{"no signature", signing.Trust{{}}, signing.Signature{}, signing.PluginBundle, "a bundle", signing.ErrSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.trust.Verify(tt.sig, tt.as, strings.NewReader(tt.content))
			if !errors.Is(err, tt.want) {
				t.Errorf("Verify = %v, want %v", err, tt.want)
			}
			if errors.Is(tt.want, signing.ErrUntrusted) && !strings.Contains(err.Error(), alice.Public().Fingerprint()) {
				t.Errorf("%v does not name the fingerprint %s", err, alice.Public().Fingerprint())
			}
		})
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	back, err := signing.ParseSecretKey(k.Reveal() + "\n")
	if err != nil || back.Public() != k.Public() {
		t.Fatalf("ParseSecretKey(Reveal) = %v, %v", back, err)
	}
	public, err := signing.ParsePublicKey(k.Public().String())
	if err != nil || public != k.Public() {
		t.Fatalf("ParsePublicKey(String) = %v, %v", public, err)
	}
	sig := sign(t, k, "x")
	got, err := signing.ParseSignature(sig.String())
	if err != nil || got != sig || got.By() != k.Public() {
		t.Fatalf("ParseSignature(String) = %v, %v", got, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if out := fmt.Sprintf(verb, k); out != k.Public().Fingerprint() {
			t.Errorf("%s of a secret key = %s", verb, out)
		}
	}
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for _, text := range []string{"", "ed25519:", "ed25519:AAAA", k.Reveal(), "x" + k.Public().String(), k.Public().String() + "=", strings.Repeat("A", 1000)} {
		if _, err := signing.ParsePublicKey(text); !errors.Is(err, signing.ErrMalformed) {
			t.Errorf("ParsePublicKey(%q) = %v", text, err)
		}
		if _, err := signing.ParseSignature(text); !errors.Is(err, signing.ErrMalformed) {
			t.Errorf("ParseSignature(%q) = %v", text, err)
		}
	}
	if _, err := signing.ParseSecretKey(k.Public().String()); !errors.Is(err, signing.ErrMalformed) {
		t.Errorf("a public key is a secret key: %v", err)
	}
	if _, err := signing.ParseTrust([]string{k.Public().String(), "x"}); err == nil || !strings.Contains(err.Error(), "publisher 2") {
		t.Errorf("ParseTrust = %v, want an error about publisher 2", err)
	}
}

func FuzzParseSignature(f *testing.F) {
	f.Add("ed25519-signature:AAAA:BBBB")
	k, err := signing.Generate()
	if err != nil {
		f.Fatal(err)
	}
	s, err := k.Sign(signing.PluginBundle, strings.NewReader("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.String())
	f.Fuzz(func(t *testing.T, text string) {
		s, err := signing.ParseSignature(text)
		if err != nil {
			return
		}
		if got := s.String(); got != strings.TrimSpace(text) {
			t.Errorf("%q is read as %q", text, got)
		}
		_ = s.Verify(signing.PluginBundle, strings.NewReader("y"))
	})
}
