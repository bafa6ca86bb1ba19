package join

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

const (
	tokenPrefix  = "conclave1."
	clusterBytes = 8
	secretBytes  = 20
)

var tokenEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// ErrToken says that a join token is malformed.
var ErrToken = errors.New("join token is malformed")

// Token is "conclave1." and the base32 of the start of the cluster id, the pin of its CA
// and a secret, of which the cluster keeps the hash until the token is used or expires.
type Token struct {
	cluster [clusterBytes]byte
	pin     [transport.PinSize]byte
	secret  [secretBytes]byte
}

// NewToken makes a token of the cluster with the id and the CA's certificate.
func NewToken(clusterID string, caDER []byte) (Token, error) {
	var t Token
	id, err := hex.DecodeString(clusterID)
	if err != nil || len(id) < clusterBytes {
		return t, fmt.Errorf("make join token: cluster id %q is not hexadecimal", clusterID)
	}
	copy(t.cluster[:], id)
	copy(t.pin[:], transport.Pin(caDER))
	if _, err := rand.Read(t.secret[:]); err != nil {
		return t, fmt.Errorf("make join token: %w", err)
	}
	return t, nil
}

// ParseToken reads what String wrote.
func ParseToken(s string) (Token, error) {
	var t Token
	text, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok {
		return t, fmt.Errorf("%w: it begins with %q", ErrToken, tokenPrefix)
	}
	b, err := tokenEncoding.DecodeString(strings.ToUpper(text))
	if err != nil || len(b) != clusterBytes+transport.PinSize+secretBytes {
		return t, ErrToken
	}
	n := copy(t.cluster[:], b)
	n += copy(t.pin[:], b[n:])
	copy(t.secret[:], b[n:])
	return t, nil
}

// String is the token as the operator copies it. It is a secret.
func (t Token) String() string {
	b := append(append(append([]byte(nil), t.cluster[:]...), t.pin[:]...), t.secret[:]...)
	return tokenPrefix + strings.ToLower(tokenEncoding.EncodeToString(b))
}

// belongs says whether the token is for the cluster.
func (t Token) belongs(clusterID string) bool {
	id, err := hex.DecodeString(clusterID)
	return err == nil && len(id) >= clusterBytes && bytes.Equal(id[:clusterBytes], t.cluster[:])
}

// Hash is what the cluster stores of the token.
func (t Token) Hash() resource.Hash { return hashSecret(t.secret[:]) }

// hashSecret hashes a token's secret.
func hashSecret(secret []byte) resource.Hash {
	return sha256.Sum256(append([]byte("conclave join token\x00"), secret...))
}
