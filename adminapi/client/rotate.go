package client

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/resource"
)

// ClusterRotation is the exchange of one of the cluster's own keys: the newest of its kind.
type ClusterRotation struct {
	Kind    string        `json:"kind"` // "kek", "dek", "ca", "gossip" or "node-certs"
	ID      string        `json:"id"`   // names the new key
	Step    string        `json:"step"` // "install", "use", "overlap" or "done"
	Began   resource.Time `json:"began"`
	Stepped resource.Time `json:"stepped"`           // when it came to the step
	By      string        `json:"by"`                // who began it
	Until   resource.Time `json:"until,omitzero"`    // end of the overlap, in which nodes that are away may come back
	Waiting []string      `json:"waiting,omitempty"` // names of the members that have not taken the step
	Late    []string      `json:"late,omitempty"`    // of those that had not taken the last one when this one began
	DryRun  bool          `json:"dry_run,omitempty"` // nothing was begun: Waiting would have to take the step
}

// RotateKey is a wish to exchange one of the cluster's own keys.
type RotateKey struct {
	Overlap string `json:"overlap,omitempty" doc:"how long the old CA or gossip key is accepted for nodes that are away; default: 24h, at most 30d"`
}

// RotateClusterKey begins to exchange one of the cluster's own keys: a kind of ClusterRotation.
func (c *Client) RotateClusterKey(ctx context.Context, kind, overlap string, how Run) (ClusterRotation, error) {
	var out ClusterRotation
	return out, c.do(ctx, http.MethodPost, join("cluster/rotate", kind), how.query(), RotateKey{Overlap: overlap}, &out)
}

// Rotations tells of the newest rotation of each of the cluster's own keys.
func (c *Client) Rotations(ctx context.Context) (Page[ClusterRotation], error) {
	var out Page[ClusterRotation]
	return out, c.do(ctx, http.MethodGet, "cluster/rotate", nil, nil, &out)
}
