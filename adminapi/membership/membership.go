// Package membership is what the admin API does with the nodes of the cluster: who is there and how
// they are, join tokens, votes, drains, removal, the leadership and the cluster's version.
package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

// The life of a join token: the default and the bound.
const (
	joinTTL    = 15 * time.Minute
	maxJoinTTL = 24 * time.Hour
)

// Change is a wish of an operator about a node.
type Change struct {
	Verb      string // "remove", "promote", "demote", "drain", "undrain", "transfer", "repair"
	ID        string // of the node; "" of a transfer: any other voter
	DryRun    bool   // check only
	By        fsm.Actor
	RequestID string
}

// Token is a join token that is to be made.
type Token struct {
	By        fsm.Actor
	RequestID string
	TTL       time.Duration
	Replaces  string // id of the node that its use removes; "": none
	DryRun    bool
}

// Cluster changes the membership and watches it.
type Cluster interface {
	// Members tells of every node, as the one that is asked sees it.
	Members(ctx context.Context) []client.Member
	// JoinToken makes a token, which is shown once.
	JoinToken(ctx context.Context, t Token) (string, error)
	// Change does what an operator wants and tells how many voters there are then, how many
	// of them answer, and how many are needed.
	Change(ctx context.Context, c Change) (client.Votes, error)
	// Egress asks every node what it may dial and what it did.
	Egress(ctx context.Context) []client.NodeEgress
	// Confirm waits for every registered member to apply the index, and says who has and who is late.
	Confirm(ctx context.Context, index uint64, wait time.Duration) client.Receipt
}

// State reads the replicated state of this node. *fsm.FSM implements it.
type State interface {
	Cluster() (fsm.ClusterInfo, bool)
	Generation() uint64
	Applied() uint64
	FSMVersion() uint32
	JoinTokens(now resource.Time) []memory.JoinToken
	Catalog() *resource.Catalog
}

// Config is what New needs; all of it.
type Config struct {
	Cluster Cluster
	Rotator Rotator
	State   State
	Store   records.Store
	// Record takes what changes no record into the audit log, before it is done.
	Record func(ctx context.Context, by records.Caller, action, id string) error
	Now    func() time.Time
}

// API answers questions and wishes about the nodes.
type API struct{ cfg Config }

// New returns an API.
func New(cfg Config) *API { return &API{cfg: cfg} }

// Show is the cluster as this node sees it.
func (a *API) Show(ctx context.Context) client.Cluster {
	info, _ := a.cfg.State.Cluster()
	out := client.Cluster{
		ID: info.ClusterID, Generation: a.cfg.State.Generation(), Applied: a.cfg.State.Applied(),
		Version: a.cfg.State.FSMVersion(), Members: a.cfg.Cluster.Members(ctx),
		Rotations: a.Rotations(),
	}
	for _, m := range out.Members {
		if m.Leader {
			out.Leader = m.ID
		}
		if m.Voter {
			out.Votes.Voters++
			if m.Reachable {
				out.Votes.Alive++
			}
		}
	}
	out.Votes.Need = out.Votes.Voters/2 + 1
	return out
}

// Node finds a node by id, or by a name that only one has.
func (a *API) Node(ctx context.Context, ref string) (client.Member, error) {
	var named []client.Member
	for _, m := range a.cfg.Cluster.Members(ctx) {
		if m.ID == ref {
			return m, nil
		}
		if m.Name == ref {
			named = append(named, m)
		}
	}
	if len(named) == 1 {
		return named[0], nil
	}
	return client.Member{}, fmt.Errorf("node %q: %w", ref, resource.ErrNotFound)
}

// unrecorded are the verbs that write no record of their own, which an audit entry would tell of.
var unrecorded = []string{"transfer", "repair"}

// Change does a verb with a node; ref may be "" with a transfer.
func (a *API) Change(ctx context.Context, by records.Caller, verb, ref string, dryRun bool) (client.NodeChange, error) {
	out := client.NodeChange{DryRun: dryRun}
	if ref != "" {
		m, err := a.Node(ctx, ref)
		if err != nil {
			return out, err
		}
		out.ID, out.Name = m.ID, m.Name
	}
	c := Change{Verb: verb, ID: out.ID, DryRun: true, By: by.Actor(), RequestID: by.RequestID}
	var err error
	if out.Votes, err = a.cfg.Cluster.Change(ctx, c); err != nil || dryRun {
		return out, err
	}
	if slices.Contains(unrecorded, verb) {
		if err := a.cfg.Record(ctx, by, verb, out.ID); err != nil {
			return out, err
		}
	}
	c.DryRun = false
	out.Votes, err = a.cfg.Cluster.Change(ctx, c)
	return out, err
}

