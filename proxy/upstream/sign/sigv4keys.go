package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// maxAnswer bounds what a service of tokens may answer, and a file with a token.
const maxAnswer = 64 << 10

// option is an option of the account, or a secret of the name.
func (a *Account) option(name string) string {
	if v := a.Options[name]; v != "" {
		return v
	}
	return a.Secrets[name].Reveal()
}

// credentials are the keys with which the account's requests are signed: those of the role
// aws_role_name, else its own aws_access_key_id and aws_secret_access_key, else, only where the
// option aws_use_environment is "true", those of the process's environment or of the machine.
func (s *sigV4) credentials(ctx context.Context, a *Account) (aws.Credentials, error) {
	own, ok := static(a)
	role := a.Options["aws_role_name"]
	if ok && role == "" {
		return own, nil
	}
	ambient := a.Options["aws_use_environment"] == "true"
	token := webIdentity(a)
	if !ok && token == nil && !ambient {
		return own, errors.New("the deployment has neither api_key, aws_access_key_id and aws_secret_access_key, nor a web identity, and aws_use_environment is not \"true\"")
	}
	if token != nil && role == "" {
		return own, errors.New("a web identity needs the option aws_role_name")
	}
	return s.keys.get(ctx, a, func(ctx context.Context) (aws.Credentials, time.Time, error) {
		switch {
		case token != nil:
			text, err := token()
			if err != nil {
				return own, time.Time{}, err
			}
			return s.assumeWithToken(ctx, a, role, text)
		case !ok:
			keys, until, err := s.ambient(ctx, a)
			if err != nil || role == "" {
				return keys, until, err
			}
			own = keys
		}
		return s.assume(ctx, a, role, own)
	})
}

// static are the account's own keys.
func static(a *Account) (keys aws.Credentials, ok bool) {
	keys = aws.Credentials{
		AccessKeyID: a.option("aws_access_key_id"), SecretAccessKey: a.Secrets["aws_secret_access_key"].Reveal(),
		SessionToken: a.Secrets["aws_session_token"].Reveal(),
	}
	return keys, keys.AccessKeyID != "" && keys.SecretAccessKey != ""
}

// webIdentity reads the account's token of another identity provider: the secret
// aws_web_identity_token, or the file that the option aws_web_identity_token_file names.
func webIdentity(a *Account) func() (string, error) {
	if text := a.Secrets["aws_web_identity_token"].Reveal(); text != "" {
		return func() (string, error) { return text, nil }
	}
	if path := a.Options["aws_web_identity_token_file"]; path != "" {
		return func() (string, error) { return readToken(path) }
	}
	return nil
}

// readToken reads a file that holds a signed token and nothing else: no other file of the machine
// is to be sent anywhere.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the token's file: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read the token's file: %w", err)
	}
	text := strings.TrimSpace(string(b))
	odd := func(r rune) bool {
		return !strings.ContainsRune("-_.=", r) && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}
	if strings.Count(text, ".") != 2 || !strings.HasPrefix(text, "ey") || strings.ContainsFunc(text, odd) {
		return "", fmt.Errorf("the file %s does not hold a signed token", path)
	}
	return text, nil
}

// ambient are the keys of the process's environment, of its container or of its machine, in the
// order in which Amazon's own tools look.
func (s *sigV4) ambient(ctx context.Context, a *Account) (aws.Credentials, time.Time, error) {
	env := s.cfg.Env
	keys := aws.Credentials{AccessKeyID: env("AWS_ACCESS_KEY_ID"), SecretAccessKey: env("AWS_SECRET_ACCESS_KEY"), SessionToken: env("AWS_SESSION_TOKEN")}
	if keys.AccessKeyID != "" && keys.SecretAccessKey != "" {
		return keys, never, nil
	}
	if path, role := env("AWS_WEB_IDENTITY_TOKEN_FILE"), env("AWS_ROLE_ARN"); path != "" && role != "" {
		text, err := readToken(path)
		if err != nil {
			return keys, time.Time{}, err
		}
		return s.assumeWithToken(ctx, a, role, text)
	}
	if path := env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		return s.machineKeys(ctx, http.MethodGet, "http://169.254.170.2"+path, nil)
	}
	if address := env("AWS_CONTAINER_CREDENTIALS_FULL_URI"); address != "" {
		token := env("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if path := env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); path != "" {
			b, err := os.ReadFile(path)
			if err != nil {
				return keys, time.Time{}, fmt.Errorf("read the container's token: %w", err)
			}
			token = string(bytes.TrimSpace(b))
		}
		return s.machineKeys(ctx, http.MethodGet, address, http.Header{"Authorization": {token}})
	}
	return s.instance(ctx)
}

// instance asks the machine's own service, in its second version, for the keys of its role.
func (s *sigV4) instance(ctx context.Context) (keys aws.Credentials, until time.Time, err error) {
	base := s.cfg.Env("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	if base == "" {
		base = "http://169.254.169.254"
	}
	base = strings.TrimRight(base, "/") + "/latest/"
	token, err := s.ask(ctx, http.MethodPut, base+"api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"300"}})
	if err != nil {
		return keys, until, fmt.Errorf("find keys in the environment or on the machine: %w", err)
	}
	h := http.Header{"X-Aws-Ec2-Metadata-Token": {string(token)}}
	roles, err := s.ask(ctx, http.MethodGet, base+"meta-data/iam/security-credentials/", h)
	if err != nil {
		return keys, until, fmt.Errorf("find the machine's role: %w", err)
	}
	role, _, _ := strings.Cut(string(roles), "\n")
	return s.machineKeys(ctx, http.MethodGet, base+"meta-data/iam/security-credentials/"+strings.TrimSpace(role), h)
}

// machineKeys reads keys as containers and machines give them out.
func (s *sigV4) machineKeys(ctx context.Context, method, address string, h http.Header) (keys aws.Credentials, until time.Time, err error) {
	body, err := s.ask(ctx, method, address, h)
	if err != nil {
		return keys, until, fmt.Errorf("fetch the machine's keys: %w", err)
	}
	var got struct {
		AccessKeyID     string    `json:"AccessKeyId"`
		SecretAccessKey string    `json:"SecretAccessKey"`
		Token           string    `json:"Token"`
		Expiration      time.Time `json:"Expiration"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.AccessKeyID == "" || got.SecretAccessKey == "" {
		return keys, until, errors.New("the machine's service of keys answered with none")
	}
	return aws.Credentials{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.Token}, got.Expiration, nil
}

// ask sends a request without a body and returns a good answer.
func (s *sigV4) ask(ctx context.Context, method, address string, h http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, h)
	status, body, err := do(s.cfg.Client, req)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the answer's status is %d", status)
	}
	return body, err
}

// do sends a request and reads its answer.
func do(c *http.Client, req *http.Request) (status int, body []byte, err error) {
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, body, err
}
