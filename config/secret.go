package config

import (
	"log/slog"
	"strings"
)

// hidden is what is printed of a secret.
const hidden = "(secret)"

// Secret is a secret in the clear. Whatever prints it prints a placeholder.
type Secret string

// sealedMark begins what stands for a secret that the cluster has. No secret has the byte.
const sealedMark = "\x00sealed\x00"

// SealedSecret stands for a secret that is stored already: of a provider's its fingerprint,
// of a key's its hash and what may be shown of it.
func SealedSecret(print, hint string) Secret { return Secret(sealedMark + print + "\x00" + hint) }

// Sealed says whether the secret stands for one that is stored already, and for which.
func (s Secret) Sealed() (print, hint string, ok bool) {
	rest, ok := strings.CutPrefix(string(s), sealedMark)
	if !ok {
		return "", "", false
	}
	print, hint, _ = strings.Cut(rest, "\x00")
	return print, hint, true
}

// Reveal returns the secret.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
