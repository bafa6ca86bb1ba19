package secret

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// SealedPrefix begins a value that is sealed for a node's environment or file: "sealed:KEK:BOX", where KEK names the KEK
// of the time and BOX is base64url of nonce ‖ ciphertext ‖ tag.
const SealedPrefix = "sealed:"

// purposeValue is what a KEK itself wrapped such values for, before they named it.
const purposeValue = "value"

// ValueKey seals values for nodes' environments and files. It is derived from a KEK, whose id it has, and does not
// give that away: nodes keep it when the KEK is exchanged, so that what was sealed before goes on opening, and
// nothing else that the KEK wrapped does.
type ValueKey struct {
	id    string
	bytes []byte
	aead  cipher.AEAD
}

// ValueKey is the one of this KEK.
func (k *KEK) ValueKey() (*ValueKey, error) {
	b, err := hkdf.Key(sha256.New, k.bytes, nil, "conclave sealed values", KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive key of sealed values: %w", err)
	}
	return newValueKey(k.id, b)
}

func newValueKey(id string, b []byte) (*ValueKey, error) {
	aead, err := newAEAD(b)
	if err != nil {
		return nil, fmt.Errorf("key of sealed values: %w", err)
	}
	return &ValueKey{id: id, bytes: b, aead: aead}, nil
}

// ID is that of the KEK from which the key comes.
func (v *ValueKey) ID() string { return v.id }

// String hides the key.
func (v *ValueKey) String() string { return v.id }

// GoString hides the key.
func (v *ValueKey) GoString() string { return v.id }

func (v *ValueKey) aad() []byte { return bind("value", v.id) }

// SealValue seals a value for a node's environment or file.
func SealValue(k *KEK, value Text) (string, error) {
	key, err := k.ValueKey()
	if err != nil {
		return "", err
	}
	box, err := seal(key.aead, []byte(value.Reveal()), key.aad())
	if err != nil {
		return "", err
	}
	return SealedPrefix + k.id + ":" + base64.RawURLEncoding.EncodeToString(box), nil
}

// Values opens what SealValue made, under the KEKs of a node and the keys that it has kept of those before.
type Values struct {
	Ring *Ring
	Kept []*ValueKey
}

// Open opens a value and says under which KEK it was sealed. The error is ErrWrongKey for one that this node does not have.
func (v *Values) Open(sealed string) (text Text, kek string, err error) {
	rest, ok := strings.CutPrefix(sealed, SealedPrefix)
	id, body, named := strings.Cut(rest, ":")
	if !named {
		body = rest
	}
	box, err := base64.RawURLEncoding.DecodeString(body)
	if !ok || err != nil {
		return Text{}, "", errors.New("open sealed value: it is not what conclave secret seal writes")
	}
	if !named {
		return v.openUnnamed(box)
	}
	key, err := v.key(id)
	if err != nil {
		return Text{}, id, err
	}
	plain, err := open(key.aead, box, key.aad())
	if err != nil {
		return Text{}, id, fmt.Errorf("open value that was sealed under the KEK %s: it is damaged: %w", id, err)
	}
	return New(string(plain)), id, nil
}

// openUnnamed opens a value that a KEK itself has wrapped.
func (v *Values) openUnnamed(box []byte) (Text, string, error) {
	for _, k := range v.Ring.all() {
		if plain, err := k.Unwrap(box, purposeValue); err == nil {
			return New(string(plain)), k.id, nil
		}
	}
	return Text{}, "", fmt.Errorf("open value that was sealed under another KEK: %w", ErrWrongKey)
}

func (v *Values) key(id string) (*ValueKey, error) {
	if k, ok := v.Ring.Find(id); ok {
		return k.ValueKey()
	}
	for _, k := range v.Kept {
		if k.id == id {
			return k, nil
		}
	}
	return nil, fmt.Errorf("open value that was sealed under the KEK %s, which this node does not have: %w", id, ErrWrongKey)
}
