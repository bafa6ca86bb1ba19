package audit_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/resource"
)

// ca makes a CA as a cluster has.
func ca(t testing.TB) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// prune deletes the entries up to the number.
func prune(t testing.TB, db *bolt.DB, key *ecdsa.PrivateKey, number uint64) {
	t.Helper()
	update(t, db, func(tx *bolt.Tx) error {
		h, err := audit.HeadOf(tx)
		if err != nil {
			return err
		}
		links, err := audit.Links(tx, number, 1)
		if err != nil {
			return err
		}
		a := resource.AuditAnchor{Cluster: "c1", Number: number, Hash: links[0].Hash}
		if err := audit.Sign(&a, key); err != nil {
			return err
		}
		return audit.Prune(rows{t, tx}, h, a)
	})
}

// export writes what is there, as the admin API does.
func export(t testing.TB, db *bolt.DB, cert []byte, q audit.Query) (jsonl, table []byte) {
	t.Helper()
	var lines, cells bytes.Buffer
	view(t, db, func(tx *bolt.Tx) error {
		x, err := audit.ExtentOf(tx)
		if err != nil {
			return err
		}
		h := audit.NewHeader(x, "c1", cert, 5)
		h.Filtered = q.ID != ""
		enc, w := json.NewEncoder(&lines), csv.NewWriter(&cells)
		row, err := h.Row()
		err = errors.Join(err, enc.Encode(h), w.Write(audit.Columns), w.Write(row))
		q.Oldest, q.Bytes, q.Limit = true, true, 1000
		p, ferr := audit.Find(tx, q)
		err = errors.Join(err, ferr)
		for i, e := range p.Items {
			l := audit.Line{AuditEntry: e, Entry: p.Entries[i]}
			row, rerr := l.Row()
			err = errors.Join(err, rerr, enc.Encode(l), w.Write(row))
		}
		w.Flush()
		return err
	})
	return lines.Bytes(), cells.Bytes()
}

func sampleLog(t testing.TB) (*bolt.DB, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	db := open(t)
	key, cert := ca(t)
	add(t, db, 20, 3, func(n int, e *audit.Entry) {
		e.Address, e.Fields, e.RequestID = "10.0.0.1", []string{"models", "name"}, "r<>&1"
		e.ID = []string{"k1", "=k2"}[n%2]
		e.After, _ = audit.DocumentOf(resource.Key{Name: "x", Policy: resource.Policy{ExpiresAt: 5}})
	})
	return db, key, cert
}

func TestVerifier_Verify(t *testing.T) {
	t.Parallel()
	db, key, cert := sampleLog(t)
	check := func(name string, in []byte, want audit.Verdict) {
		t.Helper()
		got, err := (&audit.Verifier{}).Verify(bytes.NewReader(in))
		if err != nil || got.Entries != want.Entries || got.First != want.First || got.Last != want.Last {
			t.Errorf("%s: got %+v (%v), want %+v", name, got, err, want)
		}
	}
	jsonl, table := export(t, db, cert, audit.Query{})
	check("json", jsonl, audit.Verdict{Entries: 20, First: 1, Last: 20})
	check("csv", table, audit.Verdict{Entries: 20, First: 1, Last: 20})
	jsonl, table = export(t, db, cert, audit.Query{ID: "k1"})
	check("filtered", jsonl, audit.Verdict{Entries: 10, First: 2, Last: 20})
	check("filtered csv", table, audit.Verdict{Entries: 10, First: 2, Last: 20})

	prune(t, db, key, 7)
	prune(t, db, key, 9)
	jsonl, table = export(t, db, cert, audit.Query{})
	check("pruned", jsonl, audit.Verdict{Entries: 11, First: 10, Last: 20})
	check("pruned csv", table, audit.Verdict{Entries: 11, First: 10, Last: 20})
	_, other := ca(t)
	if _, err := (&audit.Verifier{CA: other}).Verify(bytes.NewReader(jsonl)); err == nil {
		t.Error("an anchor of another CA was taken")
	}
	pretty := bytes.ReplaceAll(jsonl, []byte(`","`), []byte(`" , "`))
	check("spaced", pretty, audit.Verdict{Entries: 11, First: 10, Last: 20})
}

