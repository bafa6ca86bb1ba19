package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/conclave-llm/conclave/resource"
)

// reading asks for a piece of a file on another node: a kept backup by its name, or one that was
// handed in there by its token.
type reading struct {
	Name   string `json:"name,omitempty"`
	Token  string `json:"token,omitempty"`
	Offset int64  `json:"offset,omitempty"`
}

// remote reads a file of another node, piece by piece.
func (b *Backups) remote(ctx context.Context, node string, what reading) io.ReadCloser {
	return &fetcher{of: b, ctx: ctx, node: node, next: what}
}

// fetcher reads a file of another node.
type fetcher struct {
	of   *Backups
	ctx  context.Context //nolint:containedctx // of the one request that reads it
	node string
	next reading
	rest []byte
	done bool
}

// Read implements io.Reader.
func (f *fetcher) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		if f.done {
			return 0, io.EOF
		}
		body, err := json.Marshal(f.next)
		if err != nil {
			return 0, err
		}
		if f.rest, err = f.of.cfg.Cluster.Call(f.ctx, f.node, methodRead, body); err != nil {
			return 0, fmt.Errorf("read backup of node %s: %w", f.node, err)
		}
		f.next.Offset += int64(len(f.rest))
		f.done = len(f.rest) < piece
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (f *fetcher) Close() error { f.done, f.rest = true, nil; return nil }

// onRead answers a fetcher.
func (b *Backups) onRead(ctx context.Context, _ string, body []byte) ([]byte, error) {
	var ask reading
	if err := json.Unmarshal(body, &ask); err != nil || ask.Offset < 0 {
		return nil, &resource.Invalid{Field: "body", Reason: "is not a question for a backup"}
	}
	f, err := b.local(ctx, ask)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	out := make([]byte, piece)
	n, err := f.ReadAt(out, ask.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	return out[:n], nil
}

// local opens a file of this node that another may read.
func (b *Backups) local(ctx context.Context, ask reading) (*os.File, error) {
	if ask.Token != "" {
		b.mu.Lock()
		path, ok := b.spooled[ask.Token]
		b.mu.Unlock()
		if !ok {
			return nil, fmt.Errorf("backup of a request that is over: %w", resource.ErrNotFound)
		}
		return os.Open(path)
	}
	r, err := b.folder().Open(ctx, ask.Name)
	if err != nil {
		return nil, notFound(err)
	}
	f, ok := r.(*os.File)
	if !ok {
		return nil, errors.Join(resource.ErrNotFound, r.Close())
	}
	return f, nil
}
