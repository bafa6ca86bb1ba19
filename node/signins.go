package node

import (
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/node/signin"
)

// startSignins begins to renew the tokens of sign-ins, while this node leads. It follows no redirect: a token goes
// nowhere else.
func (n *Node) startSignins() {
	c := n.egress.Client(30 * time.Second)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := signin.New(signin.Config{
		Catalog: n.state.Catalog, Keys: n.keys, Propose: n.proposeOwn, Client: c, URL: n.cfg.SignIn.URL, Every: n.cfg.SignIn.Every, Now: n.cfg.SignIn.Now,
		Leads: func() bool { return n.consensus.IsLeader() && n.fresh.Fresh() }, Logger: n.log,
	})
	n.wg.Go(func() { r.Run(n.ctx) })
}
