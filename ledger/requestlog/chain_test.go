package requestlog_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
)

// sealed is a log of six hours, each in a segment of its own.
func sealed(t *testing.T) *fixture {
	t.Helper()
	f := open(t, requests(noon, 360)...)
	for hour := range 6 {
		if err := f.Seal(noon.Add(time.Duration(hour+1)*time.Hour + 5*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.Segments()); n != 6 {
		t.Fatalf("got %d segments, want 6", n)
	}
	return f
}

func (f *fixture) report(t *testing.T) *requestlog.Report {
	t.Helper()
	rep, err := f.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// rewrite changes the rows of a segment and keeps all else of it.
func (f *fixture) rewrite(t *testing.T, i int, edit func(rows []requestlog.Row) []requestlog.Row) {
	t.Helper()
	path := filepath.Join(f.dir, "segments", f.Segments()[i].Name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.Read[requestlog.Row](bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[requestlog.Row](&out)
	if _, err := w.Write(edit(rows)); err != nil {
		t.Fatal(err)
	}
	if own, ok := p.Lookup("conclave.chain"); ok {
		w.SetKeyValueMetadata("conclave.chain", own)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// list changes the list of segments while the log is closed.
func (f *fixture) list(t *testing.T, change func(list map[string]*segment.Segment)) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(filepath.Join(f.dir, "recent.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, all := tx.Bucket([]byte("segments")), map[string]*segment.Segment{}
		if err := b.ForEach(func(k, v []byte) error {
			s := &segment.Segment{}
			all[string(k)] = s
			return json.Unmarshal(v, s)
		}); err != nil {
			return err
		}
		names := []string{}
		for name := range all {
			names = append(names, name)
		}
		change(all)
		for _, name := range names {
			if all[name] == nil {
				if err := b.Delete([]byte(name)); err != nil {
					return err
				}
				continue
			}
			v, err := json.Marshal(all[name])
			if err != nil {
				return err
			}
			if err := b.Put([]byte(name), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f.open(t)
}

func TestLog_Chain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, f *fixture)
		want string // in a difference; "": there is none
	}{
		{"as it was sealed", func(*testing.T, *fixture) {}, ""},
		{"rewritten without a change", func(t *testing.T, f *fixture) {
			f.rewrite(t, 2, func(rows []requestlog.Row) []requestlog.Row { return rows })
		}, ""},
		{"an edited row", func(t *testing.T, f *fixture) {
			f.rewrite(t, 2, func(rows []requestlog.Row) []requestlog.Row { rows[7].Model = "cheaper"; return rows })
		}, "row 256 (request r1772625600-127) was changed"},
		{"a removed row", func(t *testing.T, f *fixture) {
			f.rewrite(t, 2, func(rows []requestlog.Row) []requestlog.Row { return slices.Delete(rows, 7, 8) })
		}, "row 258 (request r1772625600-128) was changed, or the row before it was removed or moved"},
		{"the last row removed", func(t *testing.T, f *fixture) {
			f.rewrite(t, 2, func(rows []requestlog.Row) []requestlog.Row { return rows[:len(rows)-1] })
		}, "rows at its end were removed or added"},
		{"rows reordered", func(t *testing.T, f *fixture) {
			f.rewrite(t, 2, func(rows []requestlog.Row) []requestlog.Row { rows[7], rows[8] = rows[8], rows[7]; return rows })
		}, "row 256 (request r1772625600-127) stands after row 258: the rows were reordered"},
		{"a segment removed", func(t *testing.T, f *fixture) {
			name := f.Segments()[3].Name
			f.list(t, func(list map[string]*segment.Segment) { list[name] = nil })
		}, "a segment between them was removed or replaced"},
		{"a file removed", func(t *testing.T, f *fixture) {
			if err := os.Remove(filepath.Join(f.dir, "segments", f.Segments()[3].Name)); err != nil {
				t.Fatal(err)
			}
		}, "cannot be read"},
		{"the first segment removed", func(t *testing.T, f *fixture) {
			name := f.Segments()[0].Name
			f.list(t, func(list map[string]*segment.Segment) { list[name] = nil })
		}, "does not follow the segments that were removed for their age"},
		{"segments exchanged", func(t *testing.T, f *fixture) {
			a, b := f.Segments()[2].Name, f.Segments()[3].Name
			dir := filepath.Join(f.dir, "segments")
			for _, move := range [][2]string{{a, "x"}, {b, a}, {"x", b}} {
				if err := os.Rename(filepath.Join(dir, move[0]), filepath.Join(dir, move[1])); err != nil {
					t.Fatal(err)
				}
			}
		}, "it was replaced"},
		{"a segment whose chain was taken off", func(t *testing.T, f *fixture) {
			name := f.Segments()[3].Name
			f.list(t, func(list map[string]*segment.Segment) { list[name].Chained = segment.Chained{} })
		}, "says of its place in the chain what the list does not"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := sealed(t)
			tt.do(t, f)
			rep := f.report(t)
			all := strings.Join(rep.Differences, "\n")
			if tt.want == "" && (all != "" || rep.Chained != 6 || len(rep.Head) != 64) {
				t.Errorf("got %+v, want no difference in 6 chained segments", rep)
			}
			if !strings.Contains(all, tt.want) {
				t.Errorf("got\n%s\nwant %s", all, tt.want)
			}
		})
	}
}

// TestLog_ChainTrimmed holds retention to leaving an anchor, by which the rest still verifies.
func TestLog_ChainTrimmed(t *testing.T) {
	t.Parallel()
	f := sealed(t)
	gone := f.Segments()[1]
	f.now, f.keep.Rows = noon.Add(26*time.Hour+time.Minute), 24*time.Hour
	if err := f.Trim(); err != nil {
		t.Fatal(err)
	}
	rep := f.report(t)
	if len(rep.Differences) != 0 || rep.Chained != 4 || rep.Anchor == nil || rep.Anchor.Hash != gone.Hash || rep.Anchor.Removed != 2 || rep.Anchor.Last != gone.Last {
		t.Errorf("got %+v with %+v, want the anchor of the second segment", rep, rep.Anchor)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.open(t)
	if rep := f.report(t); len(rep.Differences) != 0 || rep.Chained != 4 {
		t.Errorf("after a restart: got %+v", rep)
	}
	f.keep.Rows = time.Hour
	if err := f.Trim(); err != nil {
		t.Fatal(err)
	}
	f.keep.Rows = 1000 * time.Hour
	f.source.add(requests(noon.Add(48*time.Hour), 10)...)
	f.wait(t)
	if err := f.Seal(noon.Add(72 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if rep := f.report(t); len(rep.Differences) != 0 || rep.Chained != 1 || rep.Anchor.Removed != 6 {
		t.Errorf("sealed after all was removed: got %+v", rep)
	}
}

// TestLog_ChainAdopted holds a log whose list was lost to its segments' own chain.
func TestLog_ChainAdopted(t *testing.T) {
	t.Parallel()
	f := sealed(t)
	f.now, f.keep.Rows = noon.Add(25*time.Hour+time.Minute), 24*time.Hour
	if err := f.Trim(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.dir, "recent.db")); err != nil {
		t.Fatal(err)
	}
	f.open(t)
	if rep := f.report(t); len(rep.Differences) != 0 || rep.Chained != 5 || rep.Anchor == nil || !rep.Anchor.Adopted {
		t.Errorf("got %+v, want the chain of five segments", rep)
	}
}

// TestLog_ChainOlder holds a log to reading segments that were sealed before there was a chain.
func TestLog_ChainOlder(t *testing.T) {
	t.Parallel()
	f := sealed(t)
	for i := range 6 {
		f.rewrite(t, i, func(rows []requestlog.Row) []requestlog.Row {
			for j := range rows {
				rows[j].Link = 0
			}
			return rows
		})
		unchain(t, filepath.Join(f.dir, "segments", f.Segments()[i].Name))
	}
	f.list(t, func(list map[string]*segment.Segment) {
		for _, s := range list {
			s.Chained = segment.Chained{}
		}
	})
	if rep := f.report(t); len(rep.Differences) != 0 || rep.Chained != 0 || rep.Segments != 6 {
		t.Errorf("got %+v, want six segments without a chain", rep)
	}
	f.source.add(requests(noon.Add(48*time.Hour), 10)...)
	f.wait(t)
	if err := f.Seal(noon.Add(72 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if rep := f.report(t); len(rep.Differences) != 0 || rep.Chained != 1 || rep.Segments != 7 {
		t.Errorf("the chain begins: got %+v", rep)
	}
}

// unchain takes the column and the metadata of the chain out of a segment, as it was before.
func unchain(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	group := parquet.Group{}
	for _, f := range p.Schema().Fields() {
		if f.Name() != "link" {
			group[f.Name()] = f
		}
	}
	schema := parquet.NewSchema("Row", group)
	var out bytes.Buffer
	w := parquet.NewWriter(&out, schema)
	conv, err := parquet.Convert(schema, p.Schema())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range p.RowGroups() {
		if _, err := parquet.CopyRows(w, parquet.ConvertRowGroup(g, conv).Rows()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
