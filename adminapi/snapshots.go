package adminapi

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/llm"
)

// CurrentSnapshot is the name of a backup that is made when it is downloaded.
const CurrentSnapshot = "current"

// mediaSnapshot is what a backup is.
const mediaSnapshot = "application/octet-stream"

// SnapshotFile is a backup that is read.
type SnapshotFile struct {
	Body io.ReadCloser
	Size int64
}

// RestoreRequest is what is to be restored, and how.
type RestoreRequest struct {
	Body    io.Reader
	DryRun  bool
	Foreign bool   // it may be another cluster's
	Spend   string // "replay" or "as-of-backup"
	Revoked string // "block", "revive" or "": refuse a backup with such keys
}

// Snapshots are the cluster's backups as the admin API needs them.
type Snapshots interface {
	List(ctx context.Context) (client.Snapshots, error)
	// Take makes a backup and keeps it; with client.Check it is made and read back, and not kept.
	Take(ctx context.Context, how client.Run) (client.Snapshot, error)
	// Open opens a kept backup, or CurrentSnapshot.
	Open(ctx context.Context, name string) (SnapshotFile, error)
	// Restore puts a backup in the place of the cluster's state, or tells what that would change.
	Restore(ctx context.Context, r RestoreRequest) (client.Restore, error)
}

type (
	// RestoreParams are the parameters of a restore. They are exported because huma looks into
	// embedded fields only if they are.
	RestoreParams struct {
		DryRun
		Foreign bool   `query:"force_cluster_id" doc:"restore another cluster's backup: its records into this cluster, which stays who it is"`
		Spend   string `query:"spend" enum:"replay,as-of-backup" default:"replay" doc:"what becomes of what was spent since: the nodes tell it again from their journals, or it is forgotten"`
		Revoked string `query:"revoked" enum:"block,revive" doc:"what becomes of keys that were revoked since; without it a backup with such keys is refused"`
	}
	takeInput     struct{ DryRun }
	restoreUpload struct {
		RestoreParams
		body io.Reader
	}
	restoreKept struct {
		RefInput
		RestoreParams
	}
)

// Resolve implements huma.Resolver: the body is too large to be in memory.
func (in *restoreUpload) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	return nil
}

func (p *RestoreParams) request(body io.Reader) RestoreRequest {
	return RestoreRequest{Body: body, DryRun: p.DryRun.DryRun, Foreign: p.Foreign, Spend: p.Spend, Revoked: p.Revoked}
}

// registerSnapshots registers what is done with backups.
func (s *Server) registerSnapshots() {
	if s.cfg.Snapshots == nil {
		s.cfg.Snapshots = noSnapshots{}
	}
	const path = "/cluster/snapshots"
	register(s, "list-snapshots", http.MethodGet, path, "List the kept snapshots, the newest first",
		func(ctx context.Context, _ *emptyInput) (*bodyOutput[client.Snapshots], error) {
			out, err := s.cfg.Snapshots.List(ctx)
			return body(s, out, err)
		})
	register(s, "take-snapshot", http.MethodPost, path, "Make a snapshot and keep it where the setting snapshots says",
		func(ctx context.Context, in *takeInput) (*bodyOutput[client.Snapshot], error) {
			if !in.DryRun.DryRun {
				if err := s.recordSnapshot(ctx, "take", ""); err != nil {
					return nil, s.problem(err)
				}
			}
			out, err := s.cfg.Snapshots.Take(ctx, client.Run(in.DryRun.DryRun))
			out.DryRun = in.DryRun.DryRun
			return body(s, out, err)
		})
	download := operation("download-snapshot", http.MethodGet, path+"/{id}/download", `Read a kept snapshot, or with the id "current" one of now`)
	download.Responses = map[string]*huma.Response{"200": {
		Description: "the file", Content: map[string]*huma.MediaType{mediaSnapshot: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}}
	registerWith(s, download, s.downloadSnapshot)
	upload := operation("restore-snapshot", http.MethodPost, path+"/restore", "Put the snapshot that is sent in the place of the cluster's state")
	upload.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaSnapshot: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	registerWith(s, upload, func(ctx context.Context, in *restoreUpload) (*bodyOutput[client.Restore], error) {
		return s.restoreSnapshot(ctx, in.request(in.body), "upload")
	})
	register(s, "restore-kept-snapshot", http.MethodPost, path+"/{id}/restore", "Put a kept snapshot in the place of the cluster's state",
		func(ctx context.Context, in *restoreKept) (*bodyOutput[client.Restore], error) {
			f, err := s.cfg.Snapshots.Open(ctx, in.Ref)
			if err != nil {
				return nil, s.problem(err)
			}
			defer func() { _ = f.Body.Close() }()
			return s.restoreSnapshot(ctx, in.request(f.Body), in.Ref)
		})
}

// restoreSnapshot restores. It is told before, lest it be done unseen, and afterwards, in the log
// that the cluster has then.
func (s *Server) restoreSnapshot(ctx context.Context, r RestoreRequest, name string) (*bodyOutput[client.Restore], error) {
	if !r.DryRun {
		if err := s.recordSnapshot(ctx, "restore", name); err != nil {
			return nil, s.problem(err)
		}
	}
	out, err := s.cfg.Snapshots.Restore(ctx, r)
	if err == nil && !r.DryRun {
		err = s.recordSnapshot(ctx, "restored", name)
	}
	return body(s, out, err)
}

// recordSnapshot takes what is done with a snapshot into the audit log.
func (s *Server) recordSnapshot(ctx context.Context, action, name string) error {
	ctx, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	return s.cfg.Auditor.Record(ctx, event(callerOf(ctx), action, "snapshot", name))
}

// downloadSnapshot sends a backup. Who reads one has all there is but the KEK.
func (s *Server) downloadSnapshot(ctx context.Context, in *RefInput) (*huma.StreamResponse, error) {
	if err := s.recordSnapshot(ctx, "download", in.Ref); err != nil {
		return nil, s.problem(err)
	}
	f, err := s.cfg.Snapshots.Open(ctx, in.Ref)
	if err != nil {
		return nil, s.problem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() { _ = f.Body.Close() }()
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", mediaSnapshot)
		w.Header().Set("Content-Length", strconv.FormatInt(f.Size, 10))
		if n, err := io.Copy(w, f.Body); err != nil || n != f.Size {
			s.cfg.Logger.Debug("snapshot is cut off", "error", err)
			panic(http.ErrAbortHandler) // the status is written: all that is left is to cut the answer
		}
	}}, nil
}

// noSnapshots stands for the backups of a server that makes none.
type noSnapshots struct{}

var errNoSnapshots = &llm.Error{Kind: llm.Unavailable, Code: "snapshot_unavailable", Message: "This server makes no snapshots."}

func (noSnapshots) List(context.Context) (client.Snapshots, error) {
	return client.Snapshots{}, errNoSnapshots
}

func (noSnapshots) Take(context.Context, client.Run) (client.Snapshot, error) {
	return client.Snapshot{}, errNoSnapshots
}

func (noSnapshots) Open(context.Context, string) (SnapshotFile, error) {
	return SnapshotFile{}, errNoSnapshots
}

func (noSnapshots) Restore(context.Context, RestoreRequest) (client.Restore, error) {
	return client.Restore{}, errNoSnapshots
}