// Replace makes a token whose use removes a node and puts another in its place.
func (a *API) Replace(ctx context.Context, by records.Caller, ref, ttl string, dryRun bool) (client.JoinToken, error) {
	m, err := a.Node(ctx, ref)
	if err != nil {
		return client.JoinToken{}, err
	}
	return a.token(ctx, by, ttl, m.ID, dryRun)
}

// MakeToken makes a token for one node to join with.
func (a *API) MakeToken(ctx context.Context, by records.Caller, ttl string, dryRun bool) (client.JoinToken, error) {
	return a.token(ctx, by, ttl, "", dryRun)
}

func (a *API) token(ctx context.Context, by records.Caller, ttl, replaces string, dryRun bool) (client.JoinToken, error) {
	life := joinTTL
	if ttl != "" {
		d, err := records.ParseDuration(ttl)
		if err != nil || d <= 0 || d > maxJoinTTL {
			return client.JoinToken{}, &resource.Invalid{Field: "ttl", Reason: "is not a duration up to 24h such as 15m"}
		}
		life = d
	}
	token, err := a.cfg.Cluster.JoinToken(ctx, Token{By: by.Actor(), RequestID: by.RequestID, TTL: life, Replaces: replaces, DryRun: dryRun})
	return client.JoinToken{Token: token, Expires: resource.At(a.cfg.Now().Add(life)), Replaces: replaces, DryRun: dryRun}, err
}

// Tokens lists the tokens that can be used; their secrets are not kept.
func (a *API) Tokens() []client.JoinToken {
	out := []client.JoinToken{}
	for _, t := range a.cfg.State.JoinTokens(resource.At(a.cfg.Now())) {
		out = append(out, client.JoinToken{ID: idOf(t.Hash), Expires: t.Expires, CreatedAt: t.Created, CreatedBy: t.By, Replaces: t.Replaces})
	}
	return out
}

// Revoke makes a token useless.
func (a *API) Revoke(ctx context.Context, by records.Caller, id string, dryRun bool) error {
	for _, t := range a.cfg.State.JoinTokens(resource.At(a.cfg.Now())) {
		if idOf(t.Hash) != id {
			continue
		}
		if dryRun {
			return nil
		}
		_, err := a.cfg.Store.Propose(ctx, by.Actor(), by.RequestID, fsm.DropJoinToken{Hash: t.Hash})
		return err
	}
	return fmt.Errorf("join token %q is unknown, used or expired: %w", id, resource.ErrNotFound)
}

// idOf names a token by the start of its hash, which tells nothing of the token.
func idOf(h resource.Hash) string { return h.String()[:16] }

// Versions tells which version of the state machine the cluster has and could have.
func (a *API) Versions() client.Upgrade {
	out := client.Upgrade{Version: a.cfg.State.FSMVersion()}
	lowest := uint32(0)
	for _, m := range a.cfg.State.Catalog().Tables().Members {
		v := client.NodeVersion{ID: m.ID, Name: m.Name, Binary: m.Version, Oldest: max(1, m.FSMOldest), Newest: max(1, m.FSMVersion)}
		out.Nodes = append(out.Nodes, v)
		if lowest == 0 || v.Newest < lowest {
			lowest = v.Newest
		}
	}
	out.Possible = max(out.Version, lowest)
	if info, ok := a.cfg.State.Cluster(); ok && info.Rollout != nil {
		out.Rollout = RolloutView(info.Rollout, a.cfg.State.Catalog())
	}
	return out
}

// errNothing says that there is nothing to finalise.
var errNothing = errors.New("every node runs this version, and no newer one")

// Upgrade raises the version to what all nodes run, or to a version if it is not 0.
func (a *API) Upgrade(ctx context.Context, by records.Caller, version uint32, dryRun bool) (client.Upgrade, error) {
	now := a.Versions()
	if version == 0 {
		version = now.Possible
	}
	for _, n := range now.Nodes {
		if version < n.Oldest || version > n.Newest {
			return now, fmt.Errorf("node %s (%s) runs the versions %d to %d of the state machine, not %d: %w", n.Name, n.ID, n.Oldest, n.Newest, version, resource.ErrRefused)
		}
	}
	if version > now.Possible {
		return now, fmt.Errorf("the nodes run versions up to %d of the state machine, not %d: %w", now.Possible, version, resource.ErrRefused)
	}
	if version <= now.Version {
		return now, fmt.Errorf("the cluster has version %d: %w: %w", now.Version, errNothing, resource.ErrRefused)
	}
	if r := now.Rollout; r != nil && (r.State == memory.RolloutForward || r.State == memory.RolloutBackward) {
		return now, fmt.Errorf("the rollout of version %s is %s: a node may have to go back: %w", r.Version, r.State, resource.ErrRefused)
	}
	if dryRun {
		now.Version, now.DryRun = version, true
		return now, nil
	}
	if _, err := a.cfg.Store.Propose(ctx, by.Actor(), by.RequestID, fsm.SetVersion{Version: version}); err != nil {
		return now, err
	}
	return a.Versions(), nil
}
