package sign

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// streamed is the digest of a body whose events are signed one by one.
const streamed = "STREAMING-AWS4-HMAC-SHA256-EVENTS"

// Events signs the events of one stream, each with the signature of the one before. It is not safe for concurrent
// use.
type Events struct{ signer *v4.StreamSigner }

// Stream adds to the request the proof that begins a stream of events, and returns what signs those.
func (s *Signer) Stream(ctx context.Context, auth provider.Auth, a *Account, r *Request) (*Events, error) {
	m, ok := s.methods[auth].(*sigV4)
	if !ok {
		return nil, errors.New("the provider signs no events")
	}
	if !a.Key.IsZero() {
		return nil, errors.New("sessions at Amazon take no API key: give the deployment aws_access_key_id and aws_secret_access_key")
	}
	return m.stream(ctx, a, r)
}

// stream signs the request, and returns what signs its events.
func (s *sigV4) stream(ctx context.Context, a *Account, r *Request) (*Events, error) {
	region := a.Options["region"]
	if region == "" {
		return nil, errors.New("the deployment has no option region")
	}
	keys, err := s.credentials(ctx, a)
	if err != nil {
		return nil, err
	}
	service := serviceOf(r.URL.Host)
	r.Digest = streamed
	if err := s.with(ctx, keys, r, service, region); err != nil {
		return nil, err
	}
	_, text, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	seed, err := hex.DecodeString(text)
	if err != nil || len(seed) == 0 {
		return nil, errors.New("the request has no signature")
	}
	return &Events{v4.NewStreamSigner(keys, service, region, seed)}, nil
}

// Sign is the signature of an event.
func (e *Events) Sign(ctx context.Context, headers, payload []byte, at time.Time) ([]byte, error) {
	return e.signer.GetSignature(ctx, headers, payload, at)
}

// sigV4Events signs a request whose body is events, and each of those.
type sigV4Events struct{ *sigV4 }

var errFrames = errors.New("the body is no events")

// sign implements method.
func (s *sigV4Events) sign(ctx context.Context, a *Account, r *Request) error {
	events, err := s.stream(ctx, a, r)
	if err != nil {
		return err
	}
	at := s.cfg.Now()
	add := func(frame []byte) error {
		r.Signed, err = bedrock.AppendSigned(r.Signed, at, frame, func(headers, payload []byte) ([]byte, error) { return events.Sign(ctx, headers, payload, at) })
		return err
	}
	for rest := r.Body; len(rest) > 0; {
		frame, after, ok := bedrock.Frame(rest)
		if !ok {
			return errFrames
		}
		if err := add(frame); err != nil {
			return err
		}
		rest = after
	}
	return add(nil) // the end
}
