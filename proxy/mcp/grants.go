package mcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/mcp/oauth"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// The pages by which a person allows the gateway to act for him.
const (
	authorizePath = Path + "/oauth/authorize"
	callbackPath  = Path + "/oauth/callback"
	grantCookie   = "conclave_mcp_grant"
)

// CodeNeeded is the code of the error that says that somebody has to visit a page first.
const CodeNeeded = "needs_authorization"

// needed is the error of a server for which the caller's person has to allow the gateway to act.
type needed struct {
	server *resource.MCPServer
	url    string // that he visits; "": the cluster does not know its own address
}

// Error implements error. The page's address is for the person alone, and in no log.
func (e *needed) Error() string {
	return "the MCP server " + e.server.Name + " needs the authorization of who asks"
}

func (e *needed) message() string {
	if e.url == "" {
		return "The MCP server " + e.server.Name + " needs your authorization, and the gateway has no address to send you to: an admin has to set public_url."
	}
	return "The MCP server " + e.server.Name + " needs your authorization. Visit " + e.url + " in a browser, then try again."
}

// As makes an *llm.Error of it.
func (e *needed) As(target any) bool {
	to, ok := target.(**llm.Error)
	if ok {
		*to = &llm.Error{Kind: llm.Forbidden, Code: CodeNeeded, Scope: "mcp_server", Entity: e.server.ID, Message: e.message(), NoRetry: true}
	}
	return ok
}

// wire is the error as the protocol says that a page must be visited.
func (e *needed) wire() error {
	type visit struct {
		Mode    string `json:"mode"`
		ID      string `json:"elicitationId"`
		URL     string `json:"url"`
		Message string `json:"message"`
	}
	data, _ := json.Marshal(struct { // cannot fail
		Code         string  `json:"code"`
		Elicitations []visit `json:"elicitations"`
	}{CodeNeeded, []visit{{"url", e.server.ID, e.url, "Authorize the MCP server " + e.server.Name + "."}}})
	return &jsonrpc.Error{Code: sdk.CodeURLElicitationRequired, Message: e.message(), Data: data}
}

// refused makes of a token's refusal what the caller can do about it.
func (c *caller) refused(s *resource.MCPServer, err error) error {
	if !errors.Is(err, errToken) {
		return err
	}
	if granted(s) {
		return c.needs(s)
	}
	return &llm.Error{
		Kind: llm.Upstream, Code: "mcp_token_refused", Scope: "mcp_server", Entity: s.ID, Err: err,
		Message: "The MCP server " + s.Name + " refuses the gateway's token.",
	}
}

// granted says whether the server is reached with a token of the caller's own.
func granted(s *resource.MCPServer) bool {
	return s.AuthKind() == resource.MCPAuthOAuth && s.OAuth.FlowOr() == resource.MCPFlowCode
}

// headers are those of the caller for a server: what is forwarded, and the token that was granted for him.
func (c *caller) headers(ctx context.Context, s *resource.MCPServer) (http.Header, error) {
	h := c.forwarded(s)
	if !granted(s) {
		return h, nil
	}
	if c.who == nil {
		return nil, errors.New("nobody asks, for whom a token was granted")
	}
	at, err := c.g.links.of(c.cat, s).oauthServer()
	if err != nil {
		return nil, err
	}
	token, err := c.g.links.oauth.Token(ctx, at, resource.MCPHolder(c.who))
	if errors.Is(err, oauth.ErrNeeded) {
		return nil, c.needs(s)
	}
	if err != nil {
		return nil, noToken(s, err)
	}
	if h == nil {
		h = http.Header{}
	}
	h.Set("Authorization", "Bearer "+token.Reveal())
	return h, nil
}

// needs makes the error that sends the caller's person to the page.
func (c *caller) needs(s *resource.MCPServer) error {
	base := c.cat.Settings().PublicURL
	if base == "" {
		return &needed{server: s}
	}
	ticket, err := c.g.links.oauth.Ticket(s.ID, resource.MCPHolder(c.who), c.shown())
	if err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	return &needed{s, base + authorizePath + "?ticket=" + ticket}
}

