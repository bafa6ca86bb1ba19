package logstore

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// writeOld writes the one file of the versions before, with entries 11 to 40, and its witness.
func writeOld(t *testing.T, dir string, change func(v []byte, index uint64) []byte) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, oldFile), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		log, err1 := tx.CreateBucketIfNotExists([]byte("log"))
		stable, err2 := tx.CreateBucketIfNotExists(stableBucket)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		for _, l := range entries(11, 40) {
			if v := change(appendLog(nil, l), l.Index); v != nil {
				if err := log.Put(binary.BigEndian.AppendUint64(nil, l.Index), v); err != nil {
					return err
				}
			}
		}
		term := binary.BigEndian.AppendUint64(nil, 7)
		return stable.Put([]byte("CurrentTerm#"), encodeStable([]byte("CurrentTerm#"), term))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	w, err := openWitness(filepath.Join(dir, witnessFile), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.raise(40, 5), w.close()); err != nil {
		t.Fatal(err)
	}
}

func asWritten(v []byte, _ uint64) []byte { return v }

// A folder of the versions before is converted, also if that was interrupted once.
func TestOpen_upgrades(t *testing.T) {
	t.Parallel()
	want := raft.NewInmemStore()
	if err := errors.Join(want.StoreLogs(entries(11, 40)), want.SetUint64([]byte("CurrentTerm#"), 7)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		after func(dir string) error
	}{
		{"at once", func(string) error { return nil }},
		{"interrupted before the folder had its name", func(dir string) error {
			part := filepath.Join(dir, logDir+partSuffix)
			return errors.Join(os.Mkdir(part, 0o700), os.WriteFile(filepath.Join(part, "00000000000000000011.log"), []byte("half"), 0o600))
		}},
		{"interrupted before the old file was removed", func(dir string) error {
			return convert(filepath.Join(dir, oldFile), filepath.Join(dir, logDir))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeOld(t, dir, asWritten)
			if err := tt.after(dir); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s := openTest(t, dir)
				if err := s.Check(0); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(look(want, 50), look(s, 50)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, oldFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the old file is still there (%v)", err)
			}
		})
	}
}

// What is damaged is not converted, and stays as it is.
func TestOpen_upgradeFindsDamage(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]byte, uint64) []byte{
		"a bit": func(v []byte, i uint64) []byte {
			if i == 20 {
				v[len(v)-1] ^= 1
			}
			return v
		},
		"a gap": func(v []byte, i uint64) []byte {
			if i == 20 {
				return nil
			}
			return v
		},
	} {
		dir := t.TempDir()
		writeOld(t, dir, change)
		if _, err := Open(dir, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Open = %v, want ErrCorrupt", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, oldFile)); err != nil {
			t.Errorf("%s: the old file: %v", name, err)
		}
	}
}
