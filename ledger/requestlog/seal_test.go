package requestlog_test

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/resource"
)

// TestSeal_EachRowOnce seals numbers of rows around those that are read and removed at once.
func TestSeal_EachRowOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 999, 1000, 1001, 2000, 8000, 8001} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			records := requests(noon, n)
			for i := range records {
				records[i] = records[i%9] // served, not refused: none is merged with another
				records[i].RequestID = fmt.Sprintf("r%d", i)
			}
			f := open(t, records...)
			if err := f.Seal(noon.Add(2 * time.Hour)); err != nil {
				t.Fatal(err)
			}
			if s := f.Segments(); len(s) != 1 || s[0].Rows != int64(n) {
				t.Errorf("segments are %+v, want one of %d rows", s, n)
			}
			if got := f.rows(t, requestlog.Query{}).Total; got != int64(n) {
				t.Errorf("%d rows are found, want %d", got, n)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if left := f.bucket(t, nil); len(left) != 0 {
				t.Errorf("%d sealed rows are still in bbolt", len(left))
			}
		})
	}
}

// bucket is what the closed log has in bbolt's bucket of rows, after put has been put there.
func (f *fixture) bucket(t *testing.T, put map[string][]byte) map[string][]byte {
	t.Helper()
	db, err := bolt.Open(filepath.Join(f.dir, "recent.db"), 0o600, &bolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("rows"))
		for k, v := range put {
			if err := b.Put([]byte(k), v); err != nil {
				return err
			}
		}
		return b.ForEach(func(k, v []byte) error {
			all[string(k)] = bytes.Clone(v)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

// A process that dies after a segment was listed leaves some of its rows in bbolt.
func TestSeal_DiedWhileRemoving(t *testing.T) {
	t.Parallel()
	f := open(t, requests(noon, 100)...)
	want := f.rows(t, requestlog.Query{}).Rows
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	rows := f.bucket(t, nil)
	f.open(t)
	if err := f.Seal(noon.Add(time.Hour + 5*time.Minute)); err != nil { // 60 of them
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(rows, func(k string, _ []byte) bool { return k[7] < 40 }) // these were removed
	f.bucket(t, rows)
	f.open(t)
	if d := gocmp.Diff(want, f.rows(t, requestlog.Query{}).Rows); d != "" {
		t.Error(d)
	}
	if err := f.Seal(noon.Add(3 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s := f.Segments(); len(s) != 2 || s[0].Rows != 60 || s[1].Rows != 40 {
		t.Errorf("segments are %+v, want one of 60 rows and one of 40", s)
	}
}

// A journal that was lost begins with low numbers again, which rows have that are sealed, or not yet.
func TestSeal_JournalBeganAgain(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]time.Time{"sealed": noon.Add(3 * time.Hour), "some sealed": noon.Add(time.Hour), "none sealed": noon.Add(-time.Hour)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, requests(noon, 100)...)
			if err := f.Seal(before); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f.source = newSource()
			f.source.add(requests(noon.Add(4*time.Hour), 10)...)
			f.open(t)
			if got := f.rows(t, requestlog.Query{}).Total; got != 110 {
				t.Errorf("%d rows, want 110", got)
			}
			if p := f.rows(t, requestlog.Query{Ascending: true}); p.Rows[0].Time != resource.At(noon) || p.Rows[109].Time < resource.At(noon.Add(4*time.Hour)) {
				t.Errorf("got %s to %s, want the oldest first", p.Rows[0].Time.Std(), p.Rows[109].Time.Std())
			}
			if err := f.Seal(noon.Add(6 * time.Hour)); err != nil {
				t.Fatal(err)
			}
			if got := f.rows(t, requestlog.Query{}).Total; got != 110 {
				t.Errorf("%d rows after sealing, want 110", got)
			}
		})
	}
}
