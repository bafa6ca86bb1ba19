package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A reader that is dead keeps records for a while, and learns what it has lost.
func TestJournal_SoftFloor(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	now := time.Unix(1_700_000_000, 0)
	cfg.Now = func() time.Time { return now }
	cfg.SegmentBytes, cfg.MaxBytes, cfg.HoldBytes = 4<<10, 8<<10, 40<<10
	j := openJournal(t, cfg)
	fill := func(n int) {
		t.Helper()
		for i := range n {
			write(t, j, fmt.Sprint(i))
		}
		if err := j.syncAll(); err != nil {
			t.Fatal(err)
		}
	}
	fill(80)
	all := readAll(t, j)
	j.SetSoftFloor("sink", all[3].Number)
	if err := j.Trim(); err != nil {
		t.Fatal(err)
	}
	if _, _, gone := j.Missing(all[3].Number); gone {
		t.Fatal("records went that a reader wants and that there is room for")
	}
	fill(400)
	j.SetFloor("ticks", all[50].Number)
	if err := j.Trim(); err != nil {
		t.Fatal(err)
	}
	oldest, records, gone := j.Missing(all[3].Number)
	if !gone || oldest > all[50].Number {
		t.Fatalf("gone %v, oldest %d: the ticker's floor is %d", gone, oldest, all[50].Number)
	}
	want := int64(0)
	for i := range all {
		if all[i].Number > all[3].Number && all[i].Number < oldest {
			want++
		}
	}
	if records != want || want == 0 {
		t.Errorf("%d records are missing, want %d", records, want)
	}
	if _, _, gone := j.Missing(oldest - 1); gone {
		t.Error("a reader that goes on at the oldest record misses some")
	}
	j.DropFloor("ticks")
	j.SetSoftFloor("sink", j.Last()-1)
	now = now.Add(cfg.MaxAge + 8*24*time.Hour)
	if err := j.Trim(); err != nil || len(j.segmentList()) != 1 {
		t.Errorf("%d segments are left: %v", len(j.segmentList()), err)
	}
	closeJournal(t, j)
}

// The forms of SETTLE that earlier versions wrote are still read.
func TestDecodeRecord_EarlierForms(t *testing.T) {
	t.Parallel()
	third := len([]string{"organization", "project", "customer", "session"}) + len([]string{
		"step", "scope", "entity", "rule", "price source", "prompt", "completion", "clamped", "tries",
	}) // a zero byte each
	second := len([]string{"user", "provider", "code", "guardrail", "attempts", "results"})
	for _, tt := range []struct {
		name  string
		kind  kind
		added int
		code  string
	}{
		{"first", kindSettle1, second + third, "rate_limit_exceeded"},
		{"second", kindSettle2, third, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := record("a")
			r.ErrorKind, r.UserID, r.Provider, r.ErrorCode, r.Guardrail, r.Attempts, r.Guardrails = "rate_limit_exceeded", "", "", "", "", 0, nil
			r.OrganizationID, r.ProjectID, r.CustomerID, r.SessionID, r.Receipt = "", "", "", "", Receipt{}
			body := putRecord(nil, r)
			got, err := decodeRecord(frame{kind: tt.kind, number: 7, body: body[:len(body)-tt.added]})
			if err != nil || got.Number != 7 || got.RequestID != r.RequestID || got.ErrorCode != tt.code || got.Cost != r.Cost || len(got.Tags) != len(r.Tags) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestDecodeReservation_FirstForm(t *testing.T) {
	t.Parallel()
	r := reservation("a")
	r.OrganizationID, r.ProjectID, r.UserID, r.CustomerID, r.Tags = "", "", "", "", nil
	body := putReservation(nil, r)
	got, err := decodeReservation(frame{kind: kindReserve1, body: body[:len(body)-5]})
	if d := cmp.Diff(*r, got); err != nil || d != "" {
		t.Errorf("decodeReservation: %v\n%s", err, d)
	}
}
