package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/config/dotprompt"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/node/gossip"
	"github.com/conclave-llm/conclave/node/keyservice"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/replay"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// missWait bounds how long a request with an unknown key waits for the leader's index.
const missWait = 2 * time.Second

// proxyConfig connects the data path to the node's parts.
func (n *Node) proxyConfig() proxy.Config {
	n.upstream = upstream.New(upstream.Config{Egress: n.egress, Plugins: &n.providers})
	tokenizers := &tokenize.Cache{Read: n.namedBlob}
	return proxy.Config{
		NodeID: n.cfg.Name, Catalog: n.state.Catalog, Keys: n.state, Auths: n.auths, Filters: n.filters, Customers: n.state, Miss: n.miss, Master: n.master,
		Serving: n.serving, WaitIndex: n.waitIndex,
		Limits: proxy.FromLimiter(n.limits), Budgets: proxy.FromBudgets(n.budgets), Guardrails: n.plugins.Guardrails(), Router: n.router,
		Upstream: proxy.FromClient(n.upstream), Egress: n.egress, Sessions: n.upstream, Derive: n.keys.Derive,
		Journal: n.journal, Secrets: n.opener(), Prices: &n.books, KeepContent: n.keepContent, Tokenizers: tokenizers.Get, Turns: n.turns,
		Artifacts: n.artifacts, Member: n.identity.NodeID, MemberGone: func(id string) bool { return !n.isMember(id) }, Books: n.journal, Booked: n.booked, Maker: n.maker, MakerLost: n.makerLost,
		Detokenize: tokenize.Embedded, ParsePrompt: dotprompt.Parse, Blobs: n.namedBlob, Servers: n.mcp,
		Logger: n.log, Registerer: n.registry,
	}
}

// adminConfig connects the admin API to the node's parts.
func (n *Node) adminConfig() adminapi.Config {
	return adminapi.Config{
		MCP:   mcpServers{n.mcp},
		Store: n.consensus, State: n.state, Cluster: members{n}, Rotator: members{n}, Overrides: n.overrides, Seal: n.seal,
		Authenticate: n.authenticate, Address: n.clientAddress, Stale: n.fresh.Stale, Led: n.consensus.AwaitLeader, Prices: n.prices, Capture: n.capture, Auditor: n.events, Logger: n.log, Version: n.cfg.Version,
		Requests: n.all, Judge: replay.Decide, Repricer: n.repricer, Turns: n.turns, Artifacts: n.artifacts, Derive: n.keys.Derive, Blobs: blobAdmin{n}, Snapshots: snapshots{n}, Upgrader: n.upgrader(), PickUp: n.rotation.PickUp,
		Models: n.models, TryDeployment: n.tryDeployment, SignIns: signIns{n}, Guardrails: trier{n}, TryAlert: alertTester{n}.TryAlert, Callbacks: sinks{n}, Secrets: secretTests{n}, KeyStore: n.secrets, KeyHook: n.auths.Key, Plugins: pluginProcesses{n},
	}
}

// authenticate finds out whose request it is.
func (n *Node) authenticate(r *http.Request) (*resource.Principal, error) {
	cat := n.state.Catalog()
	who, err := n.auth.Authenticate(r.Context(), cat, auth.Secret(r.Header, cat.Settings().KeyHeader))
	if err != nil {
		return nil, err
	}
	return who, policy.CheckAdmin(r.RemoteAddr, r.Header, cat.Settings(), who.Levels(nil))
}

// clientAddress is where a request comes from, "" if that cannot be told.
func (n *Node) clientAddress(r *http.Request) string {
	return policy.ClientText(r.RemoteAddr, r.Header, n.state.Catalog().Settings())
}

// statusOf is the status of an authentication's error.
func statusOf(err error) int {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e.HTTPStatus()
	}
	return http.StatusInternalServerError
}

// master is the hash of the master key.
func (n *Node) master() resource.Hash {
	info, _ := n.state.Cluster()
	return info.MasterHash
}

