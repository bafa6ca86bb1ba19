package node

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/courier"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/channel"
)

const (
	rotationLook = time.Minute     // between two looks at keys whose rotation is due
	rotationLate = 2 * time.Minute // after which a delivery that did not come about is told
	fetchLate    = time.Hour       // the same where the owner has to do something
	expiringLook = time.Hour
	expiringPage = 500
	maxSights    = 10_000 // of one kind
)

// alertSources is the table of what is looked at beside budgets.
func (n *Node) alertSources() []courier.Source {
	return []courier.Source{
		{Kind: channel.NodeDown, Look: n.nodeSights(nodeDown)},
		{Kind: channel.NodeQuarantined, Look: n.nodeSights(nodeQuarantined)},
		{Kind: channel.NodeDisk, Look: n.nodeSights(nodeDisk)},
		{Kind: channel.DeploymentCooldown, Look: n.cooldownSights},
		{Kind: channel.PricesFailed, Look: n.priceFailures},
		{Kind: channel.PricesHeld, Look: n.pricesHeld},
		{Kind: channel.NamesFull, Look: n.namesFull},
		{Kind: channel.AuditBehind, Look: n.auditBehind},
		{Kind: channel.AuditDropped, Look: n.auditDropped},
		{Kind: channel.SpendCaptureLow, Look: n.captureSights(captureLow)},
		{Kind: channel.SpendCaptureFailed, Look: n.captureSights(captureFailed)},
		{Kind: channel.KeyRotationFailed, Every: rotationLook, Look: n.rotationSights(false)},
		{Kind: channel.KeyRotationWaiting, Every: rotationLook, Look: n.rotationSights(true)},
		{Kind: channel.KeyExpiring, Every: expiringLook, Look: n.expiringKeys},
	}
}

func (n *Node) alertSettings() *channel.Settings { return &n.state.Catalog().Settings().Alerts }

func (n *Node) alertNow() resource.Time {
	if now := n.cfg.Alerts.Now; now != nil {
		return resource.At(now())
	}
	return resource.At(clock.Now())
}

// nodeSights looks at the members: of says what is wrong with one, "" for nothing, and for how
// long that has to last; never says that nobody wants to know.
func (n *Node) nodeSights(of func(s *channel.Settings, m *consensus.MemberStatus) (text string, after time.Duration, never bool)) func(context.Context) ([]courier.Sight, bool) {
	return func(ctx context.Context) ([]courier.Sight, bool) {
		var all []courier.Sight
		members := n.consensus.Members(ctx)
		for i := range members {
			m := &members[i]
			text, after, never := of(n.alertSettings(), m)
			if text == "" || never {
				continue
			}
			all = append(all, courier.Sight{ID: m.ID, After: after, Lasting: true, Subject: "node/" + m.ID, Name: m.Name, Text: text})
		}
		return all, ctx.Err() == nil
	}
}

func nodeDown(s *channel.Settings, m *consensus.MemberStatus) (string, time.Duration, bool) {
	if m.Reachable {
		return "", 0, false
	}
	return fmt.Sprintf("Node %s at %s does not answer.", m.Name, m.Address), s.NodeDownAfter, s.NodeDownAfter == 0
}

func nodeQuarantined(_ *channel.Settings, m *consensus.MemberStatus) (string, time.Duration, bool) {
	if m.Quarantined == "" {
		return "", 0, false
	}
	return fmt.Sprintf("Node %s is quarantined: %s", m.Name, m.Quarantined), 0, false
}

func nodeDisk(_ *channel.Settings, m *consensus.MemberStatus) (string, time.Duration, bool) {
	if !m.Reachable || !m.Local.DiskLow {
		return "", 0, false
	}
	return fmt.Sprintf("The disk of node %s is nearly full: %d MiB of %d MiB are free.", m.Name, m.Local.DiskFree>>20, m.Local.DiskSize>>20), 0, false
}

// cooldownSights lists the deployments to which nothing is sent.
func (n *Node) cooldownSights(context.Context) ([]courier.Sight, bool) {
	after := n.alertSettings().CooldownAfter
	if after == 0 {
		return nil, true
	}
	cat := n.state.Catalog()
	var all []courier.Sight
	for _, l := range n.router.Stats().Loads() {
		d, ok := cat.Deployment(l.DeploymentID)
		if l.CoolsDown == 0 || !ok {
			continue
		}
		name := d.Name
		if m, ok := cat.ModelByID(d.ModelID); ok {
			name = m.Name + "/" + name
		}
		all = append(all, courier.Sight{
			ID: d.ID, After: after, Lasting: true, Subject: resource.HolderDeployment + "/" + d.ID, Name: name,
			Text: fmt.Sprintf("Nothing has been sent to deployment %s of provider %s for %s but tries: it fails.", name, d.Provider, after),
		})
	}
	return all, true
}

