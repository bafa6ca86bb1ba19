// Package amazon is the callbacks that bring finished requests to Amazon: objects in S3, and in
// other stores with its API such as MinIO, Ceph and Google's, and messages in SQS; and the secret
// source that reads its Secrets Manager.
package amazon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Account is the part of a configuration that says who sends.
type Account struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token,omitempty"`
	Region          string `json:"region,omitempty"` // default us-east-1
}

func (a *Account) check() error {
	if a.AccessKeyID == "" || a.SecretAccessKey == "" {
		return errors.New("access_key_id, secret_access_key: give the keys of the account")
	}
	a.Region = cmp.Or(a.Region, "us-east-1")
	return nil
}

// signer signs requests of a service.
func (a *Account) signer(service string, now func() time.Time) func(r *http.Request, body []byte) error {
	s := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	keys := aws.Credentials{AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken}
	return func(r *http.Request, body []byte) error {
		sum := sha256.Sum256(body)
		digest := hex.EncodeToString(sum[:])
		r.Header.Set("X-Amz-Content-Sha256", digest)
		at := time.Now()
		if now != nil {
			at = now()
		}
		return s.SignHTTP(context.Background(), keys, r, digest, service, a.Region, at)
	}
}
