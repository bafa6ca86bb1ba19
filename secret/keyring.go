package secret

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/conclave-llm/conclave/resource"
)

// ErrNoKey says that the keyring has no data key of the id asked for, or none at all.
var ErrNoKey = errors.New("data key is not in the keyring")

// Keyring holds the open data keys. New secrets are sealed under the one added last, or the
// one that Use names; all of them open. It may be used by several goroutines.
type Keyring struct {
	kek Wrapper

	mu     sync.RWMutex // guards deks, active, first
	deks   map[string]*dek
	active string
	first  string // what was added first
}

// dek is an open data key.
type dek struct {
	aead cipher.AEAD
	mac  []byte // key of the fingerprints
}

// NewKeyring makes an empty keyring whose data keys are wrapped by kek.
func NewKeyring(kek Wrapper) *Keyring {
	return &Keyring{kek: kek, deks: map[string]*dek{}}
}

// NewDEK makes a random data key and wraps it; it does not add it.
func (k *Keyring) NewDEK() (id string, wrapped []byte, err error) {
	key := make([]byte, KeySize)
	if _, err := rand.Read(key); err != nil {
		return "", nil, fmt.Errorf("make data key: %w", err)
	}
	id = resource.NewID("dek")
	wrapped, err = k.WrapDEK(id, key)
	return id, wrapped, err
}

// WrapDEK wraps a data key under the KEK.
func (k *Keyring) WrapDEK(id string, key []byte) ([]byte, error) {
	return k.kek.Wrap(key, "dek/"+id)
}

// AddDEK opens a wrapped data key and seals new secrets under it from now on. Adding a key
// that is there changes nothing. A KEK that does not fit gives ErrWrongKey.
func (k *Keyring) AddDEK(id string, wrapped []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.deks[id]; ok {
		return nil
	}
	key, err := k.kek.Unwrap(wrapped, "dek/"+id)
	if err != nil {
		return err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return fmt.Errorf("open data key %s: %w", id, err)
	}
	m := hmac.New(sha256.New, key)
	m.Write([]byte("conclave fingerprint"))
	k.deks[id] = &dek{aead: aead, mac: m.Sum(nil)}
	k.active = id
	if k.first == "" {
		k.first = id
	}
	return nil
}

// Has says whether the data key with the id is open.
func (k *Keyring) Has(id string) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.deks[id] != nil
}

// Use seals new secrets under the data key with the id, if it is open.
func (k *Keyring) Use(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.deks[id] != nil {
		k.active = id
	}
}

// Active is the id of the data key for new secrets, "" before there is one.
func (k *Keyring) Active() string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.active
}

// Ready says that there is a data key to seal under.
func (k *Keyring) Ready() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.active != ""
}

// Seal encrypts plaintext for one field of one record.
func (k *Keyring) Seal(plaintext Text, kind, id, field string) (*resource.Sealed, error) {
	k.mu.RLock()
	name, d, first := k.active, k.deks[k.active], k.deks[k.first]
	k.mu.RUnlock()
	if d == nil {
		return nil, fmt.Errorf("seal %s of %s %s: %w", field, kind, id, ErrNoKey)
	}
	box, err := seal(d.aead, []byte(plaintext.Reveal()), bind(kind, id, field, name))
	if err != nil {
		return nil, fmt.Errorf("seal %s of %s %s: %w", field, kind, id, err)
	}
	return &resource.Sealed{DEK: name, Box: box, Fingerprint: first.fingerprint(plaintext)}, nil
}

// Open decrypts what Seal made for the same field of the same record. A nil s is the empty
// secret.
func (k *Keyring) Open(s *resource.Sealed, kind, id, field string) (Text, error) {
	if s == nil {
		return Text{}, nil
	}
	k.mu.RLock()
	d := k.deks[s.DEK]
	k.mu.RUnlock()
	if d == nil {
		return Text{}, fmt.Errorf("open %s of %s %s: %w", field, kind, id, ErrNoKey)
	}
	plain, err := open(d.aead, s.Box, bind(kind, id, field, s.DEK))
	if err != nil {
		return Text{}, fmt.Errorf("open %s of %s %s: %w", field, kind, id, err)
	}
	return New(string(plain)), nil
}

// fingerprint is keyed, so that a weak secret cannot be guessed from it. The key comes of the
// first data key: a secret keeps its fingerprint when the data key is exchanged.
func (d *dek) fingerprint(t Text) string {
	m := hmac.New(sha256.New, d.mac)
	m.Write([]byte(t.Reveal()))
	return hex.EncodeToString(m.Sum(nil)[:4])
}

// Derive makes 16 bytes of the parts, always the same and of no use to guess the data key or
// other bytes by. They come of the first data key, which every member has.
func (k *Keyring) Derive(parts ...string) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	d := k.deks[k.first]
	if d == nil {
		return nil, fmt.Errorf("derive: %w", ErrNoKey)
	}
	m := hmac.New(sha256.New, d.mac)
	m.Write([]byte("conclave derive"))
	for _, p := range parts {
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		m.Write([]byte(p))
	}
	return m.Sum(nil)[:16], nil
}
