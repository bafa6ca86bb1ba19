package tokenize

import (
	"context"
	"slices"
	"sync"
)

// maxLoaded bounds the files that a Cache holds: one takes tens of megabytes.
const maxLoaded = 8

// Cache holds the tokenizer.json files that were used last, each read once. It is safe for
// concurrent use.
type Cache struct {
	// Read reads a file by its digest.
	Read func(ctx context.Context, digest string) ([]byte, error)

	mu    sync.Mutex // guards files
	files []*cached  // the one used last at the end
}

// cached is a file that is being read, or was.
type cached struct {
	digest string
	once   sync.Once
	t      Tokenizer
	err    error
}

// Get returns the tokenizer of a file. One that could not be read is read again the next time.
func (c *Cache) Get(ctx context.Context, digest string) (Tokenizer, error) {
	f := c.entry(digest)
	f.once.Do(func() {
		data, err := c.Read(ctx, digest)
		if err == nil {
			f.t, err = Load(data)
		}
		f.err = err
	})
	if f.err != nil {
		c.forget(f)
	}
	return f.t, f.err
}

// entry finds the entry of a digest, or puts a new one in the place of the one used longest ago.
func (c *Cache) entry(digest string) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &cached{digest: digest}
	if i := slices.IndexFunc(c.files, func(f *cached) bool { return f.digest == digest }); i >= 0 {
		f = c.files[i]
		c.files = slices.Delete(c.files, i, i+1)
	} else if len(c.files) == maxLoaded {
		c.files = slices.Delete(c.files, 0, 1)
	}
	c.files = append(c.files, f)
	return f
}

func (c *Cache) forget(f *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files = slices.DeleteFunc(c.files, func(other *cached) bool { return other == f })
}
