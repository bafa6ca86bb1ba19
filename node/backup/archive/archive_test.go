package archive_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/backup/archive"
	"github.com/conclave-llm/conclave/node/blob"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

func kek(t testing.TB) *secret.KEK {
	t.Helper()
	k, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sink is a writer as a state machine's snapshot takes it.
type sink struct{ *archive.Writer }

func (sink) ID() string    { return "" }
func (sink) Cancel() error { return nil }

// made is a backup of a small state, with the bodies of blobs.
func made(t testing.TB, k archive.Keeper, bodies ...string) []byte {
	t.Helper()
	f, err := fsm.Open(fsm.Config{Dir: t.TempDir(), NodeID: "n1", BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // the folder is removed
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	var b bytes.Buffer
	about := archive.Manifest{TakenAt: resource.Time(1), Node: "a", DataKeys: []archive.DataKey{{ID: "d", KEKID: k.ID()}}}
	for _, body := range bodies {
		about.Blobs = append(about.Blobs, archive.Body{Digest: blob.Digest([]byte(body)), Size: int64(len(body))})
	}
	w := archive.NewWriter(&b, about, k)
	if err := s.Persist(sink{w}); err != nil {
		t.Fatal(err)
	}
	for _, body := range bodies {
		if err := w.Seal(); !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("sealed without a body: %v", err)
		}
		if err := w.WriteBody([]byte(body + "more")); !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("a longer body: %v", err)
		}
		if err := w.WriteBody([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteBody(nil); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("a body too many: %v", err)
	}
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	if m, size := w.Manifest(); size != int64(b.Len()) || m.KEKID != k.ID() {
		t.Fatalf("%d bytes, the writer says %d, %+v", b.Len(), size, m)
	}
	return b.Bytes()
}

// read reads all of a backup.
func read(b []byte, k archive.Keeper) error {
	r, err := archive.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if k != nil {
		if err := r.Open(k); err != nil {
			return err
		}
	}
	body, err := r.Snapshot()
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	return r.Verify()
}

func TestArchive(t *testing.T) {
	t.Parallel()
	k := kek(t)
	b := made(t, k)
	if err := read(b, k); err != nil {
		t.Fatal(err)
	}
	if err := read(b, nil); err != nil {
		t.Errorf("without the KEK: %v", err)
	}
	if err := read(b, kek(t)); !errors.Is(err, archive.ErrKEK) {
		t.Errorf("with another KEK: got %v", err)
	}
	if bytes.Contains(b, k.Bytes()) {
		t.Error("the KEK is in the backup")
	}
	if err := read(append(bytes.Clone(b), 0), k); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("with a byte behind it: got %v", err)
	}
}

func TestArchive_Bodies(t *testing.T) {
	t.Parallel()
	k := kek(t)
	b := made(t, k, "first", "", "the third")
	if err := read(b, k); err != nil {
		t.Fatal(err)
	}
	r, err := archive.NewReader(bytes.NewReader(b))
	if err != nil || r.Size != int64(len(b)) || r.Manifest.Format != 2 {
		t.Fatalf("%v: %d bytes of format %d, the file has %d", err, r.Size, r.Manifest.Format, len(b))
	}
	if _, err := r.Snapshot(); err != nil { // is passed over
		t.Fatal(err)
	}
	var got []string
	err = r.Bodies(func(b archive.Body, sealed []byte) error {
		if blob.Digest(sealed) != b.Digest {
			t.Errorf("%s has the body %q", b.Digest, sealed)
		}
		got = append(got, string(sealed))
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"first", "", "the third"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
}

func TestArchive_EveryByteCounts(t *testing.T) {
	t.Parallel()
	k := kek(t)
	b := made(t, k, "the body of a blob")
	for at := 0; at < len(b); at += max(1, len(b)/2000) {
		c := bytes.Clone(b)
		c[at] ^= 1
		if err := read(c, k); err == nil {
			t.Errorf("byte %d of %d was changed unnoticed", at, len(b))
		}
	}
	for _, n := range []int{0, 1, 8, 16, 100, len(b) / 2, len(b) - 33, len(b) - 32, len(b) - 1} {
		if err := read(b[:n], k); !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("cut to %d bytes: got %v", n, err)
		}
	}
}

// TestArchive_Forged makes a whole backup under a KEK of one's own and calls it the cluster's.
func TestArchive_Forged(t *testing.T) {
	t.Parallel()
	ours, theirs := kek(t), kek(t)
	forged := bytes.ReplaceAll(made(t, theirs), []byte(theirs.ID()), []byte(ours.ID()))
	if err := read(forged, ours); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("got %v, want that the seal is refused", err)
	}
}

func TestWriter_NotWhole(t *testing.T) {
	t.Parallel()
	k := kek(t)
	if err := archive.NewWriter(io.Discard, archive.Manifest{}, k).Close(); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("nothing was written: got %v", err)
	}
	w := archive.NewWriter(io.Discard, archive.Manifest{}, k)
	if _, err := w.Write(make([]byte, fsm.HeaderSize)); err == nil {
		t.Error("a snapshot without a header was taken")
	}
}

func FuzzReader(f *testing.F) {
	k := kek(f)
	b := made(f, k)
	f.Add(b[:16]) // a whole one is too large to be varied
	f.Add(b[:900])
	f.Fuzz(func(t *testing.T, in []byte) {
		if err := read(in, k); err == nil && !bytes.Equal(in, b) {
			t.Error("other bytes than those that were sealed are taken")
		}
	})
}
