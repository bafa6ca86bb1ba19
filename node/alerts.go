package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/courier"
	"github.com/conclave-llm/conclave/node/courier/post"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
	"github.com/conclave-llm/conclave/secret"
)

// AlertsConfig is when alerts are looked for and delivered. Its zero value is good.
type AlertsConfig struct {
	Look <-chan time.Time // when to look at the states that are worth an alert; nil: every fifteen seconds
	Now  func() time.Time // nil: clock.Now
}

// alerts counts the budgets that have passed their soft limit. Every node applies the entry that
// passes one; the leader alone counts, so that each is counted once.
type alerts struct {
	leads atomic.Pointer[func() bool] // nil: not known yet, for entries are applied while consensus starts
	soft  *prometheus.CounterVec      // by kind of holder
}

func newAlerts(reg prometheus.Registerer) *alerts {
	a := &alerts{soft: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_budget_soft_limits_passed_total",
		Help: "Windows of budgets whose spend passed the soft limit while this node led, by kind of holder.",
	}, []string{"kind"})}
	reg.MustRegister(a.soft)
	return a
}

// passed counts the soft limits that a batch of entries has passed.
func (a *alerts) passed(all []fsm.SoftLimit) {
	if len(all) == 0 {
		return
	}
	if leads := a.leads.Load(); leads == nil || !(*leads)() {
		return
	}
	for _, s := range all {
		kind, _, _, _ := s.Account.Split()
		a.soft.WithLabelValues(kind).Inc()
	}
}

// startPost makes what brings letters and alerts to people.
func (n *Node) startPost() {
	info, _ := n.state.Cluster()
	n.post = post.New(post.Config{
		Cluster: info.ClusterID, Dialer: n.egress, Secret: n.credentialKey, Callback: n.plugins.DeliverAudit, Now: n.cfg.Alerts.Now,
	})
}

// startAlerts begins to deliver alerts, and to look for what is worth one, while this node leads.
func (n *Node) startAlerts(context.Context) error {
	c := courier.New(courier.Config{
		State: n.state, Leads: n.consensus.IsLeader, Propose: n.proposeOwn, Send: n.post.Send, Name: n.nameOf, Wake: n.alerted,
		Now: n.cfg.Alerts.Now, Logger: n.log, Registerer: n.registry,
	})
	w := courier.NewWatch(courier.WatchConfig{
		Sources: n.alertSources(), Open: n.state.OpenAlerts, Leads: n.consensus.IsLeader, Propose: n.proposeOwn,
		Look: n.cfg.Alerts.Look, Now: n.cfg.Alerts.Now, Logger: n.log,
	})
	n.wg.Go(func() { c.Run(n.ctx) })
	n.wg.Go(func() { w.Run(n.ctx) })
	return nil
}

// credentialKey opens the api_key of a credential.
func (n *Node) credentialKey(name string) (secret.Text, error) {
	for _, c := range n.state.Catalog().Tables().Credentials {
		if c.Name != name && c.ID != name {
			continue
		}
		if c.APIKey == nil {
			return secret.Text{}, fmt.Errorf("the credential %q has no api_key: %w", name, resource.ErrRefused)
		}
		return n.opener().Open(c.APIKey, "credential", c.ID, "api_key")
	}
	return secret.Text{}, fmt.Errorf("there is no credential %q: %w", name, resource.ErrNotFound)
}

// nameOf is what people call a record, "" if they do not.
func (n *Node) nameOf(kind, id string) string {
	cat := n.state.Catalog()
	switch kind {
	case resource.HolderKey:
		if k, ok := n.state.Key(id); ok {
			return k.Name
		}
	case resource.HolderUser:
		if u, ok := n.state.User(id); ok {
			return u.Name
		}
	case resource.HolderTeam:
		if t, ok := cat.Team(id); ok {
			return t.Name
		}
	case resource.HolderProject:
		if p, ok := cat.Project(id); ok {
			return p.Name
		}
	case resource.HolderOrganization:
		if o, ok := cat.Organization(id); ok {
			return o.Name
		}
	case resource.HolderModel:
		if m, ok := cat.ModelByID(id); ok {
			return m.Name
		}
	case resource.HolderAccessGroup:
		if g, ok := cat.AccessGroup(id); ok {
			return g.Name
		}
	}
	return ""
}

// alertTester tries channels for the admin API.
type alertTester struct{ n *Node }

// TryAlert sends an alert that stands in no list, at once and once.
func (t alertTester) TryAlert(ctx context.Context, name string) error {
	settings := t.n.state.Catalog().Settings().Alerts
	c := settings.Named(name)
	if c == nil {
		return fmt.Errorf("channel %q of the setting alerts: %w", name, resource.ErrNotFound)
	}
	at := resource.At(clock.Now())
	return t.n.post.Send(ctx, c, nil, &alert.Alert{
		ID: fmt.Sprintf("alrt_test_%x", int64(at)), Kind: channel.Test, At: at, Subject: "node/" + t.n.identity.NodeID, Name: t.n.cfg.Name,
		Key: fmt.Sprintf("test/%d", at), Text: "This is a test of the channel " + name + ". Nothing has happened.",
	})
}
