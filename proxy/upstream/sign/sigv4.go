package sign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/typesafe"
)

// sigV4 signs as Amazon wants it, for the option region, with keys that sigv4keys.go finds. An
// account that has an API key instead sends that as a bearer's token.
type sigV4 struct {
	signer *v4.Signer
	store  *v4.Signer // of S3, where the path is signed as it is sent
	cfg    Config
	keys   *keeper[aws.Credentials]
}

func newSigV4(cfg Config) *sigV4 {
	return &sigV4{
		cfg: cfg, keys: newKeeper[aws.Credentials](cfg.Now),
		signer: v4.NewSigner(func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = false // the path is signed as it is sent, escaped once more
		}),
		store: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
	}
}

const (
	serviceS3    = "s3"
	headerDigest = "X-Amz-Content-Sha256" // which S3 wants to see, beside the signature
)

// serviceOf is the name by which Amazon's signatures know who is asked: Bedrock's runtime,
// SageMaker's, Polly, Textract, or Transcribe.
func serviceOf(host string) string {
	if strings.Contains(host, "sagemaker") {
		return "sagemaker"
	}
	if strings.HasPrefix(host, "transcribestreaming.") {
		return "transcribe"
	}
	for _, service := range [...]string{"polly", "textract"} {
		if strings.HasPrefix(host, service+".") {
			return service
		}
	}
	return "bedrock"
}

// sign implements method.
func (s *sigV4) sign(ctx context.Context, a *Account, r *Request) error {
	if !a.Key.IsZero() {
		r.Header["Authorization"] = []string{"Bearer " + a.Key.Reveal()}
		return nil
	}
	region := a.Options["region"]
	if region == "" {
		return errors.New("the deployment has no option region")
	}
	credentials, err := s.credentials(ctx, a)
	if err != nil {
		return err
	}
	service := a.Options["aws_service"]
	if service == "" {
		service = serviceOf(r.URL.Host)
	}
	return s.with(ctx, credentials, r, service, region)
}

// runtimeSigV4 signs what goes to a runtime of Amazon's for agents, whose name holds the region. Elsewhere
// a key is sent if there is one.
type runtimeSigV4 struct{ *sigV4 }

func (s runtimeSigV4) sign(ctx context.Context, a *Account, r *Request) error {
	region := typesafe.RuntimeRegion(a.Options)
	if region == "" || !a.Key.IsZero() {
		provider.Bearer.Set(r.Header, a.Key.Reveal())
		return nil
	}
	credentials, err := s.credentials(ctx, a)
	if err != nil {
		return err
	}
	return s.with(ctx, credentials, r, "bedrock-agentcore", region)
}

// with signs with keys. Only what nobody between here and Amazon changes is signed.
func (s *sigV4) with(ctx context.Context, keys aws.Credentials, r *Request, service, region string) error {
	req := (&http.Request{Method: r.Method, URL: r.URL, Host: r.URL.Host, Header: http.Header{}}).WithContext(ctx)
	if v := r.Header["Content-Type"]; len(v) > 0 {
		req.Header["Content-Type"] = v
	}
	digest, signer := r.Digest, s.signer
	if digest == "" {
		sum := sha256.Sum256(r.Body)
		digest = hex.EncodeToString(sum[:])
	}
	if digest == streamed {
		req.Header[headerDigest] = []string{digest}
		r.Header[headerDigest] = []string{digest}
	}
	if service == serviceS3 {
		signer = s.store
		req.Header[headerDigest] = []string{digest}
		r.Header[headerDigest] = []string{digest}
	}
	if err := signer.SignHTTP(ctx, keys, req, digest, service, region, s.cfg.Now()); err != nil {
		return err
	}
	for _, name := range [...]string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		if v := req.Header[name]; len(v) > 0 {
			r.Header[name] = v
		}
	}
	return nil
}

// never is when keys that do not expire do.
var never = time.Unix(1<<40, 0)
