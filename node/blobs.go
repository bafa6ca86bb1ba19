package node

import (
	"path/filepath"
	"time"

	"github.com/conclave-llm/conclave/node/blob"
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
		select {
		case <-n.ctx.Done():
			return
		case <-look.C:
		}
	}
}

func (n *Node) blobPeers() []string {
	var ids []string
	for _, p := range n.peers() {
		ids = append(ids, p.ID)
	}
	return ids
}