// shown is how the page names the caller.
func (c *caller) shown() string {
	switch k := c.who.Key; {
	case k == nil:
		return "the master key"
	case c.who.User != nil:
		return "the user " + cmp.Or(c.who.User.Email, c.who.User.Name, c.who.User.ID)
	default:
		return "the key " + cmp.Or(k.Name, k.ID)
	}
}

// noToken is the error of a token that cannot be had now. Its cause may quote an authorization server.
func noToken(s *resource.MCPServer, err error) error {
	if _, ok := errors.AsType[*llm.Error](err); ok {
		return err
	}
	return &llm.Error{
		Kind: llm.Unavailable, Code: "mcp_token_unavailable", Scope: "mcp_server", Entity: s.ID, Err: err,
		Message: "The gateway gets no token for the MCP server " + s.Name + ".",
	}
}

// oauthServer is the server as package oauth knows it.
func (l *link) oauthServer() (*oauth.Server, error) {
	if l.all.oauth == nil {
		return nil, errors.New("there is no OAuth here")
	}
	at := &oauth.Server{MCPServer: l.server}
	if l.server.Secrets[resource.MCPSecretClient] != nil {
		text, err := l.secret(resource.MCPSecretClient)
		if err != nil {
			return nil, err
		}
		at.Secret = secret.New(text)
	}
	return at, nil
}

// Grant tells of a person's permission at a server.
type Grant struct {
	Server  *resource.MCPServer
	Allowed bool
	Until   resource.Time // of the access token; 0: it does not say
	Scopes  string
	URL     string // where he can allow it, or again; "" if the cluster does not know its own address
}

// Grants lists what somebody has allowed, or could, at the servers that he may use. server names one; "": all.
func (g *Gateway) Grants(ctx context.Context, who *resource.Principal, server string) (all []Grant, err error) {
	c := &caller{g: g, cat: g.cfg.Catalog(), who: who, levels: who.Levels(nil), header: http.Header{}, server: server}
	for _, s := range c.servers() {
		if !granted(s) {
			continue
		}
		at, err := g.links.of(c.cat, s).oauthServer()
		if err != nil {
			return nil, err
		}
		one := Grant{Server: s}
		if one.Allowed, one.Until, one.Scopes, err = g.links.oauth.Status(ctx, at, resource.MCPHolder(who)); err != nil {
			return nil, err
		}
		var n *needed
		if err := c.needs(s); errors.As(err, &n) {
			one.URL = n.url
		}
		all = append(all, one)
	}
	return all, nil
}

// Forget forgets what somebody has allowed at a server.
func (g *Gateway) Forget(ctx context.Context, who *resource.Principal, server string) error {
	c := &caller{g: g, cat: g.cfg.Catalog(), who: who, levels: who.Levels(nil), header: http.Header{}, server: server}
	all := c.servers()
	if server == "" || len(all) != 1 || !granted(all[0]) {
		return resource.ErrNotFound
	}
	at, err := g.links.of(c.cat, all[0]).oauthServer()
	if err != nil {
		return err
	}
	return g.links.oauth.Forget(ctx, at, resource.MCPHolder(who))
}

