package rollout

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/bundle"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/signing"
)

const (
	partBytes = 16 << 20            // of a file in one blob
	blobLife  = 30 * 24 * time.Hour // of the blobs of a bundle
	maxUpload = 4 << 30
)

// The defaults of an order.
const (
	DefaultHealth = time.Minute
	DefaultHold   = 5 * time.Second
)

// Order is a bundle that an operator sends, and how it is to be rolled out.
type Order struct {
	By        fsm.Actor
	RequestID string
	Body      io.Reader
	Health    time.Duration // for which a node may be ill before all goes back; 0: DefaultHealth
	Hold      time.Duration // for which a node must be well before the next; 0: DefaultHold, at most Health
	DryRun    bool          // check only
}

// Storage is where the bundle is kept for all nodes.
type Storage interface {
	Put(ctx context.Context, by fsm.Actor, requestID string, b resource.Blob, body []byte) (*resource.Blob, error)
}

// Begin checks a bundle to its last byte, keeps its files in the blob store, and begins to roll it
// out. Nothing is kept of one that is not good, or whose publisher is not trusted.
func (r *Runner) Begin(ctx context.Context, o Order, to Storage) (*fsm.Rollout, error) {
	if len(r.cfg.Trust) == 0 {
		return nil, fmt.Errorf("this node trusts nobody's bundles: name their keys in node { upgrade_publishers }, on every node: %w", resource.ErrForbidden)
	}
	if now := r.cfg.State(); now != nil && now.Busy() {
		return nil, fmt.Errorf("the rollout of version %s is %s: %w", now.Version, now.State, resource.ErrRefused)
	}
	for _, m := range r.cfg.Members(ctx) {
		if !m.Well {
			return nil, fmt.Errorf("node %s is not well: a rollout begins when all nodes are: %w", m.Name, resource.ErrRefused)
		}
	}
	f, err := r.spool(o.Body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }()
	out, err := r.check(f)
	if err != nil {
		return nil, refusal(err)
	}
	if err := o.fill(out); err != nil || o.DryRun {
		return out, err
	}
	if err := r.keep(ctx, o, to, f, out); err != nil {
		return nil, err
	}
	_, err = r.cfg.Cluster.Propose(ctx, o.By, o.RequestID, fsm.BeginRollout{Rollout: *out})
	return out, err
}

func (o *Order) fill(out *fsm.Rollout) error {
	health, hold := o.Health, o.Hold
	if health == 0 {
		health = DefaultHealth
	}
	if hold == 0 {
		hold = min(DefaultHold, health)
	}
	if health < time.Second || health > fsm.MaxRolloutWait || hold < 0 || hold > health {
		return &resource.Invalid{Field: "health", Reason: "is a time between 1s and 1h, and hold is no longer"}
	}
	out.Health, out.Hold = int64(health), int64(hold)
	return nil
}

