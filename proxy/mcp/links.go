package mcp

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/proxy/mcp/oauth"
	"github.com/conclave-llm/conclave/resource"
)

// links are the connections of this node to servers, one for each server's record.
type links struct {
	cfg       *Config
	transport *http.Transport // of all servers over HTTP
	oauth     *oauth.Client   // nil: no server that asks for OAuth can be used
	ctx       context.Context //nolint:containedctx // the gateway's own life, ended by close
	cancel    context.CancelFunc
	wg        sync.WaitGroup

	mu       sync.Mutex // guards what follows
	byID     map[string]*link
	launcher *launch.Launcher // nil until a process runs
	closed   bool
}

func newLinks(cfg *Config) *links {
	ctx, cancel := context.WithCancel(context.Background())
	return &links{
		cfg: cfg, ctx: ctx, cancel: cancel, byID: map[string]*link{},
		transport: &http.Transport{
			DialContext: cfg.Dial, Proxy: cfg.Proxy, ForceAttemptHTTP2: true, TLSHandshakeTimeout: connectTimeout, MaxIdleConnsPerHost: 64,
			IdleConnTimeout: 2 * time.Minute, MaxResponseHeaderBytes: 256 << 10,
		},
	}
}

// of gives the link of a server's record, with what the catalog says of it. A link of another
// version of the record ends when its calls have.
func (ls *links) of(cat *resource.Catalog, s *resource.MCPServer) *link {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := ls.byID[s.ID]
	cred, _ := cat.Credential(s.CredentialID)
	if now != nil && now.server.Version == s.Version && now.credential == cred {
		return now
	}
	if now != nil && now.server.Version > s.Version {
		return now // the caller's view is older than another's
	}
	next := newLink(ls, s, cred)
	ls.byID[s.ID] = next
	if now != nil {
		now.retire()
	}
	return next
}

// sync ends the links whose servers are gone, disabled or changed.
func (ls *links) sync(cat *resource.Catalog) {
	current := map[string]*resource.MCPServer{}
	for _, s := range cat.Tables().MCPServers {
		if !s.Disabled {
			current[s.ID] = s
		}
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for id, l := range ls.byID {
		if s := current[id]; s == nil || s.Version != l.server.Version {
			delete(ls.byID, id)
			l.retire()
		}
	}
}

// launched gives the launcher of processes.
func (ls *links) launched() *launch.Launcher {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return nil
	}
	if ls.launcher == nil {
		ls.launcher = launch.New()
	}
	return ls.launcher
}

func (ls *links) close() {
	ls.mu.Lock()
	ls.closed = true
	all := ls.byID
	ls.byID = map[string]*link{}
	ls.mu.Unlock()
	ls.cancel()
	for _, l := range all {
		l.retire()
	}
	ls.wg.Wait()
	if ls.launcher != nil {
		ls.launcher.Close()
	}
	ls.transport.CloseIdleConnections()
}