// page is what a person sees. It asks before his browser goes anywhere: a link that somebody else
// has sent would give that one his account.
var page = template.Must(template.New("page").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Conclave</title><style>body{font:16px/1.5 system-ui;max-width:34rem;margin:15vh auto;padding:0 1rem}button{font:inherit;padding:.5rem 1rem}</style>
<h1>{{.Title}}</h1><p>{{.Text}}</p>{{if .Ticket}}<form method="post" action="{{.Action}}"><input type="hidden" name="ticket" value="{{.Ticket}}"><button>Go on</button></form>{{end}}</html>
`))

type pageText struct{ Title, Text, Ticket, Action string }

func show(w http.ResponseWriter, status int, p pageText) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = page.Execute(w, p) // who does not listen any more needs no page
}

// granting finds the server that a ticket or a state is for.
func (g *Gateway) granting(id string) (*oauth.Server, *resource.Settings, error) {
	cat := g.cfg.Catalog()
	for _, s := range cat.Tables().MCPServers {
		if s.ID == id && !s.Disabled && granted(s) {
			at, err := g.links.of(cat, s).oauthServer()
			return at, cat.Settings(), err
		}
	}
	return nil, nil, resource.ErrNotFound
}

// askPerson shows the page on which a person begins.
func (g *Gateway) askPerson(w http.ResponseWriter, r *http.Request) {
	ticket := r.URL.Query().Get("ticket")
	id, _, shown, err := g.links.oauth.Ticketed(ticket)
	if err == nil {
		var at *oauth.Server
		if at, _, err = g.granting(id); err == nil {
			show(w, http.StatusOK, pageText{
				"Allow access to " + at.Name + "?",
				"The gateway wants to act for you at the MCP server " + at.Name + ". Whatever it may do there is then done for whoever uses " + shown +
					". If that is not you, or if you have not asked for this, close this page.",
				ticket, authorizePath,
			})
			return
		}
	}
	g.sorry(w, err)
}

// sendPerson sends a person's browser to the authorization server.
func (g *Gateway) sendPerson(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		g.sorry(w, errors.New("the page was not the gateway's own"))
		return
	}
	ticket := r.PostFormValue("ticket")
	id, _, _, err := g.links.oauth.Ticketed(ticket)
	if err != nil {
		g.sorry(w, err)
		return
	}
	at, set, err := g.granting(id)
	if err == nil && set.PublicURL == "" {
		err = errors.New("the setting public_url is not set")
	}
	if err != nil {
		g.sorry(w, err)
		return
	}
	address, cookie, err := g.links.oauth.Begin(r.Context(), at, ticket, set.PublicURL+callbackPath)
	if err != nil {
		g.sorry(w, err)
		return
	}
	http.SetCookie(w, cookieOf(set, cookie, 600))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// cookieOf is the cookie by which a browser is known again that has begun. It comes with the
// navigation back from the authorization server, which is another site: Lax.
func cookieOf(set *resource.Settings, value string, seconds int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // not Secure where the gateway's own address is http on this machine
		Name: grantCookie, Value: value, Path: Path + "/oauth/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(set.PublicURL, "https:"),
	}
}

// takeGrant takes what a person's browser brings back.
func (g *Gateway) takeGrant(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		g.sorry(w, err)
		return
	}
	back := oauth.Returned{State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss"), Error: q.Get("error")}
	if cookie, err := r.Cookie(grantCookie); err == nil {
		back.Cookie = cookie.Value
	}
	id, err := g.links.oauth.Server(back)
	if err != nil {
		g.sorry(w, err)
		return
	}
	at, set, err := g.granting(id)
	if err == nil {
		err = g.links.oauth.End(r.Context(), at, back)
	}
	if err != nil {
		g.sorry(w, err)
		return
	}
	http.SetCookie(w, cookieOf(set, "", -1))
	show(w, http.StatusOK, pageText{Title: "Done", Text: "The gateway may act for you at " + at.Name + " now. You can close this page."})
}

// sorry shows that it did not work, and logs why.
func (g *Gateway) sorry(w http.ResponseWriter, err error) {
	g.cfg.Logger.Warn("MCP authorization fails", "error", err)
	text := "The link is not valid any more, or the authorization server did not agree. Ask for a new link and try again."
	var refused *oauth.Refused
	if errors.As(err, &refused) && refused.Code == "access_denied" {
		text = "Nothing was allowed."
	}
	show(w, http.StatusBadRequest, pageText{Title: "This did not work", Text: text})
}