// TestVerifier_Flips flips each byte of an export, one after the other: every one is found,
// and at its line.
func TestVerifier_Flips(t *testing.T) {
	t.Parallel()
	db, key, cert := sampleLog(t)
	prune(t, db, key, 17)
	jsonl, table := export(t, db, cert, audit.Query{})
	for name, in := range map[string][]byte{"json": jsonl, "csv": table} {
		head := bytes.IndexByte(in, '\n') + 1
		if name == "csv" {
			head += bytes.IndexByte(in[head:], '\n') + 1
		}
		for i := head; i < len(in); i++ {
			if in[i] == '\n' {
				continue
			}
			bad := bytes.Clone(in)
			bad[i] ^= 1
			_, err := (&audit.Verifier{}).Verify(bytes.NewReader(bad))
			broken, ok := errors.AsType[*audit.Broken](err)
			want := uint64(18 + bytes.Count(in[head:i], []byte{'\n'}))
			if !ok || (broken.Number != want && broken.Number != want+1 && !strings.ContainsRune("0123456789", rune(in[i]))) {
				line, _, _ := bytes.Cut(in[i-min(i, 20):], []byte{'\n'})
				t.Fatalf("%s: byte %d (%q in %q) flipped: got %v, want entry %d", name, i, in[i], line[:min(len(line), 60)], err, want)
			}
		}
	}
}

func TestVerifier_Missing(t *testing.T) {
	t.Parallel()
	db, _, cert := sampleLog(t)
	jsonl, _ := export(t, db, cert, audit.Query{})
	lines := bytes.SplitAfter(bytes.TrimSpace(jsonl), []byte("\n"))
	for _, tt := range []struct {
		name string
		edit func([][]byte) [][]byte
		want uint64 // that is broken
	}{
		{"the first entry", func(l [][]byte) [][]byte { return append(l[:1:1], l[2:]...) }, 2},
		{"one in the middle", func(l [][]byte) [][]byte { return append(l[:5:5], l[6:]...) }, 6},
		{"the last one", func(l [][]byte) [][]byte { return l[:20] }, 20},
		{"two turned around", func(l [][]byte) [][]byte {
			return append(append(l[:5:5], l[6], l[5]), l[7:]...)
		}, 6},
		{"one twice", func(l [][]byte) [][]byte { return append(append(l[:5:5], l[4]), l[5:]...) }, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := bytes.Join(tt.edit(lines), nil)
			_, err := (&audit.Verifier{}).Verify(bytes.NewReader(in))
			if broken, ok := errors.AsType[*audit.Broken](err); !ok || broken.Number != tt.want {
				t.Errorf("got %v, want entry %d", err, tt.want)
			}
		})
	}
}

