package overlay_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
)

// begin opens an empty transaction that has the bucket of keys.
func begin(t *testing.T) *overlay.Base {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(tx.Rollback(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := tx.CreateBucket([]byte(store.Keys.Name())); err != nil {
		t.Fatal(err)
	}
	return &overlay.Base{Tx: tx}
}

func value(key, payload string) []byte {
	return frame.Value{Payload: []byte(payload)}.Encode([]byte(key))
}

func TestWrites(t *testing.T) {
	t.Parallel()
	base, w := begin(t), new(overlay.Writes)
	var hash frame.Hash
	var told []string
	flush := func() {
		told = nil
		w.Flush(base, &hash, func(_ store.Bucket, key, _ []byte) { told = append(told, string(key)) })
		w.Clear()
	}
	for _, k := range []string{"b", "a1", "a2"} {
		w.Write(store.Keys, []byte(k), value(k, "1"))
	}
	flush()
	if d := cmp.Diff([]string{"a1", "a2", "b"}, told); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
	before := hash
	w.Write(store.Keys, []byte("a1"), nil)
	w.Write(store.Keys, []byte("a3"), value("a3", "2"))
	w.Write(store.Keys, []byte("none"), nil)
	if got := w.Value(base, store.Keys, []byte("a1")); got != nil {
		t.Errorf("a deleted value: got %q", got)
	}
	if got := w.Scan(base, store.Keys, []byte("a")); !cmp.Equal(got, [][]byte{[]byte("a2"), []byte("a3")}) {
		t.Errorf("scan: got %q", got)
	}
	for prefix, want := range map[string]string{"": "a2", "a": "a2", "a1": "", "a3": "a3", "b": "b", "none": ""} {
		if got := w.First(base, store.Keys, []byte(prefix)); string(got) != want {
			t.Errorf("first %q: got %q, want %q", prefix, got, want)
		}
	}
	flush()
	if d := cmp.Diff([]string{"a1", "a3"}, told); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
	w.Write(store.Keys, []byte("a1"), value("a1", "1"))
	w.Write(store.Keys, []byte("a3"), nil)
	flush()
	if hash != before {
		t.Error("the hash of the same values is another")
	}
}

// What is created where the base has nothing leaves the same file and hash as what is written.
func TestWrites_Create(t *testing.T) {
	t.Parallel()
	var hashes [2]frame.Hash
	for i, put := range []func(*overlay.Writes, store.Bucket, []byte, []byte){(*overlay.Writes).Write, (*overlay.Writes).Create} {
		base, w := begin(t), new(overlay.Writes)
		w.Write(store.Keys, []byte("a"), value("a", "old"))
		w.Flush(base, &hashes[i], func(store.Bucket, []byte, []byte) {})
		w.Clear()
		w.Write(store.Keys, []byte("a"), nil) // now Value is nil, but the base has something
		put(w, store.Keys, []byte("a"), value("a", "new"))
		put(w, store.Keys, []byte("b"), value("b", "1"))
		put(w, store.Keys, []byte("b"), value("b", "2"))
		put(w, store.Keys, []byte("c"), value("c", "1"))
		w.Write(store.Keys, []byte("c"), nil)
		var told []string
		w.Flush(base, &hashes[i], func(_ store.Bucket, key, _ []byte) { told = append(told, string(key)) })
		if d := cmp.Diff([]string{"a", "b"}, told); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
	}
	if hashes[0] != hashes[1] {
		t.Error("the hash of what was created is another than that of what was written")
	}
}

func TestWrites_Damaged(t *testing.T) {
	t.Parallel()
	base, w := begin(t), new(overlay.Writes)
	if err := base.Bucket(store.Keys).Put([]byte("k"), []byte("no frame")); err != nil {
		t.Fatal(err)
	}
	w.Write(store.Keys, []byte("k"), nil)
	defer func() {
		f, ok := recover().(*overlay.Failure)
		if !ok || !errors.Is(f.Err, frame.ErrDamaged) {
			t.Errorf("got %v, want ErrDamaged", f)
		}
	}()
	w.Flush(base, new(frame.Hash), func(store.Bucket, []byte, []byte) {})
	t.Error("damage was passed over")
}
