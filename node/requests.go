package node

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/ledger/reprice"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// requests is what the node remembers of the requests that it served and refused.
type requests struct {
	rows     *requestlog.Log
	contents *contents.Store
	masking  *masking
	all      *requestlog.Cluster // of all nodes
	repricer *reprice.Repricer
}

// closeRequests ends what was started.
func (r *requests) closeRequests() (err error) {
	if r.contents != nil {
		r.contents.Close()
	}
	if r.rows != nil {
		err = r.rows.Close()
	}
	return err
}

// startRequests opens the request log, which follows the journal.
func (n *Node) startRequests() (err error) {
	settings := func() *resource.Settings { return n.state.Catalog().Settings() }
	dir := filepath.Join(n.cfg.DataDir, "requests")
	n.rows, err = requestlog.Open(requestlog.Config{
		Dir: dir, NodeID: n.identity.NodeID, Source: n.journal, Sign: n.keys.Derive, Logger: n.log, Registerer: n.registry,
		Retention: func() requestlog.Retention {
			s := settings()
			return requestlog.Retention{Rows: time.Duration(s.RequestLogDays) * 24 * time.Hour, Bytes: s.RequestLogBytes}
		},
	})
	if err != nil {
		return err
	}
	n.contents, err = contents.Open(contents.Config{
		Dir: filepath.Join(dir, "content"), Sealer: contentSealer{n.keys}, Keep: n.contentAge,
		Full: func() bool { return n.disk.Room().Low }, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "conclave_contents_left_out_total", Help: "Contents of requests that were not kept, because the disk was nearly full or slower than the requests.",
	}, func() float64 { return float64(n.contents.LeftOut()) }))
	if n.masking, err = newMasking(n.contents.Put, n.registry); err != nil {
		return err
	}
	n.all = requestlog.NewCluster(requestlog.ClusterConfig{
		Log: n.rows, Contents: n.contents, Call: n.consensus.Call, Logger: n.log,
		Nodes: n.requestNodes,
	})
	n.consensus.Handle(egressMethod, n.serveEgress)
	n.consensus.Handle(sinksMethod, n.serveSinks)
	n.consensus.Handle(pluginsMethod, n.servePlugins)
	n.startReprice()
	n.wg.Go(func() { n.all.Run(n.ctx) })
	return nil
}

// booked says whether a node has written a record with one of the ids since then, where the state is a backup's, which need not
// know of it. While a member gives no answer nobody knows.
func (n *Node) booked(ctx context.Context, ids []string, since resource.Time) (bool, error) {
	if generation, err := n.state.ReadGeneration(); err != nil || generation == 0 {
		return false, err
	}
	for _, id := range ids {
		page, missing, err := n.all.Rows(ctx, requestlog.Query{Filter: requestlog.Filter{From: since - resource.Time(time.Hour), RequestID: id}, Limit: 1})
		switch {
		case err != nil:
			return false, err
		case len(page.Rows) > 0:
			return true, nil
		case len(missing) > 0:
			return false, fmt.Errorf("these nodes gave no answer: %s", strings.Join(missing, ", "))
		}
	}
	return false, nil
}

// keepContent keeps what a request said.
func (n *Node) keepContent(s proxy.Said) {
	c := contents.Content{RequestID: s.RequestID, Time: s.Time, Request: s.Request, Response: s.Response, Truncated: s.Truncated, UserAgent: s.UserAgent}
	c.CustomerID, c.Tags = s.Customer, s.Tags
	if k := s.Who.Key; k != nil {
		c.KeyID, c.UserID, c.ProjectID = k.ID, k.UserID, k.ProjectID
	}
	if t := s.Who.Team; t != nil {
		c.TeamID = t.ID
	}
	if o := s.Who.Organization; o != nil {
		c.OrganizationID = o.ID
	}
	if !s.Guards.Masks() {
		n.contents.Put(c)
		return
	}
	end, ok := n.masking.begin(c.RequestID, len(c.Request)+len(c.Response))
	if !ok {
		return
	}
	n.wg.Go(func() { n.masking.run(n.ctx, s.Guards, s.Info, c, end) })
}

// contentAge is for how long contents of these holders are kept, by today's records; 0: they are not.
func (n *Node) contentAge(o *contents.Owners) time.Duration {
	cat := n.state.Catalog()
	var rule resource.ContentRule
	if r, ok := cat.Organization(o.OrganizationID); ok {
		rule.Add(resource.HolderOrganization, &r.Policy)
	}
	if r, ok := cat.Team(o.TeamID); ok {
		rule.Add(resource.HolderTeam, &r.Policy)
	}
	if r, ok := cat.Project(o.ProjectID); ok {
		rule.Add(resource.HolderProject, &r.Policy)
	}
	if r, ok := n.state.User(o.UserID); ok {
		rule.Add(resource.HolderUser, &r.Policy)
	}
	if r, ok := n.state.TeamMember(o.TeamID, o.UserID); ok {
		rule.Add(resource.HolderMember, &r.Policy)
	}
	if r, ok := n.state.Key(o.KeyID); ok {
		rule.Add(resource.HolderKey, &r.Policy)
	}
	if r, ok := n.state.Customer(o.CustomerID); ok {
		rule.Add(resource.HolderCustomer, &r.Policy)
	}
	for _, tag := range o.Tags {
		if r, ok := cat.Tag(tag); ok {
			rule.Add(resource.HolderTag, &r.Policy)
		}
	}
	return rule.Age(cat.Settings())
}

// sealedContent is a resource.Sealed in full: that shows nobody its box.
type sealedContent struct {
	DEK         string `json:"dek"`
	Box         []byte `json:"box"`
	Fingerprint string `json:"print"`
}

// contentSealer encrypts contents under the cluster's data keys.
type contentSealer struct {
	keys interface {
		Seal(plaintext secret.Text, kind, id, field string) (*resource.Sealed, error)
		Open(s *resource.Sealed, kind, id, field string) (secret.Text, error)
	}
}

// Seal implements contents.Sealer.
func (s contentSealer) Seal(plain []byte, requestID string) ([]byte, error) {
	sealed, err := s.keys.Seal(secret.New(string(plain)), "request", requestID, "content")
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealedContent{sealed.DEK, sealed.Box, sealed.Fingerprint})
}

// Open implements contents.Sealer.
func (s contentSealer) Open(b []byte, requestID string) ([]byte, error) {
	var sealed sealedContent
	if err := json.Unmarshal(b, &sealed); err != nil {
		return nil, fmt.Errorf("read sealed content: %w", err)
	}
	text, err := s.keys.Open(&resource.Sealed{DEK: sealed.DEK, Box: sealed.Box, Fingerprint: sealed.Fingerprint}, "request", requestID, "content")
	if err != nil {
		return nil, err
	}
	return []byte(text.Reveal()), nil
}
