package mcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// The back-off after a connection has failed, or has ended before it was long there.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = time.Minute
	longThere    = time.Minute
)

// link is the connection to one server, or the process that is one. It is made when a call
// needs it, shared by all callers, and made again, with back-off, after it has ended.
type link struct {
	all        *links
	server     *resource.MCPServer
	credential *resource.Credential // nil: none
	slots      chan struct{}        // one for each call in flight

	mu       sync.Mutex // guards what follows
	session  *sdk.ClientSession
	dialling chan struct{} // closed when the attempt under way has ended; nil: none is
	failed   error         // of the last attempt
	failures int           // in a row
	retryAt  time.Time
	since    time.Time // when the session was made
	calls    int       // that use the link
	retired  bool
	offers   map[string]offer           // by method
	names    map[string]map[string]bool // by method: what was listed lately
}

// offer is what a server said it has.
type offer struct {
	at   time.Time
	list any
}

func newLink(all *links, s *resource.MCPServer, cred *resource.Credential) *link {
	return &link{
		all: all, server: s, credential: cred, slots: make(chan struct{}, cmp.Or(int(s.Parallel), DefaultParallel)), offers: map[string]offer{},
		names: map[string]map[string]bool{},
	}
}

// use runs do with a session of the server. Headers of the client that the server wants make
// the session the call's own.
func (l *link) use(ctx context.Context, forwarded http.Header, do func(context.Context, *sdk.ClientSession) error) error {
	// The client's context holds what the SDK knows of its request; that must not reach the server.
	outer := ctx
	ctx, cancel := context.WithTimeout(l.all.ctx, l.timeout())
	defer cancel()
	defer context.AfterFunc(outer, cancel)()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		return &llm.Error{
			Kind: llm.RateLimited, Code: "mcp_server_busy", RetryAfter: time.Second, Scope: "mcp_server", Entity: l.server.ID,
			Message: fmt.Sprintf("The MCP server %s has %d calls in flight on this node.", l.server.Name, cap(l.slots)),
		}
	}
	l.enter()
	defer l.leave()
	if len(forwarded) > 0 {
		own, err := l.connect(ctx, forwarded)
		if err != nil {
			return l.unreachable(ctx, err)
		}
		defer func() { _ = own.Close() }() // the server ends what we do not
		return do(ctx, own)
	}
	s, err := l.shared(ctx)
	if err != nil {
		return l.unreachable(ctx, err)
	}
	err = do(ctx, s)
	if errors.Is(err, sdk.ErrSessionMissing) { // it has forgotten us, and has done nothing
		l.drop(s)
		if s, err = l.shared(ctx); err != nil {
			return l.unreachable(ctx, err)
		}
		err = do(ctx, s)
	}
	if broken(ctx, err) {
		l.drop(s)
	}
	return err
}

// broken says whether after an error the session is of no more use: it is not the server's own
// answer, and not our impatience.
func broken(ctx context.Context, err error) bool {
	var theirs *jsonrpc.Error
	var ours *llm.Error
	return err != nil && ctx.Err() == nil && !errors.As(err, &theirs) && !errors.As(err, &ours)
}

func (l *link) timeout() time.Duration {
	return cmp.Or(time.Duration(l.server.TimeoutMS)*time.Millisecond, DefaultTimeout)
}

// unreachable is the error of a server to which there is no connection.
func (l *link) unreachable(ctx context.Context, err error) error {
	var e *llm.Error
	if errors.As(err, &e) || ctx.Err() != nil {
		return err
	}
	return &llm.Error{
		Kind: llm.Unavailable, Code: "mcp_server_unavailable", RetryAfter: time.Second, Scope: "mcp_server", Entity: l.server.ID,
		Message: "The MCP server " + l.server.Name + " cannot be reached.", Err: err,
	}
}

