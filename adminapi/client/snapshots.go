package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/conclave-llm/conclave/resource"
)

// Snapshot is a kept backup of the cluster's state.
type Snapshot struct {
	Name       string        `json:"name"`
	ClusterID  string        `json:"cluster_id"`
	TakenAt    resource.Time `json:"taken_at"`
	Generation uint64        `json:"generation"`
	Index      uint64        `json:"index"` // of the last entry of the log in it
	Size       int64         `json:"size"`  // bytes of the file
	NodeID     string        `json:"node_id,omitempty"`
	Node       string        `json:"node,omitempty"`    // whose disk has it; "": the store
	DryRun     bool          `json:"dry_run,omitempty"` // it was made and read back, and is not kept
}

// Snapshots are the kept backups, the newest first.
type Snapshots struct {
	Items  []Snapshot `json:"items"`
	Silent []string   `json:"silent,omitempty"` // ids of nodes that did not answer
}

// Restore tells what a restore changed, or would.
type Restore struct {
	DryRun       bool                    `json:"dry_run,omitempty"` // nothing was changed
	Refused      string                  `json:"refused,omitempty"` // of a dry run: why it would be refused
	TakenAt      resource.Time           `json:"taken_at"`
	ClusterID    string                  `json:"cluster_id"` // the backup's
	Foreign      bool                    `json:"foreign,omitempty"`
	Index        uint64                  `json:"index"`      // of the last entry in the backup
	Applied      uint64                  `json:"applied"`    // of the cluster before
	Generation   uint64                  `json:"generation"` // of the cluster afterwards
	Records      map[string]RestoreCount `json:"records"`    // by kind
	Revoked      []string                `json:"revoked,omitempty"`
	RevokedCount int                     `json:"revoked_count,omitempty"` // keys and their holders that were revoked since the backup; Revoked names the first ones
	Warnings     []string                `json:"warnings,omitempty"`
}

// RestoreCount is how many records of a kind there are.
type RestoreCount struct {
	Now    int `json:"now"`
	Backup int `json:"backup"`
}

// Snapshots lists the kept backups.
func (c *Client) Snapshots(ctx context.Context) (Snapshots, error) {
	var out Snapshots
	return out, c.do(ctx, http.MethodGet, "cluster/snapshots", nil, nil, &out)
}

// TakeSnapshot makes a backup and keeps it where the setting snapshots says.
func (c *Client) TakeSnapshot(ctx context.Context, how Run) (Snapshot, error) {
	var out Snapshot
	return out, c.do(ctx, http.MethodPost, "cluster/snapshots", how.query(), nil, &out)
}

// DownloadSnapshot returns a kept backup, or with the name "current" one of now, and its length. The
// caller closes it.
func (c *Client) DownloadSnapshot(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	req, err := c.request(ctx, http.MethodGet, "cluster/snapshots/"+url.PathEscape(name)+"/download", nil, nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("call %s: %w", c.server, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp.Body, resp.ContentLength, nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, 0, fmt.Errorf("read answer of %s: %w", c.server, err)
	}
	return nil, 0, problemOf(resp, body)
}

// RestoreSnapshot puts a backup of size bytes in the place of the cluster's state; q has what the
// API's parameters are.
func (c *Client) RestoreSnapshot(ctx context.Context, body io.Reader, size int64, q url.Values) (Restore, error) {
	req, err := c.request(ctx, http.MethodPost, "cluster/snapshots/restore", q, nil)
	if err != nil {
		return Restore{}, err
	}
	req.Body, req.ContentLength, req.GetBody = io.NopCloser(body), size, nil
	req.Header.Set("Content-Type", "application/octet-stream")
	var out Restore
	return out, c.finish(req, &out)
}

// RestoreKept puts a kept backup in the place of the cluster's state.
func (c *Client) RestoreKept(ctx context.Context, name string, q url.Values) (Restore, error) {
	var out Restore
	return out, c.do(ctx, http.MethodPost, "cluster/snapshots/"+url.PathEscape(name)+"/restore", q, nil, &out)
}
