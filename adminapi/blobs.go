package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Blobs are the cluster's blobs as the admin API needs them.
type Blobs interface {
	// List returns at most limit blobs behind the digest, and how many there are in all.
	List(after string, limit int) (page []*resource.Blob, total int)
	// Put stores a body for b.
	Put(ctx context.Context, by records.Caller, b resource.Blob, body []byte) (*resource.Blob, error)
	// Read returns the body of a configuration's blob, and resource.ErrForbidden for a client's.
	Read(ctx context.Context, digest string) ([]byte, error)
	// Delete forgets a blob that nothing refers to; another is resource.ErrInUse.
	Delete(ctx context.Context, by records.Caller, digest string) error
	// Verify has every node read the body.
	Verify(ctx context.Context, digest string) ([]client.BlobCheck, error)
}

type (
	blobListInput struct {
		Limit  int    `query:"limit" default:"50" minimum:"1" maximum:"1000" doc:"blobs a page"`
		Cursor string `query:"cursor" doc:"next_cursor of the page before"`
	}
	blobPutInput struct {
		Kind    string `query:"kind" required:"true" maxLength:"64" doc:"what it is: plugin, tokenizer, template"`
		Name    string `query:"name" maxLength:"512" doc:"for people"`
		TTL     string `query:"ttl" doc:"for how long it is kept though nothing refers to it: 24h; default: for ever"`
		RawBody []byte `contentType:"application/octet-stream" doc:"the body, at most 64 MiB"`
	}
	blobBodyOutput struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}
)

// registerBlobs registers what is done with blobs, if the node has any.
func (s *Server) registerBlobs() {
	b := s.cfg.Blobs
	if b == nil {
		b = noBlobs{}
	}
	register(s, "list-blobs", http.MethodGet, "/blobs", "List blobs",
		func(_ context.Context, in *blobListInput) (*bodyOutput[client.Page[resource.Blob]], error) {
			page, total := b.List(in.Cursor, in.Limit)
			return &bodyOutput[client.Page[resource.Blob]]{blobPage(page, in.Limit, total)}, nil
		})
	put := large(operation("put-blob", http.MethodPost, "/blobs", "Store a blob on every node"))
	put.MaxBodyBytes = resource.MaxBlobBytes
	registerWith(s, put, func(ctx context.Context, in *blobPutInput) (*bodyOutput[resource.Blob], error) {
		rec, err := in.record(s.cfg.Now())
		if err != nil {
			return nil, s.problem(err)
		}
		out, err := b.Put(ctx, callerOf(ctx), rec, in.RawBody)
		if err != nil {
			return nil, s.problem(err)
		}
		return &bodyOutput[resource.Blob]{*out}, nil
	})
	register(s, "get-blob-body", http.MethodGet, "/blobs/{id}/body", "Read the body of a blob",
		func(ctx context.Context, in *RefInput) (*blobBodyOutput, error) {
			body, err := b.Read(ctx, in.Ref)
			if err != nil {
				return nil, s.problem(err)
			}
			return &blobBodyOutput{"application/octet-stream", body}, nil
		})
	register(s, "delete-blob", http.MethodDelete, "/blobs/{id}", "Delete a blob that nothing refers to",
		func(ctx context.Context, in *RefInput) (*struct{}, error) {
			if err := b.Delete(ctx, callerOf(ctx), in.Ref); err != nil {
				return nil, s.problem(err)
			}
			return nil, nil
		})
	register(s, "verify-blob", http.MethodGet, "/blobs/{id}/verify", "Have every node check its copy of a blob",
		func(ctx context.Context, in *RefInput) (*bodyOutput[[]client.BlobCheck], error) {
			all, err := b.Verify(ctx, in.Ref)
			if err != nil {
				return nil, s.problem(err)
			}
			return &bodyOutput[[]client.BlobCheck]{all}, nil
		})
}

func blobPage(all []*resource.Blob, limit, total int) client.Page[resource.Blob] {
	out := client.Page[resource.Blob]{Items: make([]resource.Blob, 0, len(all)), Total: total}
	for _, r := range all {
		out.Items = append(out.Items, *r)
	}
	if len(all) == limit {
		out.NextCursor = all[limit-1].ID
	}
	return out
}

func (in *blobPutInput) record(now time.Time) (resource.Blob, error) {
	b := resource.Blob{Class: resource.BlobConfiguration, Kind: in.Kind, Name: in.Name}
	if in.TTL == "" {
		return b, nil
	}
	d, err := time.ParseDuration(in.TTL)
	if err != nil || d <= 0 {
		return b, &resource.Invalid{Field: "ttl", Reason: "is not a duration above zero, such as 24h"}
	}
	b.ExpiresAt = resource.At(now.Add(d))
	return b, nil
}

// fileTime bounds the reading of a blob that a record refers to.
const fileTime = 10 * time.Second

// files reads blobs for the check of records; nil: this server has none.
func (s *Server) files() func(digest string) ([]byte, error) {
	if s.cfg.Blobs == nil {
		return nil
	}
	return func(digest string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), fileTime)
		defer cancel()
		return s.cfg.Blobs.Read(ctx, digest)
	}
}

// noBlobs stands for the blobs of a server that has none.
type noBlobs struct{}

var errNoBlobs = &llm.Error{Kind: llm.Unavailable, Code: "blob_unavailable", Message: "This server keeps no blobs."}

func (noBlobs) List(string, int) ([]*resource.Blob, int) { return nil, 0 }

func (noBlobs) Put(context.Context, records.Caller, resource.Blob, []byte) (*resource.Blob, error) {
	return nil, errNoBlobs
}

func (noBlobs) Read(context.Context, string) ([]byte, error) { return nil, errNoBlobs }

func (noBlobs) Delete(context.Context, records.Caller, string) error { return errNoBlobs }

func (noBlobs) Verify(context.Context, string) ([]client.BlobCheck, error) { return nil, errNoBlobs }
