// Package post brings one alert to one channel: over HTTP, over SMTP or to a callback.
package post

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/internal/hook"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
	"github.com/conclave-llm/conclave/secret"
)

// Timeout bounds one try.
const Timeout = 15 * time.Second

// maxAnswer bounds what is read of an answer: only so that the connection is used again.
const maxAnswer = 64 << 10

// Config says what a Post works with. Dialer is required.
type Config struct {
	Cluster string // its id
	Dialer  *egress.Dialer
	// Secret opens the api_key of a credential by its name or id.
	Secret func(credential string) (secret.Text, error)
	// Callback hands entries to a callback of the cluster and returns how many are safe. Nil: none runs here.
	Callback func(ctx context.Context, name string, entries []resource.AuditEntry) (int, error)
	Now      func() time.Time // default: clock.Now
}

// Post brings alerts to channels. It may be used concurrently.
type Post struct {
	cfg Config

	mu      sync.Mutex // guards clients
	clients map[string]*http.Client
}

// New returns a Post.
func New(cfg Config) *Post {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Secret == nil {
		cfg.Secret = func(string) (secret.Text, error) { return secret.Text{}, errors.New("this node opens no credentials") }
	}
	return &Post{cfg: cfg, clients: map[string]*http.Client{}}
}

// Send brings an alert to a channel; to are addresses for one of the type email, those of the
// channel if there are none. It returns once the receiver has it. Errors tell no secret.
func (p *Post) Send(ctx context.Context, c *channel.Channel, to []string, a *alert.Alert) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	switch c.Type {
	case channel.Webhook:
		body, err := json.Marshal(eventOf(p.cfg.Cluster, a))
		if err != nil {
			return fmt.Errorf("write alert: %w", err)
		}
		header := http.Header{hook.HeaderDelivery: {a.ID}}
		if c.Credential != "" {
			key, err := p.cfg.Secret(c.Credential)
			if err != nil {
				return err
			}
			header.Set(hook.HeaderSignature, hook.Sign(key.Reveal(), p.cfg.Now().Unix(), body))
		}
		return p.request(ctx, c, c.URL, header, body)
	case channel.Slack:
		return p.slack(ctx, c, a)
	case channel.Email:
		if len(to) == 0 {
			to = c.To
		}
		subject, text := letter(a)
		return p.Mail(ctx, c, to, Mail{ID: a.ID, Subject: subject, Text: text})
	case channel.Callback:
		return p.callback(ctx, c, a)
	}
	return fmt.Errorf("there are no channels of the type %q", c.Type)
}

// slack posts a text. The path of such a URL is a secret: it may stand in a credential, while the
// channel names the host, which is all that it may go to.
func (p *Post) slack(ctx context.Context, c *channel.Channel, a *alert.Alert) error {
	to := c.URL
	if c.Credential != "" {
		whole, err := p.cfg.Secret(c.Credential)
		if err != nil {
			return err
		}
		to = whole.Reveal()
		u, err := url.Parse(to)
		named, err2 := url.Parse(c.URL)
		if err != nil || err2 != nil || u.Scheme != named.Scheme || egress.HostPort(u) != egress.HostPort(named) {
			return fmt.Errorf("the api_key of the credential %q is not a URL at %s, which the channel names", c.Credential, c.URL)
		}
	}
	body, err := json.Marshal(struct {
		Text string `json:"text"`
	}{chat(a)})
	if err != nil {
		return fmt.Errorf("write alert: %w", err)
	}
	return p.request(ctx, c, to, http.Header{hook.HeaderDelivery: {a.ID}}, body)
}

// request posts JSON. An error does not tell the URL, whose path may be a secret.
func (p *Post) request(ctx context.Context, c *channel.Channel, to string, header http.Header, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL of the channel cannot be used")
	}
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", "conclave")
	req.Header = header
	client, err := p.client(ctx, c.CA)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return fmt.Errorf("send to %s: %w", req.URL.Host, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", req.URL.Host, resp.Status)
	}
	return nil
}

// client is one that trusts the authorities; it follows no redirect, for an alert goes nowhere else.
func (p *Post) client(ctx context.Context, ca string) (*http.Client, error) {
	conf, err := p.tls(ctx, ca, "")
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.clients[ca]; ok {
		return c, nil
	}
	if len(p.clients) > 64 { // of settings that are long gone
		clear(p.clients)
	}
	c := &http.Client{
		Transport: &http.Transport{
			DialContext: p.cfg.Dialer.DialContext, Proxy: p.cfg.Dialer.Proxy, TLSClientConfig: conf, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: Timeout, MaxIdleConns: 8, IdleConnTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	p.clients[ca] = c
	return c, nil
}

// tls trusts the authorities, the system's if there are none.
func (p *Post) tls(ctx context.Context, ca, server string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: server}
	ca, err := p.cfg.Dialer.Authorities(ctx, ca)
	if err != nil {
		return nil, err
	}
	if ca != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("ca of the channel has no certificate")
		}
	}
	return c, nil
}

// callback hands the alert over as an entry that stands in no log: action "alert", the alert in "after".
func (p *Post) callback(ctx context.Context, c *channel.Channel, a *alert.Alert) error {
	if p.cfg.Callback == nil {
		return errors.New("this node runs no callbacks")
	}
	after, err := json.Marshal(eventOf(p.cfg.Cluster, a))
	if err != nil {
		return fmt.Errorf("write alert: %w", err)
	}
	kind, id := a.Holder()
	n, err := p.cfg.Callback(ctx, c.Callback, []resource.AuditEntry{{
		At: a.At, Actor: "cluster", Action: "alert", Kind: kind, ID: id, Name: a.Name, RequestID: a.ID, After: after,
	}})
	if err == nil && n != 1 {
		err = errors.New("it did not take the alert")
	}
	if err != nil {
		return fmt.Errorf("callback %s: %w", c.Callback, err)
	}
	return nil
}

// chat is the text for a chat.
func chat(a *alert.Alert) string {
	return "*" + strings.ReplaceAll(a.Kind, "_", " ") + "*: " + a.Sentence() + " (" + a.ID + ")"
}
