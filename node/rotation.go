package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/rotation"
	"github.com/conclave-llm/conclave/node/courier/post"
	"github.com/conclave-llm/conclave/node/keyservice"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// startRotation begins to rotate the secrets that are due, while this node leads.
func (n *Node) startRotation() {
	n.rotation = rotation.New(rotation.Config{
		NodeID: n.identity.NodeID, Store: n.consensus, State: n.state, Seal: n.seal, Open: n.unseal,
		Mail: n.mailLink, Keep: n.keepSecret, Derive: n.keys.Derive, Fresh: n.caughtUp,
		Look: n.cfg.Rotation.Look, HTTP: n.rotationHTTP(), Now: n.cfg.Rotation.Now, Logger: n.log, Registerer: n.registry,
	})
	n.wg.Go(func() { n.rotation.Run(n.ctx, n.consensus.IsLeader) })
}

// rotationHTTP brings secrets to webhooks. It follows no redirect: a secret goes nowhere else.
func (n *Node) rotationHTTP() *http.Client {
	if n.cfg.Rotation.HTTP != nil {
		return n.cfg.Rotation.HTTP
	}
	c := n.egress.Client(10 * time.Second)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// mailLink sends the owner of a key a link, through the first channel of alerts that is a mail server.
func (n *Node) mailLink(ctx context.Context, l rotation.Letter) error {
	c := n.alertSettings().Mail()
	if c == nil {
		return errors.New("the setting alerts has no channel of the type email, through which links are sent")
	}
	return n.post.Mail(ctx, c, []string{l.To}, post.Mail{ID: l.ID, Subject: l.Subject, Text: l.Text})
}

// caughtUp waits until this node has what the leader has.
func (n *Node) caughtUp(ctx context.Context) error { return n.miss(ctx, resource.Hash{}) }

// keepSecret writes the new secret of a key to the store that has the old one, or else to Vault. Writing it
// again changes nothing but the version.
func (n *Node) keepSecret(ctx context.Context, k *resource.Key, text string) error {
	if k.StoredIn != "" {
		return n.secrets.Put(ctx, k.StoredIn, secret.New(text), "")
	}
	s := n.state.Catalog().Settings().RotationStore
	if s == nil {
		return errors.New("the setting rotation_store is missing, where secrets are written to")
	}
	at := keyservice.Shelf{API: strings.TrimRight(s.Vault, "/") + "/v1", URL: s.URL(k.ID), Namespace: s.Namespace}
	if s.Credential != "" {
		token, err := n.credentialKey(s.Credential)
		if err != nil {
			return err
		}
		at.Token = token.Reveal()
	}
	services := keyservice.New(keyservice.Config{Client: n.rotationHTTP()})
	if err := services.Keep(ctx, at, map[string]string{"key": text, "key_id": k.ID, "name": k.Name}); err != nil {
		return fmt.Errorf("write to secret store: %w", err)
	}
	return nil
}

// unseal opens what seal has made.
func (n *Node) unseal(s *resource.Sealed, kind, id, field string) (string, error) {
	text, err := n.keys.Open(s, kind, id, field)
	return text.Reveal(), err
}
