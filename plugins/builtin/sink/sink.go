// Package sink is what the shipped callbacks share that send to a server: one HTTP client with
// private authorities, a proxy, compression and repeats, and the delivery of records in batches,
// out of which those are found that the server will never take.
package sink

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	maxAnswer   = 1 << 20 // bytes of an answer that are read
	maxReason   = 300     // bytes of an answer that stand in an error
	attempts    = 4       // of one batch, before the delivery fails as a whole
	firstWait   = 200 * time.Millisecond
	longestWait = 5 * time.Second
)

// HTTP is the part of a callback's configuration that says how its server is reached.
type HTTP struct {
	CA        string `json:"ca,omitempty"`         // PEM of the authorities that are trusted beside the system's
	Proxy     string `json:"proxy,omitempty"`      // URL of the proxy; empty: none
	TimeoutMS int64  `json:"timeout_ms,omitempty"` // of one attempt; default 10,000
	Gzip      *bool  `json:"gzip,omitempty"`       // default: as the server's documentation recommends
}

// Client sends to one server. It follows no redirects: they would carry secrets elsewhere.
type Client struct {
	http *http.Client
	gzip bool
}

// NewClient makes a client; gzipped says whether bodies are compressed unless the configuration
// says otherwise.
func NewClient(cfg HTTP, gzipped bool) (*Client, error) {
	if cfg.TimeoutMS < 0 || cfg.TimeoutMS > 600_000 {
		return nil, errors.New("timeout_ms: is not between 0 and 600000")
	}
	t := &http.Transport{
		DialContext:         egress.Direct(nil).DialContext,
		MaxIdleConnsPerHost: parallel, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if cfg.CA != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(cfg.CA)) {
			return nil, errors.New("ca: holds no certificate in PEM")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if cfg.Proxy != "" {
		u, err := URL("proxy", cfg.Proxy)
		if err != nil {
			return nil, err
		}
		t.Proxy = http.ProxyURL(u)
	}
	if cfg.Gzip != nil {
		gzipped = *cfg.Gzip
	}
	return &Client{gzip: gzipped, http: &http.Client{
		Transport: t, Timeout: time.Duration(cmp.Or(cfg.TimeoutMS, 10_000)) * time.Millisecond,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// HTTP is the client itself, for what asks for tokens: it has the same authorities, proxy and timeout.
func (c *Client) HTTP() *http.Client { return c.http }

// URL reads the URL of a server in the field of a configuration.
func URL(field, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%s: %q is not the URL of a server such as https://host:port/path", field, Shown(text))
	}
	return u, nil
}

// Shown is a URL without what may be secret in it.
func Shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "…"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// ReadConfig reads the configuration of a callback and refuses fields that it does not have.
func ReadConfig(config []byte, into any) error {
	if len(config) == 0 {
		config = []byte("{}")
	}
	d := json.NewDecoder(bytes.NewReader(config))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	return nil
}

// Request is one request to a server.
type Request struct {
	Method string // default: POST
	URL    string
	Header http.Header
	Body   []byte
	// Sign puts the proof of who sends into the request with this body, after all else; nil: nothing.
	Sign func(r *http.Request, body []byte) error
	// Passes says of an answer whose status is about what was sent that it is about something else, which may be
	// mended: credentials, the server's settings, its load. nil: no answer is.
	Passes func(answer []byte) bool
}

// Rejected says that the server will never take what was sent.
type Rejected struct {
	Status int
	Reason string
}

// Error implements error.
func (r *Rejected) Error() string {
	return fmt.Sprintf("the server answered %d: %s", r.Status, r.Reason)
}

// Do sends the request, again if that may help, and returns the body of the answer. It returns a
// *Rejected if it does not help.
func (c *Client) Do(ctx context.Context, r *Request) ([]byte, error) {
	body := r.Body
	header := r.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if c.gzip && len(body) > 1024 {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(body)
		if err = errors.Join(err, w.Close()); err != nil {
			return nil, err
		}
		body = b.Bytes()
		header.Set("Content-Encoding", "gzip")
	}
	var err error
	for i := range attempts {
		var answer []byte
		var wait time.Duration
		answer, wait, err = c.try(ctx, r, header, body)
		if err == nil {
			return answer, nil
		}
		if _, never := errors.AsType[*Rejected](err); never || ctx.Err() != nil || i == attempts-1 {
			break
		}
		if !pause(ctx, max(wait, firstWait<<i)) {
			break
		}
	}
	return nil, err
}

// try sends once. wait is what the server asks for before the next attempt.
func (c *Client) try(ctx context.Context, r *Request, header http.Header, body []byte) (answer []byte, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(r.Method, http.MethodPost), r.URL, bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("request to %s: %w", Shown(r.URL), bare(err))
	}
	req.Header = header.Clone()
	if r.Sign != nil {
		if err := r.Sign(req, body); err != nil {
			return nil, 0, fmt.Errorf("sign request: %w", err)
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("send to %s: %w", Shown(r.URL), bare(err))
	}
	defer func() { _ = res.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case res.StatusCode/100 == 2:
		if err != nil {
			return nil, 0, fmt.Errorf("read answer of %s: %w", Shown(r.URL), err)
		}
		return answer, 0, nil
	case Rejects(res.StatusCode) && (r.Passes == nil || !r.Passes(answer)):
		return nil, 0, &Rejected{Status: res.StatusCode, Reason: Reason(answer)}
	}
	return nil, retryAfter(res.Header), &answered{res.StatusCode, fmt.Sprintf("%s answered %d: %s", Shown(r.URL), res.StatusCode, Reason(answer))}
}

// answered is an answer after which what was sent comes again.
type answered struct {
	status int
	text   string
}

// Error implements error.
func (a *answered) Error() string { return a.text }

// Is says of which answers the credentials are the reason.
func (a *answered) Is(target error) bool {
	return target == sdk.ErrCallbackDenied && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden)
}

// bare leaves the URL, which may hold secrets, out of an error of net/http.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// Rejects says that a status is about what was sent. Others may be mended at the server or in
// the configuration, and what was sent comes again.
func Rejects(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType:
		return true
	}
	return false
}

func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, longestWait)
}

// Reason is the beginning of an answer in one line.
func Reason(answer []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer), "\uFFFD")), " ")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

func pause(ctx context.Context, d time.Duration) bool {
	d = min(d, longestWait)
	t := time.NewTimer(d + rand.N(d/4+1)) //nolint:gosec // jitter
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