// TestVerifier_Sink verifies the lines of a file sink: they have no header, begin anywhere and
// may come twice.
func TestVerifier_Sink(t *testing.T) {
	t.Parallel()
	db, _, cert := sampleLog(t)
	jsonl, _ := export(t, db, cert, audit.Query{})
	lines := bytes.SplitAfter(bytes.TrimSpace(jsonl), []byte("\n"))
	in := bytes.Join(append(append(lines[4:9:9], lines[7:12]...), lines[12:]...), nil)
	got, err := (&audit.Verifier{}).Verify(bytes.NewReader(in))
	if err != nil || got.Entries != 17 || got.First != 4 || !got.Unanchored {
		t.Errorf("got %+v (%v)", got, err)
	}
	in = bytes.Join(append(lines[4:9:9], lines[10:]...), nil)
	_, err = (&audit.Verifier{}).Verify(bytes.NewReader(in))
	if b, ok := errors.AsType[*audit.Broken](err); !ok || b.Number != 10 {
		t.Errorf("one is missing: got %v", err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	db, key, cert := sampleLog(t)
	anchor := func(number uint64, change func(*resource.AuditAnchor)) error {
		return db.Update(func(tx *bolt.Tx) error {
			h, err := audit.HeadOf(tx)
			if err != nil {
				return err
			}
			a := resource.AuditAnchor{Cluster: "c1", Number: number}
			if links, err := audit.Links(tx, number, 1); err == nil && len(links) == 1 {
				a.Hash = links[0].Hash
			}
			if err := audit.Sign(&a, key); err != nil {
				return err
			}
			if change != nil {
				change(&a)
			}
			return audit.Prune(rows{t, tx}, h, a)
		})
	}
	if err := anchor(20, nil); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("all entries: got %v, want %v", err, resource.ErrRefused)
	}
	if err := anchor(5, func(a *resource.AuditAnchor) { a.Hash[0]++ }); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("another hash: got %v, want %v", err, resource.ErrRefused)
	}
	if err := anchor(5, func(a *resource.AuditAnchor) { a.Signature = nil }); err == nil {
		t.Error("an anchor without a signature was taken")
	}
	if err := anchor(5, nil); err != nil {
		t.Fatal(err)
	}
	if err := anchor(5, nil); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("again: got %v, want %v", err, resource.ErrRefused)
	}
	view(t, db, func(tx *bolt.Tx) error {
		x, err := audit.ExtentOf(tx)
		if x.First != 6 || x.Last != 20 || x.Anchor == nil || audit.CheckSignature(*x.Anchor, cert) != nil {
			t.Errorf("got %+v", x)
		}
		e, ok, err2 := audit.One(tx, 6)
		if !ok || e.Previous != x.Anchor.Hash {
			t.Errorf("got %+v, want one that follows the anchor", e)
		}
		if _, ok, _ := audit.One(tx, 5); ok {
			t.Error("a pruned entry is still there")
		}
		return errors.Join(err, err2)
	})
	add(t, db, 300, 50, nil) // over the end of a block that is pruned in part
}

func TestMark(t *testing.T) {
	t.Parallel()
	db := open(t)
	mark := func(sink string, n uint64) error {
		return db.Update(func(tx *bolt.Tx) error { return audit.Mark(rows{t, tx}, sink, n) })
	}
	if err := errors.Join(mark("a", 5), mark("b", 9), mark("a", 3), mark("b", 0)); err != nil {
		t.Fatal(err)
	}
	if err := mark("", 1); err == nil {
		t.Error("a sink without a name was taken")
	}
	view(t, db, func(tx *bolt.Tx) error {
		x, err := audit.ExtentOf(tx)
		if len(x.Sinks) != 1 || x.Sinks["a"] != 5 {
			t.Errorf("got %v, want a at 5", x.Sinks)
		}
		return err
	})
}

func FuzzVerify(f *testing.F) {
	db, _, cert := sampleLog(f)
	jsonl, table := export(f, db, cert, audit.Query{})
	f.Add(jsonl)
	f.Add(table)
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := (&audit.Verifier{}).Verify(bytes.NewReader(in))
		if err == nil && v.Entries > 20 {
			t.Errorf("verified %+v", v)
		}
	})
}

// BenchmarkFind looks for three rare entries among a million, and for the newest page.
func BenchmarkFind(b *testing.B) {
	if testing.Short() {
		b.Skip("a million entries")
	}
	db := open(b)
	const n = 1_000_000
	add(b, db, n, 20_000, func(i int, e *audit.Entry) {
		if i%400_000 == 7 {
			e.Actor = "key/rare"
		}
	})
	for name, q := range map[string]audit.Query{
		"newest": {}, "rare": {Actor: "key/rare"}, "nobody": {Address: "10.1.1.1"}, "since": {From: n * 5, Oldest: true}, "far": {Skip: n / 2},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				view(b, db, func(tx *bolt.Tx) error {
					_, err := audit.Find(tx, q)
					return err
				})
			}
		})
	}
}
