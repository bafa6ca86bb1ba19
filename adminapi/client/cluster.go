package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/conclave-llm/conclave/resource"
)

// Cluster is the state of the cluster as the answering node sees it.
type Cluster struct {
	ID         string   `json:"id"`
	Generation uint64   `json:"generation"` // counts restores by a user
	Version    uint32   `json:"version"`    // of the state machine, which all nodes run
	Applied    uint64   `json:"applied"`    // index that the answering node has applied
	Leader     string   `json:"leader"`     // id; "" while there is none
	Votes      Votes    `json:"votes"`
	Members    []Member `json:"members"`

	Rotations []ClusterRotation `json:"rotations,omitempty"` // of the cluster's own keys: the newest of each kind
}

// Votes counts voters.
type Votes struct {
	Voters int `json:"voters"`
	Alive  int `json:"alive"` // of those, that answer
	Need   int `json:"need"`  // most of them
}

// Member is a node of the cluster.
type Member struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Address   string        `json:"address"`
	ClientURL string        `json:"client_url,omitempty"`
	Role      string        `json:"role"` // "leader", "voter", "nonvoter" or "read"
	Voter     bool          `json:"voter"`
	Leader    bool          `json:"leader"`
	Reachable bool          `json:"reachable"` // answered the node that tells
	Applied   uint64        `json:"applied"`
	Lag       uint64        `json:"lag"` // entries behind the newest applied anywhere
	LastTick  resource.Time `json:"last_tick,omitempty"`
	Epoch     uint64        `json:"epoch"` // of its process

	Version     string `json:"version,omitempty"` // of its program
	FSMVersion  uint32 `json:"fsm_version"`       // newest version of the state machine that it runs
	FSMOldest   uint32 `json:"fsm_oldest"`        // oldest
	Demoted     bool   `json:"demoted,omitempty"`
	Drained     bool   `json:"drained,omitempty"`
	Quarantined string `json:"quarantined,omitempty"` // why it does not serve

	// What it tells itself, if it is reachable.
	Ready     bool    `json:"ready"`
	NotReady  string  `json:"not_ready,omitempty"` // why it does not serve
	InFlight  int     `json:"in_flight"`
	Draining  bool    `json:"draining,omitempty"` // it is about to stop
	Stalled   bool    `json:"stalled,omitempty"`  // its disk or state machine hangs
	ContactMS float64 `json:"contact_ms"`         // since it heard the leader
	DiskFree  uint64  `json:"disk_free,omitempty"`
	DiskSize  uint64  `json:"disk_size,omitempty"`
	DiskLow   bool    `json:"disk_low,omitempty"`

	ClockOffMS int64 `json:"clock_off_ms"` // of its clock from the middle of the others', + if it is ahead; 0 where fewer than three answered

	Warnings  []string `json:"warnings,omitempty"`  // what operators should see to though it serves
	Replaying bool     `json:"replaying,omitempty"` // it has not told yet what it spent before the last restore; nothing is granted meanwhile
}

// JoinToken lets one node join the cluster. Only its making shows Token.
type JoinToken struct {
	ID        string        `json:"id,omitempty"`
	Token     string        `json:"token,omitempty"`
	Expires   resource.Time `json:"expires,omitzero"`
	CreatedAt resource.Time `json:"created_at,omitzero"`
	CreatedBy string        `json:"created_by,omitempty"`
	Replaces  string        `json:"replaces,omitempty"` // id of the node that its use removes
	DryRun    bool          `json:"dry_run,omitempty"`  // no token was made
}

// NodeChange is what became of a wish about a node.
type NodeChange struct {
	ID     string `json:"id,omitempty"`
	Name   string `json:"name,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"` // nothing was changed
	Votes  Votes  `json:"votes"`             // afterwards
}

