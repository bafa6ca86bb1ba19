package ledger

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/resource"
)

// tagsOf makes tags of a length.
func tagsOf(n, length int) (tags []string) {
	for i := range n {
		tags = append(tags, fmt.Sprintf("%04d", i)+strings.Repeat("t", length-4))
	}
	return tags
}

func chargesFor(n, length int) (cs []AccountCharge) {
	for i := range n {
		cs = append(cs, AccountCharge{Account: resource.AccountID(fmt.Sprintf("tag/%04d%s/day", i, strings.Repeat("a", length))), Amount: 40})
	}
	return cs
}

// TestJournal_Long writes what no frame can hold: it is read again, with what it cost, and the running process
// has counted it as one that reads the files does.
func TestJournal_Long(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		tags    []string
		charges []AccountCharge
		facts   facts.Facts
		keeps   int // tags
		pays    int // charges
	}{
		{"long tags", tagsOf(256, 4200), chargesFor(3, 3), facts.Facts{Path: "/v1/chat/completions"}, 256, 3},
		{"many long tags", tagsOf(2000, 4200), chargesFor(1024, 600), facts.Facts{}, 0, 1024},
		{"many tags of many budgets", tagsOf(1024, 500), chargesFor(1024, 200), facts.Facts{}, 1024, 1024},
		{"accounts that no budget has", nil, chargesFor(1024, 3000), facts.Facts{}, 0, 256},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t.TempDir())
			j := openJournal(t, cfg)
			open, res := reservation("open"), reservation("r")
			open.Tags, open.Holds, res.Tags, res.Holds = tt.tags, tt.charges, tt.tags, tt.charges
			n, err := j.Reserve(res)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Amend(n, tt.charges); err != nil {
				t.Fatal(err)
			}
			rec := record("r")
			rec.Tags, rec.Charges, rec.Receipt.Facts = tt.tags, tt.charges, tt.facts
			if err := j.Settle(n, rec); err != nil {
				t.Fatal(err)
			}
			if _, err := j.Reserve(open); err != nil {
				t.Fatal(err)
			}
			if err := j.SyncTo(j.Last()); err != nil {
				t.Fatal(err)
			}
			var live Folds
			j.TakeFolds(j.Synced(), &live)
			kill(t, j)
			j = openJournal(t, cfg)
			defer closeJournal(t, j)
			if j.Holes() != 0 {
				t.Errorf("%d places are damaged", j.Holes())
			}
			var all []Record
			if _, err := j.Walk(0, j.Last(), func(r *Record, _ int) { all = append(all, *r) }); err != nil {
				t.Fatal(err)
			}
			if len(all) != 2 || all[0].Cost != 40 || all[1].Cost != 70 {
				t.Fatalf("read %d records: %+v", len(all), all)
			}
			if len(all[0].Tags) != tt.keeps || len(all[0].Charges) != tt.pays {
				t.Errorf("kept %d tags and %d charges, want %d and %d", len(all[0].Tags), len(all[0].Charges), tt.keeps, tt.pays)
			}
			if d := cmp.Diff(DeltaOf(&all[0]), live.Items[0].Delta); d != "" || live.Items[0].Count != len(all[0].Charges) {
				t.Errorf("counted otherwise than it is read, %d charges:\n%s", live.Items[0].Count, d)
			}
		})
	}
}

// TestJournal_ForeignText writes names that are not UTF-8, or are not after they were cut.
func TestJournal_ForeignText(t *testing.T) {
	t.Parallel()
	long := "a" + strings.Repeat("é", 3000)
	for _, tt := range []struct{ name, in, read, counted string }{
		{"Latin-1", "Jos\xe9", "Jos?", "Jos?"},
		{"nothing but noise", "\xff\xfe", "??", "??"},
		{"half of a pair", "\xed\xa0\x80", "???", "???"},
		{"cut within a letter", long, long[:4095], long[:511]},
		{"as it should be", "José", "José", "José"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := openJournal(t, testConfig(t.TempDir()))
			defer closeJournal(t, j)
			r := record("r")
			r.CustomerID, r.Tags, r.Receipt.Facts = tt.in, []string{tt.in}, facts.Facts{Path: "/p", Customer: tt.in}
			if err := j.Settle(0, r); err != nil {
				t.Fatal(err)
			}
			if err := j.SyncTo(j.Last()); err != nil {
				t.Fatal(err)
			}
			var live Folds
			j.TakeFolds(j.Synced(), &live)
			got := readAll(t, j)[0]
			if got.CustomerID != tt.read || got.Tags[0] != tt.read || !utf8.ValidString(got.Receipt.Facts.Customer) {
				t.Errorf("read %q, %q and %q, want %q", got.CustomerID, got.Tags, got.Receipt.Facts.Customer, tt.read)
			}
			for _, d := range []SpendDelta{DeltaOf(&got), live.Items[0].Delta} {
				if d.Customer != tt.counted || d.Tags[0] != tt.counted {
					t.Errorf("counted for %q and %q, want %q", d.Customer, d.Tags, tt.counted)
				}
			}
		})
	}
}

// TestParseRecord_ForeignText reads what earlier versions wrote, of the length that it had.
func TestParseRecord_ForeignText(t *testing.T) {
	t.Parallel()
	r := record("r")
	r.CustomerID, r.Tags = "Jos#", []string{"#"}
	old := bytes.ReplaceAll(AppendRecord(nil, r), []byte("#"), []byte("\xe9"))
	got, err := ParseRecord(old)
	if err != nil || got.CustomerID != "Jos?" || got.Tags[0] != "?" {
		t.Fatalf("got %q of %q, %v", got.CustomerID, got.Tags, err)
	}
	if now := AppendRecord(nil, &got); len(now) != len(old) {
		t.Errorf("written again it has %d bytes, not %d", len(now), len(old))
	}
}

// FuzzDeltaOf holds that a record counts alike when it is written and when it is read, under names that the
// replicated state takes.
func FuzzDeltaOf(f *testing.F) {
	f.Add("Jos\xe9", "a,\xff")
	f.Add(strings.Repeat("ü", 3000), strings.Repeat("a,", 2000))
	f.Fuzz(func(t *testing.T, name, tags string) {
		r := record("r")
		r.CustomerID, r.Model, r.Tags = name, name, strings.Split(tags, ",")
		b, short := appendRecord(nil, r)
		if len(b) > maxBody {
			t.Fatalf("a body of %d bytes", len(b))
		}
		got, err := decodeRecord(frame{kind: kindSettle, body: b})
		if err != nil {
			t.Fatal(err)
		}
		d := DeltaOf(&got)
		if diff := cmp.Diff(DeltaOf(short), d); diff != "" {
			t.Errorf("read otherwise:\n%s", diff)
		}
		for _, s := range append(d.Tags, d.Customer, d.Model) {
			if !utf8.ValidString(s) || len(s) > maxName {
				t.Errorf("counted for %q", s)
			}
		}
	})
}
