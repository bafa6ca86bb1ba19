package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
	"github.com/conclave-llm/conclave/proxy/socket"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
)

// openTimeout bounds the opening of a session where the attempt's timers allow more.
const openTimeout = 30 * time.Second

// Open opens the session that an attempt asks for, a WebSocket at its endpoint or, at Amazon, a stream that goes
// both ways, in the way that requests take. ctx and the attempt's timers bound the opening alone. Errors are as those
// of Do.
func (c *Client) Open(ctx context.Context, a *Attempt, o socket.Options) (peer.Socket, error) {
	rt, err := c.route(a)
	if err != nil {
		return nil, &llm.Error{Kind: llm.Internal, Code: "upstream_address", Message: "The deployment has no usable address.", Err: err}
	}
	h := a.headers()
	for _, name := range [...]string{"Content-Type", "Accept", "Accept-Encoding"} {
		delete(h, name)
	}
	opening, cancel := context.WithTimeout(ctx, a.opening(c.cfg.Timeouts))
	defer cancel()
	if a.Endpoint == llm.BedrockSonic {
		return c.opened(c.duplex(ctx, opening, a, rt, h, o))
	}
	auth, account := a.Provider.Auth, a.Account.Or()
	if auth.InHeader() {
		auth.Set(h, account.Key.Reveal())
	} else if err := c.signer.Sign(egress.WithLink(opening, a.Link), auth, account, &sign.Request{Method: http.MethodGet, URL: rt.url, Header: h}); err != nil {
		return nil, c.unopened(ctx, opening, rt, a, &signError{err})
	}
	conn, err := socket.Dial(opening, socket.Target{URL: rt.url.String(), Header: h, Transport: rt.full}, o)
	if err != nil {
		return nil, c.unopened(ctx, opening, rt, a, err)
	}
	return conn, nil
}

// opened is a session, or nothing at all where there is none.
func (*Client) opened(d *duplex, err error) (peer.Socket, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// opening is how long the session may take to open.
func (a *Attempt) opening(d Timeouts) time.Duration {
	t := a.Timeouts.or(d)
	wait := openTimeout
	if t.FirstToken > 0 {
		wait = min(wait, t.FirstToken)
	}
	if t.Total > 0 {
		wait = min(wait, t.Total)
	}
	return wait
}

// unopened is the error of a session that was not opened.
func (c *Client) unopened(ctx, opening context.Context, rt *route, a *Attempt, err error) error {
	var refused *socket.Refusal
	switch {
	case errors.As(err, &refused) && rt.proxy != nil && refused.Status == http.StatusProxyAuthRequired:
		return unreached(&proxyError{answer: http.StatusText(refused.Status)})
	case errors.As(err, &refused):
		status := refused.Status
		if status < http.StatusBadRequest { // an answer, but no session
			return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider did not open a session.", Err: err}
		}
		return c.refusal(a, status, refused.Header, refused.Body)
	case ctx.Err() != nil:
		return &llm.Error{Kind: llm.Canceled, Code: "canceled", Message: "The client went away.", Err: err}
	case opening.Err() != nil:
		t := timeouts[waitConnect]
		return &llm.Error{Kind: llm.Timeout, Code: t.code, Message: "The provider did not answer in time: " + t.text + ".", Err: err}
	}
	if rt.relayed() {
		err = &proxyError{"nothing", err}
	}
	return unreached(err)
}