// shared gives the session of all callers, and makes it if there is none.
func (l *link) shared(ctx context.Context) (*sdk.ClientSession, error) {
	l.mu.Lock()
	if l.session != nil {
		defer l.mu.Unlock()
		return l.session, nil
	}
	if l.dialling == nil {
		if wait := l.retryAt.Sub(l.all.cfg.Now()); wait > 0 {
			defer l.mu.Unlock()
			return nil, &llm.Error{
				Kind: llm.Unavailable, Code: "mcp_server_unavailable", RetryAfter: wait, Scope: "mcp_server", Entity: l.server.ID,
				Message: "The MCP server " + l.server.Name + " has failed and is tried again soon.", Err: l.failed,
			}
		}
		l.dialling = make(chan struct{})
		l.all.wg.Go(l.dial)
	}
	done := l.dialling
	l.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		return nil, cmp.Or(l.failed, errors.New("the connection has ended"))
	}
	return l.session, nil
}

// dial makes the shared session; no caller's end ends it.
func (l *link) dial() {
	ctx, cancel := context.WithTimeout(l.all.ctx, connectTimeout)
	defer cancel()
	s, err := l.connect(ctx, nil)
	now := l.all.cfg.Now()
	l.mu.Lock()
	close(l.dialling)
	l.dialling, l.failed = nil, err
	if err != nil {
		l.pauseLocked(now)
		l.mu.Unlock()
		l.all.cfg.Logger.Warn("MCP server cannot be reached", "server", l.server.Name, "error", err)
		return
	}
	l.session, l.since = s, now
	gone := l.retired && l.calls == 0
	l.mu.Unlock()
	l.all.wg.Go(func() { l.watch(s) })
	if gone {
		_ = s.Close()
	}
}

// pauseLocked makes the next attempt wait, longer each time.
func (l *link) pauseLocked(now time.Time) {
	l.retryAt = now.Add(min(firstPause<<min(l.failures, 16), longestPause))
	l.failures++
}

// watch waits for the end of a session.
func (l *link) watch(s *sdk.ClientSession) {
	err := s.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != s {
		return
	}
	now := l.all.cfg.Now()
	l.session, l.failed = nil, err
	clear(l.offers)
	if now.Sub(l.since) > longThere {
		l.failures = 0
	}
	if l.server.Transport == resource.MCPTransportStdio {
		l.pauseLocked(now)
		l.all.cfg.Logger.Warn("MCP server has ended", "server", l.server.Name, "error", err)
	}
}

// drop ends a session that does not work any more.
func (l *link) drop(s *sdk.ClientSession) {
	l.mu.Lock()
	if l.session == s {
		l.session = nil
		if l.server.Transport == resource.MCPTransportStdio {
			l.pauseLocked(l.all.cfg.Now())
		}
	}
	l.mu.Unlock()
	_ = s.Close() // it is broken
}

func (l *link) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
}

func (l *link) leave() {
	l.mu.Lock()
	l.calls--
	s := l.endLocked()
	l.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
}

// retire ends the link when its calls have ended, or the gateway ends.
func (l *link) retire() {
	l.mu.Lock()
	l.retired = true
	s := l.endLocked()
	l.mu.Unlock()
	if s != nil {
		l.all.wg.Go(func() { _ = s.Close() })
	}
}

func (l *link) endLocked() *sdk.ClientSession {
	if !l.retired || l.calls > 0 && l.all.ctx.Err() == nil {
		return nil
	}
	s := l.session
	l.session = nil
	return s
}

// remembered gives what a server said a moment ago, nil if it has to be asked.
func (l *link) remembered(method string) any {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o, ok := l.offers[method]; ok && l.all.cfg.Now().Sub(o.at) < listsFresh {
		return o.list
	}
	return nil
}

func (l *link) remember(method string, list any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offers[method] = offer{l.all.cfg.Now(), list}
}

// knows says whether the server has listed a name.
func (l *link) knows(method, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[method][name]
}

// learn notes a name that the server lists. When they are more than one server may have, those of before are forgotten.
func (l *link) learn(method, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.names[method]) >= maxOffers && !l.names[method][name] || l.names[method] == nil {
		l.names[method] = map[string]bool{}
	}
	l.names[method][name] = true
}

// forget makes the next list ask the server.
func (l *link) forget(method string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.offers, method)
}
