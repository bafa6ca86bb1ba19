package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// rows is a bolt transaction as the log takes it.
type rows struct {
	t  testing.TB
	tx *bolt.Tx
}

func (r rows) Value(b store.Bucket, key []byte) (frame.Value, bool) {
	v, ok, err := b.Read(r.tx, key)
	if err != nil {
		r.t.Fatal(err)
	}
	return v, ok
}

func (r rows) Put(b store.Bucket, key, payload []byte) {
	if err := b.In(r.tx).Put(key, frame.Value{Payload: payload}.Encode(key)); err != nil {
		r.t.Fatal(err)
	}
}

func (r rows) Create(b store.Bucket, key, payload []byte) { r.Put(b, key, payload) }

func (r rows) Delete(b store.Bucket, key []byte) {
	if err := b.In(r.tx).Delete(key); err != nil {
		r.t.Fatal(err)
	}
}

// open makes a file with empty buckets.
func open(t testing.TB) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	update(t, db, func(tx *bolt.Tx) error {
		for _, b := range []store.Bucket{store.Audit, store.AuditBlocks, store.AuditMarks} {
			if _, err := tx.CreateBucket([]byte(b.Name())); err != nil {
				return err
			}
		}
		return nil
	})
	return db
}

func update(t testing.TB, db *bolt.DB, fn func(*bolt.Tx) error) {
	t.Helper()
	if err := db.Update(fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, db *bolt.DB, fn func(*bolt.Tx) error) {
	t.Helper()
	if err := db.View(fn); err != nil {
		t.Fatal(err)
	}
}

// add appends n entries, a batch at a time; make changes each.
func add(t testing.TB, db *bolt.DB, n, batch int, change func(number int, e *audit.Entry)) {
	t.Helper()
	for n > 0 {
		update(t, db, func(tx *bolt.Tx) error {
			h, err := audit.HeadOf(tx)
			if err != nil {
				return err
			}
			var all []audit.Entry
			for i := range min(n, batch) {
				number := int(h.Number) + i + 1
				e := audit.Entry{Index: uint64(number), At: resource.Time(number * 10), Actor: "master", Action: "put_key", Kind: "key", ID: fmt.Sprintf("k%d", number)}
				if change != nil {
					change(number, &e)
				}
				all = append(all, e)
			}
			n -= len(all)
			_, err = audit.Append(rows{t, tx}, h, all)
			return err
		})
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	db := open(t)
	add(t, db, 1000, 77, func(n int, e *audit.Entry) {
		if n%400 == 3 { // 3, 403, 803
			e.Actor, e.Address, e.Action, e.Kind, e.ID = "key/jo", "10.0.0.7", "delete_team", "team", "t1"
		}
	})
	for _, tt := range []struct {
		name string
		q    audit.Query
		want []uint64
		more bool
	}{
		{"a page", audit.Query{Limit: 2}, []uint64{1000, 999}, true},
		{"the next one", audit.Query{Limit: 2, Cursor: "999"}, []uint64{998, 997}, true},
		{"over a block's end", audit.Query{Limit: 3, Cursor: "770"}, []uint64{769, 768, 767}, true},
		{"the last one", audit.Query{Limit: 2, Cursor: "3"}, []uint64{2, 1}, false},
		{"the oldest first", audit.Query{Limit: 2, Oldest: true}, []uint64{1, 2}, true},
		{"the oldest first, on", audit.Query{Limit: 2, Oldest: true, Cursor: "998"}, []uint64{999, 1000}, false},
		{"of one record", audit.Query{Kind: "team", ID: "t1"}, []uint64{803, 403, 3}, false},
		{"of one record, the oldest first", audit.Query{Kind: "team", ID: "t1", Oldest: true, Limit: 2}, []uint64{3, 403}, true},
		{"of an address", audit.Query{Address: "10.0.0.7", To: 8030}, []uint64{403, 3}, false},
		{"of an actor", audit.Query{Actor: "key/jo", From: 4030}, []uint64{803, 403}, false},
		{"of an action", audit.Query{Action: "delete_team", Limit: 1}, []uint64{803}, true},
		{"of nobody", audit.Query{Actor: "file"}, nil, false},
		{"since", audit.Query{From: 9985}, []uint64{1000, 999}, false},
		{"between", audit.Query{From: 50, To: 70}, []uint64{6, 5}, false},
		{"after all", audit.Query{From: 1e9}, nil, false},
		{"text", audit.Query{Text: "KEY/J", Skip: 1}, []uint64{403, 3}, false},
		{"skipped", audit.Query{Skip: 990, Limit: 2}, []uint64{10, 9}, true},
		{"skipped too many", audit.Query{Skip: 1990, Limit: 2}, nil, false},
		{"no cursor", audit.Query{Cursor: "?"}, nil, false},
		{"looked far enough", audit.Query{Text: "nothing", Reach: 10}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []uint64
			var next string
			view(t, db, func(tx *bolt.Tx) error {
				p, err := audit.Find(tx, tt.q)
				for _, e := range p.Items {
					got = append(got, e.Number)
				}
				next = p.Next
				return err
			})
			if d := cmp.Diff(tt.want, got); d != "" || (next != "") != tt.more {
				t.Errorf("next %q, numbers differ (-want +got):\n%s", next, d)
			}
		})
	}
}

// TestFind_Everything walks all pages of a query with a short reach.
func TestFind_Everything(t *testing.T) {
	t.Parallel()
	db := open(t)
	add(t, db, 1500, 100, func(n int, e *audit.Entry) { e.ID = fmt.Sprintf("k%d", n%7) })
	for _, oldest := range []bool{false, true} {
		var got int
		q := audit.Query{ID: "k3", Limit: 5, Reach: 33, Oldest: oldest}
		view(t, db, func(tx *bolt.Tx) error {
			for {
				p, err := audit.Find(tx, q)
				if err != nil {
					return err
				}
				got += len(p.Items)
				if q.Cursor = p.Next; q.Cursor == "" {
					return nil
				}
			}
		})
		if want := 214; got != want {
			t.Errorf("oldest %v: got %d, want %d", oldest, got, want)
		}
	}
}

func TestAppend_EncodesAsCodec(t *testing.T) {
	t.Parallel()
	db := open(t)
	doc := codec.Raw("\xa1\x62id\x62k1")
	full := audit.Entry{
		Index: 2, At: -3, Since: 4, Actor: "a", For: "f", Address: "::1", Action: "x", Kind: "k", ID: strings.Repeat("i", 300),
		Name: "n", Outcome: "o", Count: 70000, Version: 1 << 40, Fields: []string{"b", "c"}, Before: doc, After: doc, RequestID: "r",
	}
	add(t, db, 3, 1, func(n int, e *audit.Entry) {
		switch n {
		case 1:
			*e = full
		case 2:
			*e = audit.Entry{}
		}
	})
	view(t, db, func(tx *bolt.Tx) error {
		lines, err := audit.Links(tx, 1, 10)
		for i, l := range lines {
			var e audit.Entry
			if err := codec.Strict(l.Entry, &e); err != nil {
				t.Errorf("entry %d: %v", i+1, err)
			}
			full.Number = 1
			if d := cmp.Diff(full, e); i == 0 && d != "" {
				t.Errorf("entry differs (-want +got):\n%s", d)
			}
		}
		return err
	})
}

func TestDiff(t *testing.T) {
	t.Parallel()
	raw := func(v any) []byte {
		b, err := codec.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sealed := func(p string) *resource.Sealed {
		return &resource.Sealed{DEK: "d", Box: []byte("ciphertext"), Fingerprint: p}
	}
	key := resource.Key{Meta: resource.Meta{ID: "k1", UpdatedAt: 1}, Name: "a", Hash: resource.HashSecret("sk-1"), TeamID: "t1"}
	key.Limits.RPM = new(int64(5))
	turned := key
	turned.UpdatedAt, turned.Hash, turned.Hint, turned.TeamID, turned.UserID = 2, resource.HashSecret("sk-2"), "sk-...2", "", "u1"
	turned.ExpiresAt = 1_700_000_000_000_000_000
	turned.OldHashes = []resource.OldHash{{Hash: key.Hash, Until: 9}}
	for _, tt := range []struct {
		name          string
		kind          string
		before, after []byte
		fields        []string
		from, to      string
	}{
		{
			"created", "key", nil, raw(key), nil, "",
			`{"id":"k1","limits":{"rpm":5},"name":"a","team_id":"t1","updated_at":"1970-01-01T00:00:00.000000001Z"}`,
		},
		{
			"changed", "key", raw(key), raw(turned),
			[]string{"expires_at", "hash", "hint", "old_hashes", "team_id", "user_id"},
			`{"team_id":"t1"}`, `{"expires_at":"2023-11-14T22:13:20Z","hint":"sk-...2","user_id":"u1"}`,
		},
		{"nothing", "key", raw(key), raw(key), nil, "", ""},
		{
			"sealed", "credential", raw(resource.Credential{Name: "c", APIKey: sealed("aa")}), raw(resource.Credential{Name: "c", APIKey: sealed("bb")}),
			[]string{"api_key"},
			`{"api_key":{"fingerprint":"aa"}}`, `{"api_key":{"fingerprint":"bb"}}`,
		},
		{
			"sealed inside", "thing", nil, raw(map[string]any{"a": []any{1, map[string]any{"x": sealed("cc")}}}), nil,
			"", `{"a":[1,{"x":{"print":"cc"}}]}`,
		},
		{
			"money", "budget", raw(resource.Budget{Terms: resource.Terms{USD: resource.Dollar}}), raw(resource.Budget{Terms: resource.Terms{USD: resource.Dollar / 2}}),
			[]string{"terms"},
			`{"terms":{"usd":1}}`, `{"terms":{"usd":0.5}}`,
		},
		{
			"secrets in a configuration", "callback", nil,
			raw(resource.Callback{Name: "c", Config: json.RawMessage(`{"api_key":"k","n":{"tokens":["a"],"url":"u"}}`)}), nil,
			"", `{"config":{"api_key":"(hidden)","n":{"tokens":["(hidden)"],"url":"u"}},"name":"c"}`,
		},
		{"blocked", "key", audit.Flag("blocked", false), audit.Flag("blocked", true), []string{"blocked"}, `{"blocked":false}`, `{"blocked":true}`},
		{
			"long", "key", nil, raw(resource.Key{Policy: resource.Policy{Metadata: json.RawMessage(`{"a":"` + strings.Repeat("x", 9000) + `"}`)}}), nil,
			"", `{"metadata":"9011 bytes, SHA-256 `,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fields, from, to, err := audit.Diff(tt.before, tt.after)
			if err != nil {
				t.Fatal(err)
			}
			got := [2]string{string(audit.Render(tt.kind, from)), string(audit.Render(tt.kind, to))}
			if d := cmp.Diff(tt.fields, fields); d != "" {
				t.Errorf("fields differ (-want +got):\n%s", d)
			}
			if got[0] != tt.from || !strings.HasPrefix(got[1], tt.to) {
				t.Errorf("got %s\nand %s\nwant %s\nand %s", got[0], got[1], tt.from, tt.to)
			}
			if strings.Contains(string(from)+string(to), "ciphertext") || strings.Contains(string(to), string(turned.Hash[:])) {
				t.Error("a secret is in the document")
			}
		})
	}
	if _, _, _, err := audit.Diff([]byte("no CBOR"), nil); !errors.Is(err, frame.ErrDamaged) {
		t.Errorf("no record: got %v, want %v", err, frame.ErrDamaged)
	}
}

func TestHide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"nothing to hide", `{"max_tokens": 5, "a" : [1,"x"]}`, `{"max_tokens": 5, "a" : [1,"x"]}`},
		{"a text", `{"Api-Key":"x","b":"y"}`, `{"Api-Key":"(hidden)","b":"y"}`},
		{"all inside", `{"credentials":{"user":"u","n":[{"v":"w"}]},"b":"y"}`, `{"credentials":{"user":"(hidden)","n":[{"v":"(hidden)"}]},"b":"y"}`},
		{"an escaped name", `{"api\u005fkey":"x"}`, `{"api\u005fkey":"(hidden)"}`},
		{"an escaped end", `{"password":"a\"b","c":"d"}`, `{"password":"(hidden)","c":"d"}`},
		{"a list", `["token","x"]`, `["token","x"]`},
		{"after a list", `{"token":["x"],"b":["y"]}`, `{"token":["(hidden)"],"b":["y"]}`},
		{"not ended", `{"a":"b`, `"(hidden)"`},
		{"open", `{"a":{}`, `"(hidden)"`},
		{"closed", `}`, `"(hidden)"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := string(audit.Hide([]byte(tt.in))); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzHide(f *testing.F) {
	f.Add([]byte(`{"token":["x",{"a":null}],"b":1e5}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out := audit.Hide(in)
		if json.Valid(in) && !json.Valid(out) {
			t.Errorf("%q became %q", in, out)
		}
	})
}

func FuzzDiff(f *testing.F) {
	doc, err := codec.Marshal(resource.Credential{Name: "c", APIKey: &resource.Sealed{DEK: "d", Box: []byte("x"), Fingerprint: "p"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc, doc)
	f.Add([]byte("\xa1\x61a\x82\x01\xa1\x63box\x01"), []byte("\xa0"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var m map[string]any
		if codec.Strict(a, &m) != nil || codec.Strict(b, &m) != nil {
			return
		}
		_, from, to, err := audit.Diff(a, b)
		if err != nil {
			t.Fatalf("Diff: %v", err)
		}
		for _, doc := range []codec.Raw{from, to} {
			var v any
			if len(doc) > 0 && codec.Unmarshal(doc, &v) != nil {
				t.Errorf("%x is no document", doc)
			}
		}
	})
}

// TestRender_Kinds holds the table of kinds to the buckets of records.
func TestRender_Kinds(t *testing.T) {
	t.Parallel()
	for b := store.Keys; b < store.Buckets; b++ {
		if b.Name() != "" && !audit.Shown(b.Kind()) {
			t.Errorf("render.go has no row for the kind %q", b.Kind())
		}
	}
}
