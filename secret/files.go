package secret

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/internal/fault"
)

// fileKEK is the name of the KEK's file in the data folder; one that comes next has its id
// behind a dot.
const fileKEK = "kek"

// Cover is a key service that seals the KEK where it is kept. It is asked at the start of a
// node and when the KEK is exchanged, never for a request.
type Cover interface {
	// Seal gives what is kept instead of the plain bytes: one line of text.
	Seal(ctx context.Context, plain []byte) (string, error)
	// Open gives the plain bytes back.
	Open(ctx context.Context, text string) ([]byte, error)
}

// Files keep the KEKs of a node in its data folder, sealed by Cover if there is one.
type Files struct {
	Dir   string
	Cover Cover // nil: the files hold the KEK itself
}

// Load reads the KEKs in the folder, the one in use first. Without any the error is
// fs.ErrNotExist. One that lies there plain, though there is a Cover, is sealed.
func (f Files) Load(ctx context.Context) (*Ring, error) {
	main, err := f.read(ctx, fileKEK)
	if err != nil {
		return nil, err
	}
	ring := NewRing(main)
	names, err := filepath.Glob(filepath.Join(f.Dir, fileKEK+".kek_????????????????"))
	if err != nil {
		return nil, fmt.Errorf("read KEKs: %w", err)
	}
	for _, name := range names {
		k, err := f.read(ctx, filepath.Base(name))
		if err != nil {
			return nil, err
		}
		ring.Add(k)
	}
	return ring, nil
}

func (f Files) read(ctx context.Context, name string) (*KEK, error) {
	path := filepath.Join(f.Dir, name)
	if f.Cover == nil {
		return LoadKEK(path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read KEK: %w", err)
	}
	if k, err := KEKOf(New(string(b))); err == nil {
		return k, f.write(ctx, name, k)
	}
	plain, err := f.Cover.Open(ctx, strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("open KEK %s: %w", path, err)
	}
	return ParseKEK(plain)
}

// Save writes the first KEK of the folder. One that is there must be the same.
func (f Files) Save(ctx context.Context, k *KEK) error {
	old, err := f.read(ctx, fileKEK)
	switch {
	case err == nil && old.id == k.id:
		return nil
	case err == nil:
		return fmt.Errorf("save KEK: %s holds another: %w", filepath.Join(f.Dir, fileKEK), fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return f.write(ctx, fileKEK, k)
}

// Add writes a KEK that is to come next.
func (f Files) Add(ctx context.Context, k *KEK) error { return f.write(ctx, fileKEK+"."+k.id, k) }

// Promote makes k the only KEK in the folder.
func (f Files) Promote(ctx context.Context, k *KEK) error {
	if err := f.write(ctx, fileKEK, k); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(f.Dir, fileKEK+".kek_????????????????"))
	if err != nil {
		return fmt.Errorf("remove old KEKs: %w", err)
	}
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return errors.Join(err, durable.SyncDir(f.Dir))
}

// write replaces a file.
func (f Files) write(ctx context.Context, name string, k *KEK) error {
	text := hex.EncodeToString(k.bytes)
	if f.Cover != nil {
		sealed, err := f.Cover.Seal(ctx, k.bytes)
		if err != nil {
			return fmt.Errorf("seal KEK: %w", err)
		}
		text = sealed
	}
	if err := durable.WriteFile(filepath.Join(f.Dir, name), []byte(text+"\n"), fault.KEKRename, fault.KEKRenamed); err != nil {
		return fmt.Errorf("save KEK: %w", err)
	}
	return nil
}
