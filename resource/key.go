package resource

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// Role is what a key may do beside inference.
type Role string

// The roles of a key. The zero value may call models and read about itself, no more.
const (
	RoleInference Role = ""
	RoleAdmin     Role = "proxy_admin"
	RoleViewer    Role = "proxy_admin_viewer"
)

// Hash is the SHA-256 of a key's secret; the secret itself is never stored. It is bytes in
// CBOR and hexadecimal in JSON.
type Hash [sha256.Size]byte

// HashSecret hashes the secret of a virtual key.
func HashSecret(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// String gives the hash in hexadecimal, as LiteLLM's "token".
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads hexadecimal.
func (h *Hash) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(h) {
		return fmt.Errorf("hash of %d characters, want %d", len(b), 2*len(h))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// OldHash is a secret that a key had before, valid until its grace ends.
type OldHash struct {
	Hash  Hash `json:"hash"`
	Until Time `json:"until"`
}

// Key is a virtual key. Blocked is not part of the stored bytes: it is a flag of the frame
// around them, so that blocking never competes with an edit.
type Key struct {
	Meta
	Policy
	Name      string    `json:"name,omitempty"`       // unique if set; LiteLLM's key_alias
	Hash      Hash      `json:"hash"`                 // of the current secret
	OldHashes []OldHash `json:"old_hashes,omitempty"` // of rotated secrets in their grace
	Hint      string    `json:"hint,omitempty"`       // "sk-...abcd"
	TeamID    string    `json:"team_id,omitempty"`
	ProjectID string    `json:"project_id,omitempty"` // of the same team
	UserID    string    `json:"user_id,omitempty"`
	Role      Role      `json:"role,omitempty"`
	Blocked   bool      `json:"blocked,omitempty" cbor:"-"`
	// StoredIn is the reference to the secret in a store of secrets; "": nobody keeps it.
	StoredIn string `json:"stored_in,omitempty"`
	Access

	Rotation    *Rotation   `json:"rotation,omitempty"`
	RotationKey *Sealed     `json:"rotation_key,omitempty"` // signs what goes to the webhook
	RotateAt    Time        `json:"rotate_at,omitempty"`    // the next rotation is due
	RotatedAt   Time        `json:"rotated_at,omitempty"`
	Next        *NextSecret `json:"next,omitempty"` // waits for delivery
	Turns       []Turn      `json:"turns,omitempty"`
}

// NewSecret makes the secret of a new virtual key: "sk-" and 22 characters, 128 bits.
func NewSecret() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("resource: no randomness: " + err.Error()) // crypto/rand does not fail on a working system
	}
	return SecretOf(b[:])
}

// SecretOf writes bytes as the secret of a virtual key.
func SecretOf(b []byte) string { return "sk-" + base64.RawURLEncoding.EncodeToString(b) }

// HintOf gives the part of a secret that may be shown: "sk-...abcd".
func HintOf(secret string) string {
	if len(secret) < 12 {
		return "sk-..."
	}
	return "sk-..." + secret[len(secret)-4:]
}

// CheckSecret returns an *Invalid if secret cannot be a virtual key: "sk-" and 16 to 256
// printable ASCII characters in all.
func CheckSecret(secret string) error {
	if !strings.HasPrefix(secret, "sk-") {
		return invalidf("secret", "a virtual key starts with sk-")
	}
	if len(secret) < 16 || len(secret) > 256 {
		return invalidf("secret", "a virtual key has 16 to 256 characters, this one %d", len(secret))
	}
	for i := range len(secret) {
		if secret[i] <= ' ' || secret[i] > '~' {
			return invalidf("secret", "character %d is not printable ASCII", i)
		}
	}
	return nil
}

// ServiceAccount says that the key belongs to a team and to no user.
func (k *Key) ServiceAccount() bool { return k.TeamID != "" && k.UserID == "" }

// Label implements Record.
func (k *Key) Label() string { return k.Name }

// Canonicalize implements Record.
func (k *Key) Canonicalize() {
	k.canonicalize()
}

// Validate implements Record.
func (k *Key) Validate() error {
	if k.Name != "" {
		if err := validName("name", k.Name); err != nil {
			return err
		}
	}
	if k.Hash == (Hash{}) {
		return invalidf("hash", "a key has a secret")
	}
	switch k.Role {
	case RoleInference, RoleAdmin, RoleViewer:
	default:
		return invalidf("role", "%q is not one of \"\", proxy_admin, proxy_admin_viewer", k.Role)
	}
	if err := k.Rotation.Check(k.RotationKey != nil); err != nil {
		return err
	}
	if err := k.checkAccess(); err != nil {
		return err
	}
	return k.validate()
}

// AcceptsAt says whether h is the key's secret, or an old one in its grace, at the time.
func (k *Key) AcceptsAt(h Hash, at Time) bool {
	if h == k.Hash {
		return true
	}
	for _, o := range k.OldHashes {
		if o.Hash == h && at < o.Until {
			return true
		}
	}
	return false
}

// Words of LiteLLM in a policy's list of models.
const (
	NoModels = "no-default-models" // stands for none
	// TeamModels and ProxyModels stand for all that the levels above have, as an empty list without access
	// groups does. It is beside access groups that they are needed.
	TeamModels  = "all-team-models"
	ProxyModels = "all-proxy-models"
)

// AllowsModel says whether a list of names, "prefix*" patterns and access groups has the
// model, whose groups are given. A pattern matches names and groups alike. An empty list
// allows every model.
func AllowsModel(list []string, model string, groups ...string) bool {
	if len(list) == 0 {
		return true
	}
	for _, entry := range list {
		if matches(entry, model) {
			return true
		}
		for _, g := range groups {
			if matches(entry, g) {
				return true
			}
		}
	}
	return false
}

// AllowsRoute says whether a list of paths and "/prefix/*" has the path; an empty list has
// all.
func AllowsRoute(list []string, path string) bool {
	if len(list) == 0 {
		return true
	}
	for _, entry := range list {
		if matches(entry, path) {
			return true
		}
	}
	return false
}

// matches says whether an entry of a list is the name, or a prefix* of it.
func matches(entry, name string) bool {
	if entry == name {
		return true
	}
	p, ok := strings.CutSuffix(entry, "*")
	return ok && strings.HasPrefix(name, p)
}

func validMetadata(m json.RawMessage) error {
	if len(m) == 0 {
		return nil
	}
	if len(m) > 64<<10 {
		return invalidf("metadata", "%d bytes are more than 64 KiB", len(m))
	}
	if t := bytes.TrimSpace(m); !json.Valid(m) || t[0] != '{' {
		return invalidf("metadata", "is not a JSON object")
	}
	return nil
}

func validNames(field string, names []string) error {
	for i, n := range names {
		if err := validName(fmt.Sprintf("%s[%d]", field, i), n); err != nil {
			return err
		}
	}
	return nil
}

// validName allows what people put into names: 1 to 256 bytes without control characters
// or spaces at the ends.
func validName(field, name string) error {
	if name == "" || len(name) > 256 {
		return invalidf(field, "a name has 1 to 256 bytes, this one %d", len(name))
	}
	if strings.TrimSpace(name) != name {
		return invalidf(field, "%q has a space at an end", name)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f {
			return invalidf(field, "%q has a control character", name)
		}
	}
	return nil
}
