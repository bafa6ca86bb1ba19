package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// Rollout is a program on its way through the nodes.
type Rollout struct {
	ID      string        `json:"id"`
	State   string        `json:"state"` // "rolling", "done", "rolling_back" or "rolled_back"
	Version string        `json:"version"`
	Bundle  string        `json:"bundle"` // SHA-256 of the bundle's manifest
	Signer  string        `json:"signer"` // the publisher's public key
	Reason  string        `json:"reason,omitempty"`
	Turn    string        `json:"turn,omitempty"` // name of the node whose turn it is
	Began   resource.Time `json:"began,omitzero"`
	Stepped resource.Time `json:"stepped,omitzero"`
	By      string        `json:"by,omitempty"`
	Health  string        `json:"health"` // for which a node may be ill
	Hold    string        `json:"hold"`   // for which a node must be well
	Plugins []RolloutFile `json:"plugins,omitempty"`
	Nodes   []RolloutNode `json:"nodes,omitempty"`
	DryRun  bool          `json:"dry_run,omitempty"` // nothing was begun
}

// RolloutFile is a plugin of the bundle, whose binaries lie in the blob store.
type RolloutFile struct {
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"`
	SHA256   string   `json:"sha256"`             // of its bundle
	Blobs    []string `json:"blobs"`              // digests of its binaries
	Switched bool     `json:"switched,omitempty"` // the record of that name has this version now, and had another
}

// RolloutNode is how far a node is.
type RolloutNode struct {
	ID     string        `json:"id"`
	Name   string        `json:"name"`
	Step   string        `json:"step"` // "staged", "swapping", "up", "good", "back" or "failed"
	Since  resource.Time `json:"since,omitzero"`
	Reason string        `json:"reason,omitempty"`
}

// StartUpgrade sends a bundle of size bytes and begins to roll it out; a time of 0 is the default.
func (c *Client) StartUpgrade(ctx context.Context, body io.Reader, size int64, health, hold time.Duration, how Run) (Rollout, error) {
	q := how.query()
	if q == nil {
		q = url.Values{}
	}
	for name, d := range map[string]time.Duration{"health": health, "hold": hold} {
		if d > 0 {
			q.Set(name, d.String())
		}
	}
	req, err := c.request(ctx, http.MethodPost, "cluster/upgrade/start", q, nil)
	if err != nil {
		return Rollout{}, err
	}
	req.Body, req.ContentLength, req.GetBody = io.NopCloser(body), size, nil
	req.Header.Set("Content-Type", "application/octet-stream")
	var out Rollout
	return out, c.finish(req, &out)
}

// RollbackUpgrade has every node go back to what it ran before.
func (c *Client) RollbackUpgrade(ctx context.Context, reason string, how Run) (Upgrade, error) {
	var out Upgrade
	return out, c.do(ctx, http.MethodPost, "cluster/upgrade/rollback", how.query(), map[string]string{"reason": reason}, &out)
}
