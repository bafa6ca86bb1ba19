package sign

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// snowflakeLife is how long a token of our own is good; Snowflake takes none for longer than an hour.
const snowflakeLife = 50 * time.Minute

// What Snowflake's header says of a token.
const (
	snowflakeKind = "X-Snowflake-Authorization-Token-Type"
	kindPair      = "KEYPAIR_JWT"
	kindAccess    = "PROGRAMMATIC_ACCESS_TOKEN"
)

// snowflakeToken sends the key, which is a token of a pair of keys, or, after "pat/", one that
// Snowflake gave for programs; or a token that is signed with the secret snowflake_private_key (PEM,
// PKCS #8, without a passphrase) for the option snowflake_user of the option account.
type snowflakeToken struct {
	now    func() time.Time
	tokens *keeper[string]
}

func newSnowflakeToken(cfg Config) *snowflakeToken {
	return &snowflakeToken{now: cfg.Now, tokens: newKeeper[string](cfg.Now)}
}

// sign implements method.
func (s *snowflakeToken) sign(ctx context.Context, a *Account, r *Request) error {
	token, kind := a.Key.Reveal(), kindPair
	switch rest, pat := strings.CutPrefix(token, "pat/"); {
	case pat:
		token, kind = rest, kindAccess
	case token == "":
		var err error
		if token, err = s.tokens.get(ctx, a, func(context.Context) (string, time.Time, error) { return s.make(a) }); err != nil {
			return err
		}
	}
	r.Header["Authorization"] = []string{"Bearer " + token}
	r.Header[snowflakeKind] = []string{kind}
	return nil
}

// make makes a token as Snowflake's key-pair authentication describes it.
func (s *snowflakeToken) make(a *Account) (string, time.Time, error) {
	account, user := a.Options["account"], a.option("snowflake_user")
	if account == "" || user == "" || a.Secrets["snowflake_private_key"].IsZero() {
		return "", time.Time{}, errors.New("the deployment has neither api_key nor snowflake_private_key with the options account and snowflake_user")
	}
	block, _ := pem.Decode([]byte(a.Secrets["snowflake_private_key"].Reveal()))
	if block == nil {
		return "", time.Time{}, errors.New("snowflake_private_key is no PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return "", time.Time{}, errors.New("snowflake_private_key is no private key in PKCS #8 without a passphrase")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return "", time.Time{}, errors.New("snowflake_private_key is not of RSA")
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("write the public key: %w", err)
	}
	print := sha256.Sum256(public)
	account, _, _ = strings.Cut(account, ".") // without the region
	name := strings.ToUpper(account + "." + user)
	now := s.now()
	token, err := jwt(key, map[string]any{
		"iss": name + ".SHA256:" + base64.StdEncoding.EncodeToString(print[:]), "sub": name,
		"iat": now.Unix(), "exp": now.Add(snowflakeLife).Unix(),
	})
	return token, now.Add(snowflakeLife), err
}

// jwt signs claims with RS256.
func jwt(key *rsa.PrivateKey, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("write claims: %w", err)
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return text + "." + enc.EncodeToString(sig), nil
}
