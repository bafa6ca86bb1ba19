package sign

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// stsVersion is that of the API of Amazon's service of temporary keys.
const stsVersion = "2011-06-15"

// stsKeys are keys as that service gives them out.
type stsKeys struct {
	AccessKeyID     string    `xml:"AccessKeyId"`
	SecretAccessKey string    `xml:"SecretAccessKey"`
	SessionToken    string    `xml:"SessionToken"`
	Expiration      time.Time `xml:"Expiration"`
}

// stsAnswer is what it answers: one of two results, or an error.
type stsAnswer struct {
	Assumed *stsKeys `xml:"AssumeRoleResult>Credentials"`
	ByToken *stsKeys `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	Code    string   `xml:"Error>Code"`
}

// roleForm is what both ways to a role have in common. The option aws_session_name names the
// session in Amazon's logs.
func roleForm(a *Account, action, role string) url.Values {
	name := a.Options["aws_session_name"]
	if name == "" {
		name = "conclave"
	}
	return url.Values{"Action": {action}, "Version": {stsVersion}, "RoleArn": {role}, "RoleSessionName": {name}}
}

// assume gets keys of a role for keys of another. The option aws_external_id is what the role's
// owner may demand.
func (s *sigV4) assume(ctx context.Context, a *Account, role string, own aws.Credentials) (aws.Credentials, time.Time, error) {
	form := roleForm(a, "AssumeRole", role)
	if id := a.option("aws_external_id"); id != "" {
		form.Set("ExternalId", id)
	}
	return s.sts(ctx, a, form, &own)
}

// assumeWithToken gets keys of a role for a token of another identity provider.
func (s *sigV4) assumeWithToken(ctx context.Context, a *Account, role, token string) (aws.Credentials, time.Time, error) {
	form := roleForm(a, "AssumeRoleWithWebIdentity", role)
	form.Set("WebIdentityToken", token)
	return s.sts(ctx, a, form, nil)
}

// sts asks the service of the region, or the one at the option aws_sts_endpoint.
func (s *sigV4) sts(ctx context.Context, a *Account, form url.Values, own *aws.Credentials) (keys aws.Credentials, until time.Time, err error) {
	region := a.Options["region"]
	address := a.Options["aws_sts_endpoint"]
	if address == "" {
		address = "https://sts." + region + ".amazonaws.com/"
	}
	body := []byte(form.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return keys, until, fmt.Errorf("ask for the role's keys: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if own != nil {
		r := &Request{Method: http.MethodPost, URL: req.URL, Header: req.Header, Body: body}
		if err := s.with(ctx, *own, r, "sts", region); err != nil {
			return keys, until, err
		}
	}
	status, answer, err := do(s.cfg.Client, req)
	if err != nil {
		return keys, until, fmt.Errorf("ask for the role's keys: %w", err)
	}
	return readKeys(status, answer)
}

// readKeys reads the service's answer. Its message is left out, which may name the account.
func readKeys(status int, answer []byte) (keys aws.Credentials, until time.Time, err error) {
	var a stsAnswer
	if err := xml.Unmarshal(answer, &a); err != nil { //nolint:gosec // into texts alone
		return keys, until, fmt.Errorf("the service of temporary keys answered %d in no form that is known", status)
	}
	got := a.Assumed
	if got == nil {
		got = a.ByToken
	}
	if status != http.StatusOK || got == nil || got.AccessKeyID == "" || got.SecretAccessKey == "" {
		return keys, until, fmt.Errorf("the role's keys were refused: %d %s", status, a.Code)
	}
	return aws.Credentials{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken}, got.Expiration, nil
}