// priceFailures tells of the last download, if it failed. A node that has not tried knows nothing.
func (n *Node) priceFailures(context.Context) ([]courier.Sight, bool) {
	conf := n.state.Catalog().Settings().PriceSync
	last := n.prices.Last()
	switch {
	case conf.URL == "":
		return nil, true
	case last.At == 0:
		return nil, false
	case last.Result != "failed":
		return nil, true
	}
	return []courier.Sight{{
		ID: "sync", Lasting: true, Subject: "prices/sync", Text: "Prices could not be downloaded from " + conf.URL + ": " + short(last.Error),
	}}, true
}

// pricesHeld tells of prices that a person has to accept, once for each download.
func (n *Node) pricesHeld(context.Context) ([]courier.Sight, bool) {
	t := n.state.Catalog().Prices()
	if t == nil || t.ProposedCount == 0 {
		return nil, true
	}
	return []courier.Sight{{
		ID: t.SHA256, Lasting: true, Subject: "prices/sync",
		Text: fmt.Sprintf("%d prices of %s wait for a person: conclave price review", t.ProposedCount, t.Source),
	}}, true
}

// namesFull tells that new end users, or tags, have no totals of their own any more.
func (n *Node) namesFull(context.Context) ([]courier.Sight, bool) {
	now, set := n.state.Names(), n.state.Catalog().Settings()
	var all []courier.Sight
	for _, of := range []struct {
		kind, setting string
		count, most   int64
	}{
		{resource.HolderCustomer, resource.SettingCountedCustomers, now.Customers, set.CountedCustomers},
		{resource.HolderTag, resource.SettingCountedTags, now.Tags, set.CountedTags},
	} {
		if of.most > 0 && of.count >= of.most {
			all = append(all, courier.Sight{
				ID: of.kind, Lasting: true, Subject: "setting/" + of.setting,
				Text: fmt.Sprintf("%d names of the kind %s have totals of their own, as many as the setting %s allows: what further ones spend is counted for %s.", of.count, of.kind, of.setting, fsm.OtherName),
			})
		}
	}
	return all, true
}

// rotationSights lists the keys whose new secret is not delivered, by whose fault that is.
func (n *Node) rotationSights(owners bool) func(context.Context) ([]courier.Sight, bool) {
	return func(ctx context.Context) ([]courier.Sight, bool) {
		now := n.alertNow()
		why := map[string]string{}
		for _, w := range n.rotation.Waiting() {
			why[w.KeyID] = w.Error
		}
		var all []courier.Sight
		n.eachKey(ctx, fsm.ListQuery{Due: now}, func(k *resource.Key) {
			if s, ok := rotationSight(k, now, why[k.ID]); ok && k.Rotation.Deliver.ByOwner() == owners {
				all = append(all, s)
			}
		})
		return all, ctx.Err() == nil
	}
}

// rotationSight is what is to be told of a key whose rotation is due.
func rotationSight(k *resource.Key, now resource.Time, why string) (courier.Sight, bool) {
	if k.Rotation == nil || k.Blocked || k.ExpiredAt(now) {
		return courier.Sight{}, false
	}
	since, late := k.RotateAt, rotationLate
	if k.Next != nil {
		since = max(since, k.Next.At)
	}
	text := fmt.Sprintf("The new secret of key %s is not delivered to its %s; the old one stays.", k.ID, k.Rotation.Deliver)
	if k.Rotation.Deliver.ByOwner() {
		late, text = fetchLate, fmt.Sprintf("The owner of key %s has not fetched its new secret; the old one stays.", k.ID)
	}
	if why != "" && !k.Rotation.Deliver.ByOwner() {
		text += " " + short(why)
	}
	id := k.ID + "/" + strconv.FormatInt(int64(k.RotateAt), 10)
	return courier.Sight{ID: id, Lasting: true, Subject: "key/" + k.ID, Name: k.Name, Text: text}, now-since >= resource.Time(late)
}

// expiringKeys lists the keys that end soon, each once for the end that it has.
func (n *Node) expiringKeys(ctx context.Context) ([]courier.Sight, bool) {
	ahead := n.alertSettings().KeyExpiring
	if ahead == 0 {
		return nil, true
	}
	now := n.alertNow()
	var all []courier.Sight
	n.eachKey(ctx, fsm.ListQuery{Expired: now + resource.Time(ahead)}, func(k *resource.Key) {
		if k.Blocked || k.ExpiredAt(now) {
			return
		}
		all = append(all, courier.Sight{
			ID: k.ID + "/" + strconv.FormatInt(int64(k.ExpiresAt), 10), Subject: "key/" + k.ID, Name: k.Name,
			Text: fmt.Sprintf("Key %s ends at %s.", k.ID, k.ExpiresAt.Std().Format(time.RFC3339)),
		})
	})
	return all, ctx.Err() == nil
}

// eachKey visits the keys that a query selects, as far as a bound.
func (n *Node) eachKey(ctx context.Context, q fsm.ListQuery, visit func(*resource.Key)) {
	q.Limit = expiringPage
	for count := 0; count < maxSights && ctx.Err() == nil; count += q.Limit {
		keys, next, _ := n.state.Keys(q)
		for _, k := range keys {
			visit(k)
		}
		if q.Cursor = next; next == "" {
			return
		}
	}
}

// short bounds what others say.
func short(text string) string {
	const most = 500
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
