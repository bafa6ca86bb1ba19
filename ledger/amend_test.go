package ledger

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A killed process's request is charged to the accounts that its last amendment names.
func TestJournal_Amend(t *testing.T) {
	t.Parallel()
	first := []AccountCharge{{Account: "key/k/day", Start: 1, Amount: 70}, {Account: "deployment/d1/day", Start: 1, Amount: 70}}
	second := []AccountCharge{{Account: "key/k/day", Start: 1, Amount: 70}, {Account: "deployment/d2/day", Start: 1, Amount: 70}}
	for _, tt := range []struct {
		name   string
		amend  [][]AccountCharge
		behind int // records written after it
		want   []AccountCharge
	}{
		{"never", nil, 0, reservation("r").Holds},
		{"once", [][]AccountCharge{first}, 0, first},
		{"twice", [][]AccountCharge{first, second}, 0, second},
		{"to nothing", [][]AccountCharge{first, nil}, 0, nil},
		{"in an old segment", [][]AccountCharge{first, second}, 100, second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t.TempDir())
			cfg.SegmentBytes = 2 << 10
			j := openJournal(t, cfg)
			n, err := j.Reserve(reservation("r"))
			if err != nil {
				t.Fatal(err)
			}
			for i, holds := range tt.amend {
				if err := j.Amend(n, holds); err != nil {
					t.Fatal(err)
				}
				for k := range tt.behind / 2 { // so that two amendments stand in two segments
					write(t, j, fmt.Sprint(i, k))
				}
			}
			kill(t, j)
			j = openJournal(t, cfg)
			defer closeJournal(t, j)
			rs := readAll(t, j)
			last := rs[len(rs)-1]
			if d := cmp.Diff(tt.want, chargesOf(t, j, last.Number)); d != "" || last.RequestID != "r" || !last.Flags.Has(HoldCharged) {
				t.Errorf("charged otherwise (-want +got):\n%s%+v", d, last)
			}
			if err := j.Amend(n, nil); !errors.Is(err, ErrSettled) {
				t.Errorf("Amend of what is settled = %v", err)
			}
		})
	}
}

// chargesOf reads the charges of a record from the files.
func chargesOf(t *testing.T, j *Journal, number uint64) (charges []AccountCharge) {
	t.Helper()
	if _, err := j.Walk(number-1, number, func(r *Record, _ int) { charges = r.Charges }); err != nil {
		t.Fatal(err)
	}
	return charges
}
