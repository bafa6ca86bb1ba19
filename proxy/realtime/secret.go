package realtime

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// SecretPrefix begins the secrets that stand for a key in one kind of request: opening a session.
const SecretPrefix = "ek_"

const (
	// maxSession bounds the configuration that a secret carries, because it stands in a header.
	maxSession = 16 << 10
	// maxSecret bounds a secret that is shown.
	maxSecret = 48 << 10

	defaultLife               = 600 * time.Second
	shortestLife, longestLife = 10 * time.Second, 7200 * time.Second
)

// Grant is what a secret says: for whose sake a session may be opened, with which model and
// configuration, and until when. A provider's own secrets are never given out: sessions that are
// opened with them pass the gateway by.
type Grant struct {
	Hash    resource.Hash   `json:"hash"` // of the key
	Model   string          `json:"model"`
	Session json.RawMessage `json:"session,omitempty"`
	Expires int64           `json:"expires"` // Unix seconds
}

// Secrets makes and reads secrets. Every node reads those of every other.
type Secrets struct {
	// Derive makes a key of the cluster's secrets; required.
	Derive func(parts ...string) ([]byte, error)
	// Now is the clock; required.
	Now func() time.Time
}

func (s *Secrets) cipher() (cipher.AEAD, error) {
	key, err := s.Derive("realtime client secret")
	if err != nil {
		return nil, fmt.Errorf("derive key of client secrets: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher of client secrets: %w", err)
	}
	return cipher.NewGCM(block)
}

// Seal makes the secret of a grant.
func (s *Secrets) Seal(g *Grant) (string, error) {
	if len(g.Session) > maxSession {
		return "", &llm.Error{
			Kind: llm.TooLarge, Code: "session_too_large", Param: "session",
			Message: fmt.Sprintf("The configuration in a client secret may have %d bytes. Send the rest as session.update.", maxSession),
		}
	}
	plain, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("encode client secret: %w", err)
	}
	c, err := s.cipher()
	if err != nil {
		return "", err
	}
	nonce := make([]byte, c.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return SecretPrefix + base64.RawURLEncoding.EncodeToString(c.Seal(nonce, nonce, plain, nil)), nil
}

// Open reads a secret. Its error is an *llm.Error of kind Unauthenticated.
func (s *Secrets) Open(secret string) (*Grant, error) {
	unknown := &llm.Error{Kind: llm.Unauthenticated, Code: "invalid_client_secret", Message: "The client secret is not known."}
	text, ok := strings.CutPrefix(secret, SecretPrefix)
	if !ok || len(secret) > maxSecret {
		return nil, unknown
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, unknown
	}
	c, err := s.cipher()
	if err != nil {
		return nil, &llm.Error{Kind: llm.Unavailable, Code: "conclave_stale", Message: "This node cannot read client secrets yet.", Err: err}
	}
	if len(sealed) < c.NonceSize() {
		return nil, unknown
	}
	plain, err := c.Open(nil, sealed[:c.NonceSize()], sealed[c.NonceSize():], nil)
	if err != nil {
		return nil, unknown
	}
	g := new(Grant)
	if err := json.Unmarshal(plain, g); err != nil {
		return nil, unknown
	}
	if s.Now().Unix() >= g.Expires {
		return nil, &llm.Error{Kind: llm.Unauthenticated, Code: "expired_client_secret", Message: "The client secret has expired."}
	}
	return g, nil
}

// Wish is what a request for a secret says.
type Wish struct {
	Model   string
	Session json.RawMessage // nil: none
	Life    time.Duration
}

// ReadWish reads the body of a request for a secret: with the session in it, or, as it was before,
// as the session itself.
func ReadWish(body []byte, bare bool) (w Wish, err error) {
	w.Life = defaultLife
	w.Session = body
	if !bare {
		w.Session = bytes.Clone(object(member(body, "session")))
		if err := w.life(member(body, "expires_after")); err != nil {
			return w, err
		}
	}
	w.Model = text(w.Session, "model")
	switch kind := text(w.Session, "type"); {
	case kind == "transcription" && w.Model == "":
		w.Model = text(w.Session, "audio", "input", "transcription", "model")
	case kind != "" && kind != "realtime" && kind != "transcription":
		return w, invalid("session.type", "unsupported_value", "Sessions of this type are not served.")
	}
	if w.Model == "" {
		return w, &llm.Error{Kind: llm.Invalid, Code: "missing_model", Param: "session.model", Message: "The session names no model."}
	}
	return w, nil
}

func (w *Wish) life(after []byte) error {
	if !has(after, "seconds") {
		return nil
	}
	c := llm.NewCursor(member(after, "seconds"))
	n, ok := c.Int()
	w.Life = time.Duration(n) * time.Second
	if !ok || n < int64(shortestLife/time.Second) || n > int64(longestLife/time.Second) {
		return invalid("expires_after.seconds", "invalid_value", "The field \"expires_after.seconds\" must be 10 to 7200.")
	}
	return nil
}

// Answer is what a client gets that has asked for a secret.
func (w *Wish) Answer(secret string, expires int64, bare bool) map[string]any {
	session := put(w.Session, "object", quoted("realtime.session"))
	if text(session, "type") == "" && !bare {
		session = put(session, "type", quoted("realtime"))
	}
	session = put(session, "id", quoted(newID("sess_")))
	if !bare {
		return map[string]any{"value": secret, "expires_at": expires, "session": json.RawMessage(session)}
	}
	out := map[string]any{}
	_ = json.Unmarshal(session, &out) // it was read before
	out["client_secret"] = map[string]any{"value": secret, "expires_at": expires}
	return out
}
