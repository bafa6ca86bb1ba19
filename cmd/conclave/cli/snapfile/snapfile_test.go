package snapfile_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/snapfile"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/backup/archive"
	"github.com/conclave-llm/conclave/secret"
)

// sink is a writer as a state machine's snapshot takes it.
type sink struct{ *archive.Writer }

func (sink) ID() string    { return "" }
func (sink) Cancel() error { return nil }

// backup is one of an empty state.
func backup(t *testing.T, k archive.Keeper) []byte {
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
	w := archive.NewWriter(&b, archive.Manifest{Node: "a"}, k)
	if err := errors.Join(s.Persist(sink{w}), w.Seal()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapfile(t *testing.T) {
	t.Parallel()
	k, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	b := backup(t, k)
	path := filepath.Join(t.TempDir(), "a.snap")
	if _, err := snapfile.Save(bytes.NewReader(b[:len(b)-1]), path, snapfile.Keep); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("a download that was cut: got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if m, err := snapfile.Save(bytes.NewReader(b), path, snapfile.Keep); err != nil || m.Node != "a" {
		t.Fatalf("save: got %+v, %v", m, err)
	}
	if _, err := snapfile.Save(bytes.NewReader(b), path, snapfile.Keep); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: got %v", err)
	}
	if _, err := snapfile.Save(bytes.NewReader(b), path, snapfile.Replace); err != nil {
		t.Errorf("over a file that is to be replaced: got %v", err)
	}
	if m, err := snapfile.Inspect(path); err != nil || m.KEKID != k.ID() {
		t.Errorf("inspect: got %+v, %v", m, err)
	}
	if v, err := snapfile.Verify(path, k, io.Discard); err != nil || !v.Whole || v.Sealed != "yes" {
		t.Errorf("verify: got %+v, %v", v, err)
	}
	if v, err := snapfile.Verify(path, nil, io.Discard); err != nil || !v.Whole || !strings.Contains(v.Sealed, "not checked") {
		t.Errorf("verify without the KEK: got %+v, %v", v, err)
	}
	if all, err := snapfile.Differences(path, path, io.Discard); err != nil || all == nil || len(all) != 0 {
		t.Errorf("differences from itself: got %v, %v", all, err)
	}
	if r, err := snapfile.Redact(path, io.Discard); err != nil || r.Manifest.Node == "a" || !strings.HasPrefix(r.Manifest.Node, "sha256:") || len(r.Contents) == 0 {
		t.Errorf("redacted: got %+v, %v", r, err)
	}
	if err := os.Truncate(path, int64(len(b)-40)); err != nil {
		t.Fatal(err)
	}
	if _, err := snapfile.Inspect(path); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("inspect of a file that was cut: got %v", err)
	}
	if _, err := snapfile.Differences(path, path, io.Discard); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("differences of a file that was cut: got %v", err)
	}
	if _, err := snapfile.Verify(path, k, io.Discard); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("verify of a file that was cut: got %v", err)
	}
}
