package mcp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	authplugin "github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/resource"
)

// callerKey is under which a request's context has its caller.
type callerKey struct{}

// caller is who asks, with the one view of the state that his request sees.
type caller struct {
	g        *Gateway
	cat      *resource.Catalog
	who      *resource.Principal
	levels   []resource.Level // who's own, then further
	further  []resource.Level // the end user's and the tags'
	customer string
	tags     []string
	session  string
	secret   string // that must not go to a server
	header   http.Header
	server   string          // in the path; "": all
	selected []string        // servers and access groups that the client wants; nil: all
	ctx      context.Context //nolint:containedctx // the HTTP request's: who hangs up stops his call
}

// admit finds out who asks, and whether he may ask here at all.
func (g *Gateway) admit(r *http.Request, w http.ResponseWriter) (*caller, error) {
	if err := g.cfg.Serving(); err != nil {
		return nil, &llm.Error{Kind: llm.Unavailable, Code: "conclave_stale", Message: "This node has not heard from the cluster for too long.", Err: err}
	}
	cat := g.cfg.Catalog()
	set := cat.Settings()
	c := &caller{g: g, cat: cat, header: r.Header, server: r.PathValue("server"), ctx: r.Context()}
	c.secret = auth.Secret(r.Header, set.KeyHeader)
	var err error
	if c.who, err = g.cfg.Auth.AuthenticateRequest(r.Context(), cat, &authplugin.Request{
		Secret: c.secret, Header: r.Header, Method: r.Method, Path: r.URL.Path, Address: policy.ClientText(r.RemoteAddr, r.Header, set),
	}); err != nil {
		return nil, err
	}
	c.levels = c.who.Levels(nil)
	if err := policy.CheckType(c.who.Key, r.URL.Path); err != nil {
		return nil, err
	}
	if err := c.addCustomer(set); err != nil {
		return nil, err
	}
	if err := c.addTags(); err != nil {
		return nil, err
	}
	c.levels = append(c.levels, c.further...)
	if err := policy.CheckExpiry(c.further, g.cfg.Now()); err != nil {
		return nil, err
	}
	if err := policy.CheckRoute(c.levels, Path, r.URL.Path); err != nil {
		return nil, err
	}
	if err := policy.CheckSource(r.RemoteAddr, r.Header, set, c.levels); err != nil {
		return nil, err
	}
	c.session = policy.Session(r.Header, &llm.Fields{})
	if err := policy.CheckSession(c.levels, c.session); err != nil {
		return nil, err
	}
	if limit := policy.RequestLimit(set, c.levels); limit > 0 {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	c.selected = listed(r.Header, "X-Mcp-Servers", "X-Mcp-Access-Groups")
	w.Header().Set("X-Conclave-Node", g.cfg.NodeID)
	return c, nil
}

// addCustomer takes the end user, whom a header may name, into the levels.
func (c *caller) addCustomer(set *resource.Settings) (err error) {
	if c.customer = c.who.CustomerID; c.customer == "" {
		c.customer, err = policy.Customer(c.header, set, &llm.Fields{})
	}
	if err != nil || c.customer == "" {
		return err
	}
	var record *resource.Customer
	if c.g.cfg.Customers != nil {
		record, _ = c.g.cfg.Customers.Customer(c.customer)
	}
	if record == nil && c.who.CustomerID != "" {
		return auth.Stranger(resource.HolderCustomer)
	}
	if err := policy.CheckCustomer(c.customer, set, record); err != nil {
		return err
	}
	l, none, ok := c.cat.CustomerLevel(c.customer, record, c.who)
	if !ok {
		return policy.NoBudget()
	}
	if !none {
		c.further = append(c.further, l)
	}
	return nil
}

func (c *caller) addTags() (err error) {
	if c.tags, err = policy.Tags(c.header, c.levels, nil); err != nil {
		return err
	}
	for _, id := range c.tags {
		if t, ok := c.cat.Tag(id); ok {
			l, _ := resource.LevelOf(t)
			c.further = append(c.further, l)
		}
	}
	return nil
}

// listed reads lists of names from headers, nil if they have none.
func listed(h http.Header, names ...string) (out []string) {
	for _, name := range names {
		for _, v := range h[name] {
			for part := range strings.SplitSeq(v, ",") {
				if part = strings.TrimSpace(part); part != "" {
					out = append(out, part)
				}
			}
		}
	}
	return out
}

// newID makes the id of a call.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return "mcp-" + hex.EncodeToString(b[:])
}