// miss is asked about a key that this node does not know: it catches up with the leader,
// where the key may have been made a moment ago.
func (n *Node) miss(ctx context.Context, _ resource.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, missWait)
	defer cancel()
	_, err := n.consensus.LeaderIndex(ctx)
	return err
}

// waitIndex waits until an index of a generation, 0 for any, is applied here.
func (n *Node) waitIndex(ctx context.Context, generation, index uint64) error {
	if now := n.state.Generation(); generation > now {
		return fmt.Errorf("this node is in generation %d", now)
	} else if generation != 0 && generation < now {
		return nil
	}
	return n.state.WaitApplied(ctx, index)
}

func (n *Node) seal(plaintext, kind, id, field string) (*resource.Sealed, error) {
	if strings.HasPrefix(plaintext, secret.SealedPrefix) {
		return nil, &resource.Invalid{Field: field, Reason: "is what conclave secret seal made for a node's environment or file; give the secret itself, or apply the node's own file on the node"}
	}
	if keyservice.Sealed(plaintext) {
		return nil, &resource.Invalid{Field: field, Reason: "is what a key service has sealed for a node's environment or file; give the secret itself, or apply the node's own file on the node"}
	}
	return n.keys.Seal(secret.New(plaintext), kind, id, field)
}

// opener opens sealed secrets for the data path, resolving references.
type opener struct {
	keys    *secret.Keyring
	catalog func() *resource.Catalog
	environ func(name string) (string, bool)
	source  func(ref string) (secret.Text, error) // resolves references to secret sources
	file    func(ref string) (secret.Text, error) // resolves those to files of this node
}

// Open implements proxy.Opener.
func (o opener) Open(s *resource.Sealed, kind, id, field string) (secret.Text, error) {
	text, err := o.keys.Open(s, kind, id, field)
	if err != nil {
		return secret.Text{}, err
	}
	return o.resolve(text.Reveal())
}

// resolve reads what a reference names; the process's own variables count before the cluster's.
func (o opener) resolve(ref string) (secret.Text, error) {
	if resource.IsSecretRef(ref) {
		return o.source(ref)
	}
	if secret.IsFile(ref) {
		return o.file(ref)
	}
	return secret.ResolveWith(ref, o.environ, o.variable)
}

// variable opens a variable of the cluster's environment.
func (o opener) variable(name string) (secret.Text, error) {
	v, ok := o.catalog().Variable(name)
	if !ok {
		return secret.Text{}, resource.ErrNotFound
	}
	return o.keys.Open(v.Value, "variable", name, "value")
}

// The rest is what parts ask of the node before all of it is there.

func (n *Node) askTick() {
	if m := n.money; m != nil && m.ticker != nil {
		m.ticker.Ask()
	}
}

func (n *Node) hasLeader() bool { return n.consensus.HasLeader() }

// nodes counts the members of the cluster.
func (n *Node) nodes() int { return max(1, len(n.living())) }

// living lists the members that have not been removed.
func (n *Node) living() []*resource.Member {
	var out []*resource.Member
	for _, m := range n.state.Catalog().Tables().Members {
		if !m.Removed {
			out = append(out, m)
		}
	}
	return out
}

// address is where a member's cluster port is.
func (n *Node) address(nodeID string) (string, bool) {
	m, ok := n.state.Member(nodeID)
	if !ok || m.Removed {
		return "", false
	}
	return m.Address, true
}

// isMember says whether a node may be heard: it is not removed.
func (n *Node) isMember(nodeID string) bool {
	m, ok := n.state.Member(nodeID)
	return !ok || !m.Removed
}

// peers are the other members, for the gossip.
func (n *Node) peers() []gossip.Peer {
	var out []gossip.Peer
	for _, m := range n.living() {
		if m.ID != n.identity.NodeID {
			out = append(out, gossip.Peer{ID: m.ID, Addr: m.Address})
		}
	}
	return out
}

// lookupLease reads one lease of this node from the state.
func (n *Node) lookupLease(id resource.AccountID, start resource.Time) (budget.Lease, bool) {
	l, ok := n.state.Lease(id, start)
	if !ok {
		return budget.Lease{}, false
	}
	return leaseOf(l), true
}