// Upgrade is the cluster's version and what its nodes run.
type Upgrade struct {
	Version  uint32        `json:"version"`  // of the state machine
	Possible uint32        `json:"possible"` // the newest that every node runs
	Nodes    []NodeVersion `json:"nodes"`
	Rollout  *Rollout      `json:"rollout,omitempty"` // of a program: the last one
	DryRun   bool          `json:"dry_run,omitempty"` // nothing was changed: Version and Rollout are as they would be
}

// NodeVersion is what one node runs.
type NodeVersion struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Binary string `json:"binary,omitempty"`
	Oldest uint32 `json:"oldest"` // version of the state machine
	Newest uint32 `json:"newest"`
}

// Cluster returns the state of the cluster.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	var out Cluster
	return out, c.do(ctx, http.MethodGet, "cluster", nil, nil, &out)
}

// JoinToken makes a token for one node to join with; ttl is a duration such as "15m".
func (c *Client) JoinToken(ctx context.Context, ttl string, how Run) (JoinToken, error) {
	var out JoinToken
	return out, c.do(ctx, http.MethodPost, "cluster/join-tokens", how.query(), map[string]string{"ttl": ttl}, &out)
}

// JoinTokens lists the tokens that can be used.
func (c *Client) JoinTokens(ctx context.Context) (Page[JoinToken], error) {
	var out Page[JoinToken]
	return out, c.do(ctx, http.MethodGet, "cluster/join-tokens", nil, nil, &out)
}

// RevokeJoinToken makes a token useless.
func (c *Client) RevokeJoinToken(ctx context.Context, id string, how Run) error {
	return c.do(ctx, http.MethodDelete, join("cluster/join-tokens", id), how.query(), nil, nil)
}

// ReplaceNode makes a token whose use removes a node and lets another in.
func (c *Client) ReplaceNode(ctx context.Context, node, ttl string, how Run) (JoinToken, error) {
	var out JoinToken
	return out, c.do(ctx, http.MethodPost, join("cluster/nodes", node, "replace"), how.query(), map[string]string{"ttl": ttl}, &out)
}

// Transfer hands the leadership to a node, or to any if node is "".
func (c *Client) Transfer(ctx context.Context, node string) error {
	_, err := c.TransferTo(ctx, node, Do)
	return err
}

// TransferTo is Transfer, which may be checked only.
func (c *Client) TransferTo(ctx context.Context, node string, how Run) (NodeChange, error) {
	var out NodeChange
	return out, c.do(ctx, http.MethodPost, "cluster/transfer", how.query(), map[string]string{"to": node}, &out)
}

// Remove removes a node for ever.
func (c *Client) Remove(ctx context.Context, node string) error {
	_, err := c.ChangeNode(ctx, "remove", node, Do)
	return err
}

// ChangeNode does a verb with a node: remove, promote, demote, drain, undrain or repair.
func (c *Client) ChangeNode(ctx context.Context, verb, node string, how Run) (NodeChange, error) {
	var out NodeChange
	if verb == "remove" {
		return out, c.do(ctx, http.MethodDelete, join("cluster/nodes", node), how.query(), nil, &out)
	}
	return out, c.do(ctx, http.MethodPost, join("cluster/nodes", node, verb), how.query(), nil, &out)
}

// Versions returns the cluster's version and what its nodes run.
func (c *Client) Versions(ctx context.Context) (Upgrade, error) {
	var out Upgrade
	return out, c.do(ctx, http.MethodGet, "cluster/upgrade", nil, nil, &out)
}

// FinalizeUpgrade raises the cluster's version; 0: to the newest that every node runs.
func (c *Client) FinalizeUpgrade(ctx context.Context, version uint32, how Run) (Upgrade, error) {
	var out Upgrade
	return out, c.do(ctx, http.MethodPost, "cluster/upgrade", how.query(), map[string]uint32{"version": version}, &out)
}

// Run says whether a change is done or only checked.
type Run bool

// The ways to run.
const (
	Do    Run = false
	Check Run = true
)

func (r Run) query() url.Values {
	if r == Check {
		return url.Values{"dry_run": {"true"}}
	}
	return nil
}
