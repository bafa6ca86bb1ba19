package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/signin"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

const (
	signInMethod       = "signin/get"
	cancelSignInMethod = "signin/cancel"
	signInTimeout      = 5 * time.Second // for another node to answer
)

// startSignins begins to renew the tokens of sign-ins, while this node leads, and lets people sign in. It follows no
// redirect: a token goes nowhere else.
func (n *Node) startSignins() {
	c := n.egress.Client(30 * time.Second)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := signin.New(signin.Config{
		Catalog: n.state.Catalog, Keys: n.keys, Propose: n.proposeOwn, Client: c, Way: n.wayToSignIn, Every: n.cfg.SignIn.Every, Now: n.cfg.SignIn.Now,
		Leads: func() bool { return n.consensus.IsLeader() && n.fresh.Fresh() }, Logger: n.log,
	})
	n.wg.Go(func() { r.Run(n.ctx) })
	n.desk = signin.NewDesk(signin.DeskConfig{
		NodeID: n.identity.NodeID, Node: n.cfg.Name, Client: c, Way: n.wayToSignIn, Logger: n.log,
		Go: func(f func(context.Context)) { n.wg.Go(func() { f(n.ctx) }) },
	})
	n.consensus.Handle(signInMethod, n.serveSignIn(n.desk.SignIn))
	n.consensus.Handle(cancelSignInMethod, n.serveSignIn(n.desk.CancelSignIn))
}

// wayToSignIn implements signin.Way: through the proxy through which requests with the credential, or to the deployment,
// go. Of the credential's secrets nothing is opened but what the proxy wants.
func (n *Node) wayToSignIn(ctx context.Context, provider string, c *resource.Credential, d *resource.Deployment) (context.Context, error) {
	t := router.Target{Model: &resource.Model{}, Deployment: &resource.Deployment{Provider: provider}}
	if c != nil {
		t.Credential = &resource.Credential{Meta: c.Meta, Secrets: ofTheWay(c.Secrets), Egress: c.Egress}
	}
	if d != nil {
		t.Deployment = &resource.Deployment{Meta: d.Meta, Provider: provider, Secrets: ofTheWay(d.Secrets), Egress: d.Egress}
	}
	seen := view.Cache{Secrets: n.opener(), Egress: n.egress}
	v := seen.Of(n.state.Catalog()).Deployment(&t)
	return egress.WithLink(ctx, v.Link), v.Err
}

// ofTheWay are the secrets that the way to a provider takes.
func ofTheWay(all map[string]*resource.Sealed) map[string]*resource.Sealed {
	out := map[string]*resource.Sealed{}
	for _, name := range []string{resource.SecretProxyPassword, resource.SecretTLSKey} {
		if s := all[name]; s != nil {
			out[name] = s
		}
	}
	return out
}

// signIns are the sign-ins of all nodes, for the admin API.
type signIns struct{ n *Node }

// signInAnswer is what a node says of one of its sign-ins.
type signInAnswer struct {
	Known  bool          `json:"known"`
	SignIn client.SignIn `json:"sign_in"`
}

// Begin implements providers.SignIns.
func (s signIns) Begin(ctx context.Context, o providers.SignInOrder) (client.SignIn, error) {
	return s.n.desk.Begin(ctx, o)
}

// SignIn implements providers.SignIns.
func (s signIns) SignIn(ctx context.Context, id string) (client.SignIn, error) {
	return s.ask(ctx, id, signInMethod, s.n.desk.SignIn)
}

// CancelSignIn implements providers.SignIns.
func (s signIns) CancelSignIn(ctx context.Context, id string) (client.SignIn, error) {
	return s.ask(ctx, id, cancelSignInMethod, s.n.desk.CancelSignIn)
}

// ask asks the node that began the sign-in, whose id ends with that of the node.
func (s signIns) ask(ctx context.Context, id, method string, here func(id string) (client.SignIn, bool)) (client.SignIn, error) {
	_, node, _ := strings.Cut(id, ".")
	var out signInAnswer
	switch m, ok := s.n.state.Member(node); {
	case node == s.n.identity.NodeID:
		out.SignIn, out.Known = here(id)
	case ok && !m.Removed:
		ctx, cancel := context.WithTimeout(ctx, signInTimeout)
		defer cancel()
		body, err := json.Marshal(id)
		if err == nil {
			body, err = s.n.consensus.Call(ctx, node, method, body)
		}
		if err == nil {
			err = json.Unmarshal(body, &out)
		}
		if err != nil {
			return client.SignIn{}, &llm.Error{Kind: llm.Unavailable, Message: "node " + m.Name + ", which began the sign-in, does not answer", Err: err}
		}
	}
	if !out.Known {
		return client.SignIn{}, &llm.Error{Kind: llm.NotFound, Code: "not_found", Message: "the sign-in is not known: the node that began it has restarted, or it ended more than an hour ago; sign in again"}
	}
	return out.SignIn, nil
}

// serveSignIn answers another node's question.
func (n *Node) serveSignIn(here func(id string) (client.SignIn, bool)) func(context.Context, string, []byte) ([]byte, error) {
	return func(_ context.Context, _ string, body []byte) ([]byte, error) {
		var id string
		if err := json.Unmarshal(body, &id); err != nil {
			return nil, fmt.Errorf("read question about a sign-in: %w", err)
		}
		var out signInAnswer
		out.SignIn, out.Known = here(id)
		return json.Marshal(out)
	}
}
