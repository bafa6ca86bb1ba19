package boltpages_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/internal/boltpages"
)

func options() *bolt.Options {
	return &bolt.Options{Timeout: time.Second, NoSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType}
}

// example makes a file with branches, leaves, long values, buckets of their own pages and buckets in a page, and free pages.
func example(t testing.TB, keys int) string {
	path := filepath.Join(t.TempDir(), "db")
	db, err := boltpages.Open(path, 0o600, options())
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		err = db.Update(func(tx *bolt.Tx) error {
			for _, name := range []string{"big", "small", "none"} {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				if err != nil {
					return err
				}
				for i := range map[string]int{"big": keys, "small": 3}[name] {
					if err := b.Put(fmt.Appendf(nil, "key-%06d", i*7919%keys), bytes.Repeat([]byte{byte(round)}, 20+i%60)); err != nil {
						return err
					}
				}
			}
			big := tx.Bucket([]byte("big"))
			for i := range keys / 4 {
				if err := big.Delete(fmt.Appendf(nil, "key-%06d", i*4+round)); err != nil {
					return err
				}
			}
			inner, err := big.CreateBucketIfNotExists([]byte("inner"))
			if err != nil {
				return err
			}
			return inner.Put([]byte("long"), make([]byte, 20_000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOpen_Flipped flips bits anywhere in a file: it is refused, or bbolt opens it and finds its free pages. What is not
// noticed before would end this process.
func TestOpen_Flipped(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(example(t, 600))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	const tries = 1500
	for range tries {
		b := bytes.Clone(whole)
		at := r.IntN(len(b))
		if r.IntN(2) == 0 { // in the first bytes of a page, which have its id, kind and elements
			at = at&^4095 + r.IntN(64)
		}
		b[at] ^= 1 << r.IntN(8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := boltpages.Open(path, 0o600, options())
		if err != nil {
			refused++
			continue
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d refused", refused, tries)
	if refused < tries/10 {
		t.Errorf("%d of %d files were refused, want more", refused, tries)
	}
}

// TestOpen_Whole: a whole file is opened, one that is cut is not, and neither is one of another kind.
func TestOpen_Whole(t *testing.T) {
	t.Parallel()
	path := example(t, 5000)
	db, err := boltpages.Open(path, 0o600, options())
	if err != nil {
		t.Fatal(err)
	}
	other, err := boltpages.Open(path, 0o600, &bolt.Options{Timeout: time.Millisecond})
	if !errors.Is(err, bolt.ErrTimeout) { //nolint:staticcheck // the one that bbolt returns
		t.Errorf("opened twice: got %v, %v, want %v", other, err, bolt.ErrTimeout) //nolint:staticcheck // as above
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 4*4096); err != nil { // the heads and little more
		t.Fatal(err)
	}
	if _, err := boltpages.Open(path, 0o600, options()); !errors.Is(err, boltpages.ErrDamaged) {
		t.Errorf("a file that was cut: got %v, want %v", err, boltpages.ErrDamaged)
	}
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := boltpages.Open(path, 0o600, options()); err == nil {
		t.Error("something else was opened")
	}
}

func FuzzCheck(f *testing.F) {
	whole, err := os.ReadFile(example(f, 40))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) { _ = boltpages.Check(bytes.NewReader(b)) })
}
