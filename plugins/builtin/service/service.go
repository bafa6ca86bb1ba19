// Package service is what guardrails share that ask a service over HTTP. A sender connects to the
// addresses that its guardrail's configuration names and to nobody else, so that sealed clusters know
// all of them; it follows no redirect.
package service

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// Bounds and defaults.
const (
	maxAnswer  = 4 << 20
	maxRetries = 5
	defRetries = 1
	firstWait  = 50 * time.Millisecond
	maxWait    = time.Second
)

// Config are the fields of how a service is reached, which configurations share.
type Config struct {
	APIBase string `json:"api_base"`          // URL; its path stands before those of the service
	APIKey  string `json:"api_key,omitempty"` // give a reference such as env://NAME: the rest of a configuration can be read by administrators
	// Headers are sent with every request, beside those of the service.
	Headers map[string]string `json:"headers,omitempty"`
	CA      string            `json:"ca,omitempty"`      // PEM of the authorities that are trusted instead of the system's
	Proxy   string            `json:"proxy,omitempty"`   // http, https or socks5 URL
	Retries *int              `json:"retries,omitempty"` // of a request that got no answer, or one of 408, 429, 5xx; default 1
}

// Sender sends requests to one service. It may be used concurrently.
type Sender struct {
	base    *url.URL
	key     secret.Text
	headers map[string]string
	retries int
	client  *http.Client
}

// New makes a sender. usual is an example of what api_base may be, for the error of who gives none. also
// are further URLs that are asked, of tokens.
func New(cfg Config, usual string, also ...string) (*Sender, error) {
	if cfg.APIBase == "" {
		return nil, fmt.Errorf("api_base: is missing; it is where the service answers, such as %s", usual)
	}
	s := &Sender{key: secret.New(cfg.APIKey), headers: cfg.Headers, retries: defRetries}
	var err error
	if s.base, err = address(cfg.APIBase); err != nil {
		return nil, fmt.Errorf("api_base: %w", err)
	}
	if cfg.Retries != nil {
		s.retries = *cfg.Retries
	}
	if s.retries < 0 || s.retries > maxRetries {
		return nil, fmt.Errorf("retries: %d is not from 0 to %d", s.retries, maxRetries)
	}
	s.client, err = client(&cfg, append(also, cfg.APIBase))
	return s, err
}

func address(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("is not a URL such as https://host:port/path")
	}
	return u, nil
}

// client makes a client that connects to the addresses and to nobody else.
func client(cfg *Config, addresses []string) (*http.Client, error) {
	named := make([]egress.Destination, 0, len(addresses))
	for _, a := range addresses {
		u, err := address(a)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", a, err)
		}
		named = append(named, egress.Destination{Address: egress.HostPort(u)})
	}
	o := &egress.Options{Proxy: &resource.Proxy{URL: resource.Direct}}
	if cfg.Proxy != "" {
		o.Proxy = &resource.Proxy{URL: cfg.Proxy}
		if err := o.Proxy.Validate("proxy"); err != nil {
			return nil, err
		}
	}
	if cfg.CA != "" {
		o.TLS = &resource.TLS{CA: cfg.CA}
		if strings.HasPrefix(cfg.Proxy, "https://") {
			o.Proxy.CA = cfg.CA
		}
	}
	empty := resource.NewCatalog(resource.Tables{})
	d, err := egress.New(egress.Config{
		Proxy: o, Sealed: true, Catalog: func() *resource.Catalog { return empty },
		Named: func(*resource.Catalog) []egress.Destination { return named },
	})
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: d.DialContext, Proxy: d.Proxy, TLSClientConfig: d.NodeLink().TLS, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// Key is the service's key.
func (s *Sender) Key() secret.Text { return s.key }

// HTTP is the client, for who has to get tokens.
func (s *Sender) HTTP() *http.Client { return s.client }

// Bearer is the header of a key that is one, none without a key.
func (s *Sender) Bearer() map[string]string {
	if s.key.IsZero() {
		return nil
	}
	return map[string]string{"Authorization": "Bearer " + s.key.Reveal()}
}

// Request is one request: a POST of JSON.
type Request struct {
	Path   string     // behind the base, escaped
	Query  url.Values // nil: none
	Header map[string]string
	Body   any
	// Sign is called with the request and its body just before it is sent; nil: it is not signed.
	Sign func(r *http.Request, body []byte) error
	// Accepts says that an answer whose status is not 200 is one all the same; nil: none is.
	Accepts func(status int, answer []byte) bool
}

// Status is an answer that is none: the service did not do what it was asked for. It never quotes what
// the service says, which may quote the text.
type Status int

// Error implements error.
func (s Status) Error() string {
	return fmt.Sprintf("the service answered %d %s", int(s), http.StatusText(int(s)))
}

// again says whether another try may help.
func (s Status) again() bool {
	return s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= 500
}

// Post sends the request, and reads its answer, of status 200 or one that the request accepts, and JSON, into out.
func (s *Sender) Post(ctx context.Context, r Request, out any) error {
	body, err := json.Marshal(r.Body)
	if err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	for try := 0; ; try++ {
		raw, after, err := s.once(ctx, &r, body)
		if err == nil {
			if err := json.Unmarshal(raw, out); err != nil {
				return errors.New("the service's answer is not the JSON that is expected")
			}
			return nil
		}
		var status Status
		if try >= s.retries || ctx.Err() != nil || errors.As(err, &status) && !status.again() {
			return err
		}
		wait := cmp.Or(after, min(maxWait, firstWait<<try))
		timer := time.NewTimer(wait + rand.N(wait/4+1)) //nolint:gosec // jitter
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// once sends the request once. after is how long the service asks to wait.
func (s *Sender) once(ctx context.Context, r *Request, body []byte) (raw []byte, after time.Duration, err error) {
	u := *s.base
	text := strings.TrimSuffix(u.EscapedPath(), "/") + r.Path
	if u.Path, err = url.PathUnescape(text); err != nil {
		return nil, 0, fmt.Errorf("make request: %w", err)
	}
	u.RawPath, u.RawQuery = text, r.Query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, 0, errors.New("make request: the URL is not one")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	for _, h := range []map[string]string{r.Header, s.headers} {
		for name, value := range h {
			req.Header.Set(name, value)
		}
	}
	if r.Sign != nil {
		if err := r.Sign(req, body); err != nil {
			return nil, 0, fmt.Errorf("sign request: %w", err)
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, 0, Unquoted(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode != http.StatusOK && (err != nil || r.Accepts == nil || !r.Accepts(resp.StatusCode, raw)):
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return nil, min(maxWait, time.Duration(max(0, seconds))*time.Second), Status(resp.StatusCode)
	case err != nil:
		return nil, 0, fmt.Errorf("read the service's answer: %w", err)
	case len(raw) > maxAnswer:
		return nil, 0, fmt.Errorf("the service's answer has more than %d bytes", maxAnswer)
	}
	return raw, 0, nil
}

// Unquoted is the error without the URL, in which a key may stand.
func Unquoted(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("ask the service: %w", e.Err)
	}
	return err
}