// spool writes the body to a file of this node, which it must read twice.
func (r *Runner) spool(body io.Reader) (*os.File, error) {
	dir := filepath.Dir(r.cfg.Versions.Path("x"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep the bundle: %w", err)
	}
	f, err := os.CreateTemp(dir, "upload-*")
	if err != nil {
		return nil, fmt.Errorf("keep the bundle: %w", err)
	}
	n, err := io.Copy(f, io.LimitReader(body, maxUpload+1))
	if err == nil && n > maxUpload {
		err = &resource.Invalid{Field: "bundle", Reason: fmt.Sprintf("has more than %d bytes", maxUpload)}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("receive the bundle: %w", err), f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// check reads the whole bundle and says what its rollout is.
func (r *Runner) check(f io.ReadSeeker) (*fsm.Rollout, error) {
	b, m, by, err := r.open(f)
	if err != nil {
		return nil, err
	}
	if err := r.checkFiles(b); err != nil {
		return nil, err
	}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("make id of the rollout: %w", err)
	}
	if _, ok := m.Program(r.cfg.Platform); !ok {
		return nil, fmt.Errorf("the bundle has no program for %s, which this node is: %w", r.cfg.Platform, bundle.ErrBundle)
	}
	return &fsm.Rollout{
		ID: hex.EncodeToString(id), Version: m.Version, Bundle: bundle.Digest(b.Manifest), Manifest: b.Manifest,
		Signed: b.Signature, Signer: by.String(), State: memory.RolloutForward,
	}, nil
}

func (r *Runner) open(f io.ReadSeeker) (*bundle.Reader, *bundle.Manifest, signing.PublicKey, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, signing.PublicKey{}, err
	}
	b, err := bundle.Open(f)
	if err != nil {
		return nil, nil, signing.PublicKey{}, err
	}
	m, by, err := b.Trust(r.cfg.Trust)
	return b, m, by, err
}

// keep cuts the files into blobs, which every node gets.
func (r *Runner) keep(ctx context.Context, o Order, to Storage, f io.ReadSeeker, out *fsm.Rollout) error {
	b, _, _, err := r.open(f)
	if err != nil {
		return err
	}
	for {
		file, body, err := b.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if file.Kind == bundle.KindPlugin {
			if err := r.keepPlugin(ctx, o, to, file, body, out); err != nil {
				return fmt.Errorf("keep %s: %w", file.Path, err)
			}
			continue
		}
		c, err := r.cut(ctx, o, to, out.Version, file, body)
		if err != nil {
			return fmt.Errorf("keep %s: %w", file.Path, err)
		}
		switch file.Kind {
		case bundle.KindProgram:
			out.Programs = append(out.Programs, memory.Program{Platform: file.Platform, Content: c})
		case bundle.KindPrices:
			out.Prices = &c
		}
	}
}

// cut makes blobs of a file, as many as it takes.
func (r *Runner) cut(ctx context.Context, o Order, to Storage, version string, file bundle.File, body io.Reader) (memory.Content, error) {
	c := memory.Content{Name: file.Name, SHA256: file.SHA256, Size: file.Size}
	rec := resource.Blob{Class: resource.BlobConfiguration, Kind: resource.BlobBundle, ExpiresAt: resource.At(r.cfg.Now().Add(blobLife))}
	buf := make([]byte, min(partBytes, file.Size))
	for i := 0; ; i++ {
		n, err := io.ReadFull(body, buf)
		if n == 0 && errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return c, err
		}
		rec.Name = fmt.Sprintf("%s %s, part %d", version, file.Path, i)
		kept, err := to.Put(ctx, o.By, o.RequestID, rec, buf[:n])
		if err != nil {
			return c, err
		}
		c.Parts = append(c.Parts, kept.ID)
	}
}

// refusal says in the API's words what is wrong with a bundle.
func refusal(err error) error {
	switch {
	case errors.Is(err, signing.ErrUntrusted):
		return fmt.Errorf("%w: no node { upgrade_publishers } of this node has that key: %w", err, resource.ErrForbidden)
	case errors.Is(err, signing.ErrSignature):
		return fmt.Errorf("%w: %w", err, resource.ErrForbidden)
	case errors.Is(err, bundle.ErrBundle), errors.Is(err, signing.ErrMalformed):
		return &resource.Invalid{Field: "bundle", Reason: strings.TrimPrefix(err.Error(), "the file ")}
	}
	return err
}

// MayRevert says why the nodes cannot go back; version is the cluster's.
func (r *Runner) MayRevert(version uint32) error {
	now := r.cfg.State()
	if now == nil {
		return errNoRollout
	}
	return now.MayRevert(version)
}

var errNoRollout = fmt.Errorf("there was no rollout: %w", resource.ErrNotFound)

// Revert has every node go back to the program that it ran before.
func (r *Runner) Revert(ctx context.Context, by fsm.Actor, requestID, reason string) error {
	now := r.cfg.State()
	if now == nil {
		return errNoRollout
	}
	_, err := r.cfg.Cluster.Propose(ctx, by, requestID, fsm.RevertRollout{ID: now.ID, Reason: reason})
	return err
}
