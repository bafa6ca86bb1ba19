// Package bundles takes bundles of plugins into the cluster: who made one, its binaries on every
// node, and its record.
package bundles

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource"
)

// keepFor is how long a binary is kept that no plugin names: the time between its upload and
// the write of the record, and for nodes that still run a replaced one.
const keepFor = 24 * time.Hour

// Blobs stores bodies on every node.
type Blobs interface {
	Put(ctx context.Context, by records.Caller, b resource.Blob, body []byte) (*resource.Blob, error)
}

// Catalog is the newest state of the cluster's records.
type Catalog interface{ Catalog() *resource.Catalog }

// Config says what an Uploader works on; no field may be zero.
type Config struct {
	Blobs   Blobs
	Records *records.Records
	State   Catalog
	Now     func() time.Time
}

// Uploader uploads bundles. It may be used concurrently.
type Uploader struct{ cfg Config }

// New makes an Uploader.
func New(cfg Config) *Uploader { return &Uploader{cfg} }

// Upload registers the plugin of a bundle, or puts the bundle's version in the place of the one
// that is registered: every node then starts it beside the old one, and switches. What the setting
// plugin_trust refuses is refused before anything is stored.
func (u *Uploader) Upload(ctx context.Context, by records.Caller, file []byte) (*resource.Plugin, records.Written, error) {
	b, err := pack.Read(file)
	if err != nil {
		return nil, records.Written{}, &resource.Invalid{Field: "body", Reason: err.Error()}
	}
	next := &resource.Plugin{Name: b.Manifest.Name, Kind: b.Manifest.Kind, Manifest: b.Text, Signature: b.Signature}
	if err := errors.Join(next.Validate(), u.cfg.State.Catalog().Settings().CheckTrust(next)); err != nil {
		return nil, records.Written{}, err
	}
	now, exists := u.cfg.Records.Plugins.Find(next.Name)
	if exists {
		if _, err := u.cfg.Records.Plugins.Writable(by, now.ID); err != nil {
			return nil, records.Written{}, err
		}
	}
	if err := u.store(ctx, by, b); err != nil {
		return nil, records.Written{}, err
	}
	doc, err := records.DocumentOf(map[string]string{
		"name": next.Name, "kind": next.Kind, "manifest": next.Manifest, "signature": next.Signature,
	})
	if err != nil {
		return nil, records.Written{}, err
	}
	if exists {
		return u.cfg.Records.Plugins.Replace(ctx, by, now.ID, now.Version, doc)
	}
	return u.cfg.Records.Plugins.Create(ctx, by, doc)
}

// store puts the binaries on every node.
func (u *Uploader) store(ctx context.Context, by records.Caller, b *pack.Bundle) error {
	for _, bin := range b.Manifest.Binaries {
		rec := resource.Blob{
			Class: resource.BlobConfiguration, Kind: "plugin", ExpiresAt: resource.At(u.cfg.Now().Add(keepFor)),
			Name: b.Manifest.Name + " " + b.Manifest.Version + " " + bin.Platform(),
		}
		if _, err := u.cfg.Blobs.Put(ctx, by, rec, b.Bodies[bin.SHA256]); err != nil {
			return fmt.Errorf("store the binary for %s: %w", bin.Platform(), err)
		}
	}
	return nil
}
