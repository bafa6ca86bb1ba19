// Package signing says who made a file: Ed25519 keys as one line of text, and signatures that
// are bound to what was signed. It needs no network, no clock and no authority: whoever trusts
// a publisher writes his public key down.
//
// The text forms are one line each, so that they fit a configuration, a mail and a terminal:
//
//	ed25519:BASE64                     a public key
//	ed25519-secret:BASE64              a secret key (its seed)
//	ed25519-signature:KEY:BASE64       a signature, with the public key that made it
//
// A signature is Ed25519ph (RFC 8032): of the SHA-512 of the content, with a context. A file
// that was signed as one thing can therefore not be passed off as another.
package signing

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Context says what is signed. A verifier asks for the one that it expects.
type Context string

// The contexts. Each kind of signed content has one of its own, of at most 255 bytes.
const (
	PluginBundle  Context = "conclave plugin bundle"
	ProductBundle Context = "conclave product bundle"
)

// The prefixes of the text forms.
const (
	publicPrefix    = "ed25519:"
	secretPrefix    = "ed25519-secret:" //nolint:gosec // how a key begins, and none
	signaturePrefix = "ed25519-signature:"
)

// maxText bounds a text form; the longest is shorter.
const maxText = 512

// Errors of a verification. All are found with errors.Is.
var (
	ErrMalformed = errors.New("is not well-formed")
	ErrUntrusted = errors.New("the publisher is not trusted")
	ErrSignature = errors.New("the signature is not of this content")
)

// PublicKey names a publisher. The zero value is nobody.
type PublicKey struct{ raw string } // 32 bytes, as a string so that keys compare with ==

// ParsePublicKey reads the text form of a public key.
func ParsePublicKey(text string) (PublicKey, error) {
	raw, err := decode(text, publicPrefix, ed25519.PublicKeySize)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key %w", err)
	}
	return PublicKey{string(raw)}, nil
}

// String is the text form.
func (k PublicKey) String() string {
	if k.raw == "" {
		return ""
	}
	return publicPrefix + base64.StdEncoding.EncodeToString([]byte(k.raw))
}

// Fingerprint is a short name for people to compare: the SHA-256 of the key, as OpenSSH
// writes it.
func (k PublicKey) Fingerprint() string {
	if k.raw == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(k.raw))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// SecretKey signs. It is never printed: String is a fingerprint.
type SecretKey struct{ key ed25519.PrivateKey }

// Generate makes a new key.
func Generate() (SecretKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return SecretKey{}, fmt.Errorf("generate signing key: %w", err)
	}
	return SecretKey{key}, nil
}

// ParseSecretKey reads the text form of a secret key.
func ParseSecretKey(text string) (SecretKey, error) {
	seed, err := decode(text, secretPrefix, ed25519.SeedSize)
	if err != nil {
		return SecretKey{}, fmt.Errorf("secret key %w", err)
	}
	return SecretKey{ed25519.NewKeyFromSeed(seed)}, nil
}

// Reveal is the text form, for the file that keeps it.
func (k SecretKey) Reveal() string {
	return secretPrefix + base64.StdEncoding.EncodeToString(k.key.Seed())
}

// Public is the key that others verify with.
func (k SecretKey) Public() PublicKey {
	return PublicKey{string(k.key.Public().(ed25519.PublicKey))}
}

// String tells which key it is, and not the key.
func (k SecretKey) String() string {
	if k.key == nil {
		return ""
	}
	return k.Public().Fingerprint()
}

// GoString implements fmt.GoStringer as String.
func (k SecretKey) GoString() string { return k.String() }

// Format implements fmt.Formatter: no verb shows the key.
func (k SecretKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// Sign signs what it reads to the end.
func (k SecretKey) Sign(as Context, content io.Reader) (Signature, error) {
	sum, err := digest(content)
	if err != nil {
		return Signature{}, err
	}
	raw, err := k.key.Sign(nil, sum, options(as))
	if err != nil {
		return Signature{}, fmt.Errorf("sign %s: %w", as, err)
	}
	return Signature{by: k.Public(), raw: string(raw)}, nil
}

// Signature is of one content by one publisher.
type Signature struct {
	by  PublicKey
	raw string
}

// ParseSignature reads the text form of a signature. It proves nothing before Verify.
func ParseSignature(text string) (Signature, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), signaturePrefix)
	key, sig, both := strings.Cut(rest, ":")
	if !ok || !both {
		return Signature{}, fmt.Errorf("signature %w: want %sKEY:SIGNATURE", ErrMalformed, signaturePrefix)
	}
	by, err := decode(publicPrefix+key, publicPrefix, ed25519.PublicKeySize)
	if err != nil {
		return Signature{}, fmt.Errorf("key of the signature %w", err)
	}
	raw, err := decode(sig, "", ed25519.SignatureSize)
	if err != nil {
		return Signature{}, fmt.Errorf("signature %w", err)
	}
	return Signature{PublicKey{string(by)}, string(raw)}, nil
}

// String is the text form.
func (s Signature) String() string {
	if s.raw == "" {
		return ""
	}
	return signaturePrefix + strings.TrimPrefix(s.by.String(), publicPrefix) + ":" + base64.StdEncoding.EncodeToString([]byte(s.raw))
}

// By is the key that the signature names, whether it is trusted or not.
func (s Signature) By() PublicKey { return s.by }

// Verify reads the content to its end and returns an error that is ErrSignature if it is not
// what the named key signed in the context. Whether that key is trusted is another question.
func (s Signature) Verify(as Context, content io.Reader) error {
	if len(s.raw) != ed25519.SignatureSize {
		return ErrSignature
	}
	sum, err := digest(content)
	if err != nil {
		return err
	}
	if err := ed25519.VerifyWithOptions(ed25519.PublicKey(s.by.raw), sum, []byte(s.raw), options(as)); err != nil {
		return fmt.Errorf("%w: %s of %s", ErrSignature, as, s.by.Fingerprint())
	}
	return nil
}

// Trust is the publishers whose signatures count.
type Trust []PublicKey

// ParseTrust reads the text forms of public keys.
func ParseTrust(keys []string) (Trust, error) {
	t := make(Trust, len(keys))
	for i, text := range keys {
		k, err := ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("publisher %d: %w", i+1, err)
		}
		t[i] = k
	}
	return t, nil
}

// Verify is Signature.Verify by a trusted publisher. A stranger's signature is ErrUntrusted, and
// the error names his fingerprint.
func (t Trust) Verify(s Signature, as Context, content io.Reader) error {
	if slices.Contains(t, s.by) {
		return s.Verify(as, content)
	}
	return fmt.Errorf("%w: %s", ErrUntrusted, s.by.Fingerprint())
}

// digest reads to the end.
func digest(content io.Reader) ([]byte, error) {
	h := sha512.New()
	if _, err := io.Copy(h, content); err != nil {
		return nil, fmt.Errorf("read what is signed: %w", err)
	}
	return h.Sum(nil), nil
}

func options(as Context) *ed25519.Options {
	return &ed25519.Options{Hash: crypto.SHA512, Context: string(as)}
}

// decode reads so many bytes behind a prefix; its errors begin with a verb.
func decode(text, prefix string, size int) ([]byte, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok || len(text) > maxText {
		return nil, fmt.Errorf("%w: want %sBASE64 on one line", ErrMalformed, prefix)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(rest)
	if err != nil || len(raw) != size {
		return nil, fmt.Errorf("%w: want %d bytes in base64 behind %q", ErrMalformed, size, prefix)
	}
	return raw, nil
}
