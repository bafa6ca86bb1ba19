package blob

import (
	"errors"
	"fmt"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// sealVersion is the first byte of a file: the version, then the length of the data key's id in
// one byte, the id, and the box of package secret.
const sealVersion = 1

// Keyring is what bodies are sealed under; *secret.Keyring is one.
type Keyring interface {
	Seal(plaintext secret.Text, kind, id, field string) (*resource.Sealed, error)
	Open(s *resource.Sealed, kind, id, field string) (secret.Text, error)
}

// Sealed makes a Sealer of the cluster's data keys.
func Sealed(keys Keyring) Sealer { return sealer{keys} }

type sealer struct{ keys Keyring }

// Seal implements Sealer.
func (s sealer) Seal(body []byte, digest string) ([]byte, error) {
	sealed, err := s.keys.Seal(secret.New(string(body)), "blob", digest, "body")
	if err != nil {
		return nil, err
	}
	if len(sealed.DEK) > 255 {
		return nil, fmt.Errorf("the id of the data key has %d bytes", len(sealed.DEK))
	}
	out := make([]byte, 0, 2+len(sealed.DEK)+len(sealed.Box))
	out = append(out, sealVersion, byte(len(sealed.DEK)))
	return append(append(out, sealed.DEK...), sealed.Box...), nil
}

// Open implements Sealer. It returns ErrCorrupt for what Seal did not make.
func (s sealer) Open(b []byte, digest string) ([]byte, error) {
	if len(b) < 2 || b[0] != sealVersion || len(b) < 2+int(b[1]) {
		return nil, ErrCorrupt
	}
	n := 2 + int(b[1])
	text, err := s.keys.Open(&resource.Sealed{DEK: string(b[2:n]), Box: b[n:]}, "blob", digest, "body")
	if errors.Is(err, secret.ErrNoKey) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return []byte(text.Reveal()), nil
}
