package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/conclave-llm/conclave/internal/durable"
)

// KeySize is the length of a KEK and of a data key in bytes.
const KeySize = 32

// ErrWrongKey says that a box was sealed under another key, for another place, or damaged.
var ErrWrongKey = errors.New("secret does not open under this key")

// KEK is the key that wraps data keys, the CA's key and the gossip key. It is kept outside
// the replicated state: a copy of the log, a snapshot or a backup opens nothing.
type KEK struct {
	id    string
	bytes []byte
	aead  cipher.AEAD
}

// NewKEK makes a random KEK.
func NewKEK() (*KEK, error) {
	b := make([]byte, KeySize)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make KEK: %w", err)
	}
	return ParseKEK(b)
}

// ParseKEK makes a KEK of KeySize bytes.
func ParseKEK(b []byte) (*KEK, error) {
	aead, err := newAEAD(b)
	if err != nil {
		return nil, fmt.Errorf("read KEK: %w", err)
	}
	sum := sha256.Sum256(append([]byte("conclave kek id\x00"), b...))
	return &KEK{id: "kek_" + hex.EncodeToString(sum[:8]), bytes: append([]byte(nil), b...), aead: aead}, nil
}

// LoadKEK reads a KEK from a file: KeySize raw bytes, or as many in hexadecimal digits with
// or without a newline. A file that others may read is refused.
func LoadKEK(path string) (*KEK, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read KEK: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read KEK: %s may be read by others: make it 0600", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read KEK: %w", err)
	}
	k, err := KEKOf(New(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	return k, nil
}

// KEKOf makes a KEK of what a file or a variable holds: KeySize raw bytes, or as many in
// hexadecimal digits with or without a newline.
func KEKOf(text Text) (*KEK, error) {
	b := []byte(text.Reveal())
	if len(b) != KeySize {
		raw, err := hex.DecodeString(trimNewline(string(b)))
		if err != nil {
			return nil, fmt.Errorf("read KEK: neither %d bytes nor their hexadecimal digits", KeySize)
		}
		b = raw
	}
	return ParseKEK(b)
}

// Save writes the KEK to a new file with mode 0600 and syncs it. An existing file is left
// alone and an error that is fs.ErrExist is returned, unless it holds this very KEK.
func (k *KEK) Save(path string) error {
	old, err := LoadKEK(path)
	if err == nil {
		if old.id == k.id {
			return nil
		}
		return fmt.Errorf("save KEK: %s holds another: %w", path, fs.ErrExist)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("save KEK: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(k.bytes) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("save KEK: %w", err)
	}
	return durable.SyncDir(filepath.Dir(path))
}

// ID names the KEK; it follows from its bytes and does not give them away.
func (k *KEK) ID() string { return k.id }

// Bytes returns the key itself, to be handed to a joining node.
func (k *KEK) Bytes() []byte { return append([]byte(nil), k.bytes...) }

// String hides the key.
func (k *KEK) String() string { return k.id }

// GoString hides the key.
func (k *KEK) GoString() string { return k.id }

// Wrap seals plain for a purpose such as "dek/ID", "ca" or "gossip".
func (k *KEK) Wrap(plain []byte, purpose string) ([]byte, error) {
	return seal(k.aead, plain, k.aad(purpose))
}

// Unwrap opens what Wrap sealed for the same purpose, or returns ErrWrongKey.
func (k *KEK) Unwrap(box []byte, purpose string) ([]byte, error) {
	plain, err := open(k.aead, box, k.aad(purpose))
	if err != nil {
		return nil, fmt.Errorf("unwrap %s: %w", purpose, err)
	}
	return plain, nil
}

// aad binds a box to the KEK and the purpose.
func (k *KEK) aad(purpose string) []byte { return bind("kek", k.id, purpose, "") }

// newAEAD makes AES-256-GCM.
func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("key has %d bytes, want %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal gives nonce ‖ ciphertext ‖ tag.
func seal(aead cipher.AEAD, plain, aad []byte) ([]byte, error) {
	box := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := rand.Read(box); err != nil {
		return nil, fmt.Errorf("make nonce: %w", err)
	}
	return aead.Seal(box, box, plain, aad), nil
}

// open reverses seal.
func open(aead cipher.AEAD, box, aad []byte) ([]byte, error) {
	n := aead.NonceSize()
	if len(box) < n+aead.Overhead() {
		return nil, ErrWrongKey
	}
	plain, err := aead.Open(nil, box[:n], box[n:], aad)
	if err != nil {
		return nil, ErrWrongKey
	}
	return plain, nil
}

// bind joins names so that no two lists of them give the same bytes.
func bind(names ...string) []byte {
	var b []byte
	for _, n := range names {
		b = append(b, byte(len(n)>>24), byte(len(n)>>16), byte(len(n)>>8), byte(len(n)))
		b = append(b, n...)
	}
	return b
}

// trimNewline drops the line end that editors and echo leave.
func trimNewline(s string) string {
	for len(s) > 0 && (s[len(s)-1] == '\n' || s[len(s)-1] == '\r') {
		s = s[:len(s)-1]
	}
	return s
}
