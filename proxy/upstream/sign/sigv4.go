package sign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// sigV4 signs as Amazon wants it: with the account's access key, of the options
// aws_access_key_id and region and the secrets aws_secret_access_key and aws_session_token. An
// account that has an API key instead sends that as a bearer's token. Nothing is taken from the
// process's environment or from the machine.
type sigV4 struct {
	signer *v4.Signer
	now    func() time.Time
}

// service is the name by which Amazon's signatures know Bedrock's runtime.
const service = "bedrock"

func newSigV4(now func() time.Time) *sigV4 {
	return &sigV4{now: now, signer: v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = false // the path is signed as it is sent, escaped once more
	})}
}

// sign implements method.
func (s *sigV4) sign(ctx context.Context, a *Account, r *Request) error {
	if !a.Key.IsZero() {
		r.Header["Authorization"] = []string{"Bearer " + a.Key.Reveal()}
		return nil
	}
	key := a.Options["aws_access_key_id"]
	if key == "" {
		key = a.Secrets["aws_access_key_id"].Reveal()
	}
	secret, region := a.Secrets["aws_secret_access_key"].Reveal(), a.Options["region"]
	switch {
	case key == "" || secret == "":
		return errors.New("the deployment has neither api_key nor aws_access_key_id and aws_secret_access_key")
	case region == "":
		return errors.New("the deployment has no option region")
	}
	req := (&http.Request{
		Method: r.Method, URL: r.URL, Host: r.URL.Host, Header: http.Header{"Content-Type": r.Header["Content-Type"]},
		ContentLength: int64(len(r.Body)),
	}).WithContext(ctx)
	sum := sha256.Sum256(r.Body)
	credentials := aws.Credentials{AccessKeyID: key, SecretAccessKey: secret, SessionToken: a.Secrets["aws_session_token"].Reveal()}
	if err := s.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), service, region, s.now()); err != nil {
		return err
	}
	for _, name := range [...]string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		if v := req.Header[name]; len(v) > 0 {
			r.Header[name] = v
		}
	}
	return nil
}
