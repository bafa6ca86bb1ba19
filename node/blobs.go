package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/artifacts"
	"github.com/conclave-llm/conclave/node/blob"
	"github.com/conclave-llm/conclave/node/turns"
	"github.com/conclave-llm/conclave/resource"
)

// blobLook is how often blobs are tended.
const blobLook = time.Minute

// startBlobs opens the blobs and tends them until the node stops.
func (n *Node) startBlobs() error {
	folder, err := blob.OpenFolder(filepath.Join(n.cfg.DataDir, "blobs"), blob.Sealed(n.keys))
	if err != nil {
		return err
	}
	n.blobs = blob.New(blob.Config{
		NodeID: n.identity.NodeID, Folder: folder, Cluster: n.consensus, State: n.state, Logger: n.log,
		Peers: n.blobPeers, Leads: n.consensus.IsLeader,
		Quota: func() int64 { return n.state.Catalog().Settings().BlobQuota },
	})
	n.consensus.Handle(blob.MethodRead, n.blobs.OnRead)
	n.consensus.Handle(blob.MethodPull, n.blobs.OnPull)
	n.consensus.Handle(blob.MethodDrop, n.blobs.OnDrop)
	n.turns = turns.New(turns.Config{NodeID: n.identity.NodeID, Blobs: n.blobs, Cluster: n.consensus, State: n.state, Logger: n.log})
	n.artifacts = artifacts.New(artifacts.Config{NodeID: n.identity.NodeID, Blobs: n.blobs, Cluster: n.consensus, State: n.state, Logger: n.log})
	n.wg.Go(n.tendBlobs)
	return nil
}

// tendBlobs tends the blobs at once, for a node that was away, and then again and again.
func (n *Node) tendBlobs() {
	look := time.NewTicker(blobLook)
	defer look.Stop()
	for {
		if err := n.blobs.Tend(n.ctx); err != nil && n.ctx.Err() == nil {
			n.log.Warn("blobs are not all in order", "error", err)
		}
		if err := n.turns.Sweep(n.ctx); err != nil && n.ctx.Err() == nil {
			n.log.Warn("expired responses are not swept", "error", err)
		}
		if err := n.artifacts.Sweep(n.ctx); err != nil && n.ctx.Err() == nil {
			n.log.Warn("expired files are not swept", "error", err)
		}
		select {
		case <-n.ctx.Done():
			return
		case <-look.C:
		}
	}
}

// namedBlob reads a blob that a record names. One that the cluster does not know is as one that no node gives.
func (n *Node) namedBlob(ctx context.Context, digest string) ([]byte, error) {
	body, err := n.blobs.Read(ctx, digest)
	if errors.Is(err, resource.ErrNotFound) {
		return nil, &llm.Error{Kind: llm.Unavailable, Code: llm.CodeNoBlob, Message: "There is no blob " + digest + ".", Err: err}
	}
	return body, err
}

func (n *Node) blobPeers() []string {
	var ids []string
	for _, p := range n.peers() {
		ids = append(ids, p.ID)
	}
	return ids
}

// blobAdmin is the blobs as the admin API takes them.
type blobAdmin struct{ n *Node }

// List implements adminapi.Blobs.
func (b blobAdmin) List(after string, limit int) (page []*resource.Blob, total int) {
	return b.n.state.Blobs(after, limit), int(b.n.state.BlobCount())
}

// Put implements adminapi.Blobs.
func (b blobAdmin) Put(ctx context.Context, by records.Caller, rec resource.Blob, body []byte) (*resource.Blob, error) {
	return b.n.blobs.Put(ctx, by.Actor(), by.RequestID, rec, body)
}

// Read implements adminapi.Blobs. What clients have sent is not shown to administrators.
func (b blobAdmin) Read(ctx context.Context, digest string) ([]byte, error) {
	if rec, ok := b.n.state.Blob(digest); ok && rec.Class != resource.BlobConfiguration {
		return nil, fmt.Errorf("blob %s is a client's: %w", digest, resource.ErrForbidden)
	}
	return b.n.blobs.Read(ctx, digest)
}

// Delete implements adminapi.Blobs. The nodes remove the body when they next look.
func (b blobAdmin) Delete(ctx context.Context, by records.Caller, digest string) error {
	_, err := b.n.consensus.Propose(ctx, by.Actor(), by.RequestID, fsm.DeleteBlob{ID: digest})
	return err
}

// Verify implements adminapi.Blobs.
func (b blobAdmin) Verify(ctx context.Context, digest string) ([]client.BlobCheck, error) {
	checks, err := b.n.blobs.Verify(ctx, digest)
	out := make([]client.BlobCheck, 0, len(checks))
	for _, c := range checks {
		shown := client.BlobCheck{Node: c.Node, Holds: c.Holds}
		if c.Err != nil {
			shown.Error = c.Err.Error()
		}
		out = append(out, shown)
	}
	return out, err
}
