package node

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm/graft"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/backup"
	"github.com/conclave-llm/conclave/node/backup/shelf"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// startBackups opens what makes and restores backups, and begins to make them by schedule.
func (n *Node) startBackups(context.Context) (err error) {
	n.signer = sign.New(sign.Config{Client: n.egress.Client(10 * time.Second)})
	n.backups, err = backup.New(backup.Config{
		NodeID: n.identity.NodeID, Name: n.cfg.Name, Version: n.cfg.Version, Dir: n.cfg.DataDir,
		State: n.state, Cluster: n.consensus, Keeper: n.identity.kek, Blobs: n.blobs, OpenKey: n.opensKey, Peers: n.blobPeers,
		Settings: func() resource.SnapshotSettings { return n.state.Catalog().Settings().Snapshots },
		S3:       n.bucket, Reach: n.journal.Oldest, Room: func() uint64 { return n.disk.Room().Free },
		Look: n.cfg.SnapshotLook, Now: n.cfg.SnapshotNow, Logger: n.log, Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	for method, handler := range n.backups.Handlers() {
		n.consensus.Handle(method, handler)
	}
	n.wg.Go(func() { n.backups.Run(n.ctx) })
	n.wg.Go(n.followRestores)
	return nil
}

// opensKey checks that a data key opens under this node's KEK.
func (n *Node) opensKey(d memory.WrappedDEK) error {
	return secret.NewKeyring(n.identity.kek).AddDEK(d.ID, d.Blob)
}

// followRestores does what every node has to do once a backup has taken the place of the state: it
// takes over the data keys that came with it, and tells what it spent since.
func (n *Node) followRestores() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.restored:
		}
		info, _ := n.state.Cluster()
		for _, d := range info.DEKs {
			if err := n.keys.AddDEK(d.ID, d.Blob); err != nil {
				n.log.Error("a data key of the restored state does not open", "data_key", d.ID, "error", err)
			}
		}
		n.log.Warn("the state is that of a backup", "generation", n.state.Generation())
		n.money.restored()
	}
}

// noteGeneration sees whether a batch is the first of a restored state.
func (n *Node) noteGeneration(now uint64) {
	if now > n.generation.Load() {
		n.generation.Store(now)
		signal(n.restored)
	}
}

// bucket is an S3 store as a shelf. Its requests are signed with a credential of the cluster, or with
// what this node's environment has.
func (n *Node) bucket(s resource.S3Store) (backup.Shelf, error) {
	account := &sign.Account{Options: map[string]string{}, Secrets: map[string]secret.Text{}}
	if s.Credential == "" {
		account.Options["aws_use_environment"] = "true"
	} else if err := n.openCredential(account, s.Credential); err != nil {
		return nil, err
	}
	account.Options["region"], account.Options["aws_service"] = s.Region, "s3"
	return &shelf.S3{
		URL: s.URL(), Prefix: s.Prefix, HTTP: n.egress.Client(0),
		Sign: func(ctx context.Context, r *http.Request, digest string) error {
			return n.signer.Sign(ctx, provider.SigV4, account, &sign.Request{Method: r.Method, URL: r.URL, Header: r.Header, Digest: digest})
		},
	}, nil
}

// openCredential fills an account with a credential of the cluster.
func (n *Node) openCredential(to *sign.Account, name string) error {
	for _, c := range n.state.Catalog().Tables().Credentials {
		if c.Name != name && c.ID != name {
			continue
		}
		maps.Copy(to.Options, c.Options)
		for field, sealed := range c.Secrets {
			text, err := n.opener().Open(sealed, "credential", c.ID, field)
			if err != nil {
				return err
			}
			to.Secrets[field] = text
		}
		return nil
	}
	return fmt.Errorf("the setting snapshots names the credential %q, which is not there: %w", name, resource.ErrRefused)
}

// snapshots is the backups as the admin API takes them.
type snapshots struct{ n *Node }

// List implements adminapi.Snapshots.
func (s snapshots) List(ctx context.Context) (client.Snapshots, error) {
	all, silent, err := s.n.backups.List(ctx)
	out := client.Snapshots{Items: make([]client.Snapshot, len(all)), Silent: silent}
	for i := range all {
		out.Items[i] = s.n.snapshotView(&all[i])
	}
	return out, s.n.noSnapshot("The snapshots were not listed", err)
}

func (n *Node) snapshotView(e *backup.Entry) client.Snapshot {
	v := client.Snapshot{Name: e.Name, ClusterID: e.ClusterID, TakenAt: resource.At(e.TakenAt), Generation: e.Generation, Index: e.Index, Size: e.Size, NodeID: e.Node}
	if m, ok := n.state.Member(e.Node); ok {
		v.Node = m.Name
	}
	return v
}

// Take implements adminapi.Snapshots.
func (s snapshots) Take(ctx context.Context, how client.Run) (client.Snapshot, error) {
	take := s.n.backups.Take
	if how == client.Check {
		take = s.n.backups.Try
	}
	e, err := take(ctx)
	if err != nil {
		return client.Snapshot{}, s.n.noSnapshot("The snapshot was not made", err)
	}
	return s.n.snapshotView(&e), nil
}

// noSnapshot tells the operator, who can mend it, what could not be done with backups, and why.
func (n *Node) noSnapshot(what string, err error) error {
	if err == nil || resource.Code(err) != "" {
		return err
	}
	n.log.Error("a disk or a store of backups fails", "what", what, "error", err)
	return &llm.Error{Kind: llm.Unavailable, Code: "snapshot_failed", Message: what + ": " + err.Error()}
}

// Open implements adminapi.Snapshots.
func (s snapshots) Open(ctx context.Context, name string) (adminapi.SnapshotFile, error) {
	var out adminapi.SnapshotFile
	var err error
	if name == adminapi.CurrentSnapshot {
		out.Body, out.Size, err = s.n.backups.Fresh(ctx)
	} else {
		out.Body, out.Size, err = s.n.backups.Open(ctx, name)
	}
	return out, s.n.noSnapshot("The snapshot was not opened", err)
}

// Restore implements adminapi.Snapshots.
func (s snapshots) Restore(ctx context.Context, in adminapi.RestoreRequest) (client.Restore, error) {
	order := backup.Order{DryRun: in.DryRun, Foreign: in.Foreign, Spend: graft.Spend(in.Spend), Revoked: graft.Revoked(in.Revoked)}
	out, err := s.n.backups.Restore(ctx, in.Body, order)
	if err != nil {
		return client.Restore{}, err
	}
	return restoreView(&out, in.DryRun), nil
}

func restoreView(o *backup.Outcome, dry bool) client.Restore {
	r := o.Report
	v := client.Restore{
		DryRun: dry, Refused: o.Refused, TakenAt: o.TakenAt, Generation: o.Generation, ClusterID: r.BackupID, Foreign: r.Foreign,
		Index: r.Index, Applied: r.Applied, Revoked: r.Revoked, RevokedCount: r.RevokedCount, Warnings: o.Warnings, Records: map[string]client.RestoreCount{},
	}
	for kind, c := range r.Records {
		v.Records[kind] = client.RestoreCount(c)
	}
	return v
}
