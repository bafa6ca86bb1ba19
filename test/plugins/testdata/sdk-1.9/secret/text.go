// Package secret is what the SDK needs of secrets.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Text is a secret string. Whatever formats, logs or marshals it gets a fingerprint; only
// Reveal gives the secret. The zero value is the empty secret. Compare with Equal, not ==.
type Text struct {
	// p is a pointer because fmt prints the unexported fields of other structs without
	// asking their methods: of a pointer to a string it prints the address.
	p *string
}

// New makes a Text of s.
func New(s string) Text { return Text{p: &s} }

// Reveal returns the secret, to be sent to whom it is meant for and nowhere else.
func (t Text) Reveal() string {
	if t.p == nil {
		return ""
	}
	return *t.p
}

// IsZero says that there is no secret.
func (t Text) IsZero() bool { return t.Reveal() == "" }

// Equal compares in constant time.
func (t Text) Equal(o Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(o.Reveal())) == 1
}

// Fingerprint is the first 8 hexadecimal digits of the SHA-256, or "" for no secret. It
// tells two secrets of good entropy apart and gives neither away.
func (t Text) Fingerprint() string {
	if t.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte(t.Reveal()))
	return hex.EncodeToString(sum[:4])
}

// String implements fmt.Stringer with the fingerprint.
func (t Text) String() string {
	if t.IsZero() {
		return "secret:none"
	}
	return "secret:" + t.Fingerprint()
}

// GoString implements fmt.GoStringer with the fingerprint.
func (t Text) GoString() string { return t.String() }

// Format implements fmt.Formatter with the fingerprint, whatever the verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue implements slog.LogValuer with the fingerprint.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText implements encoding.TextMarshaler with the fingerprint.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON implements json.Marshaler with the fingerprint.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// MarshalBinary implements encoding.BinaryMarshaler with the fingerprint, for gob and CBOR.
func (t Text) MarshalBinary() ([]byte, error) { return []byte(t.String()), nil }
