package fsm_test

import (
	"fmt"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestTotals_Names bounds how many names of requests have totals, and counts the rest under one.
func TestTotals_Names(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.do(fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: meta("counted_customers"), Value: []byte(" 5\n")})})
	h.do(fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: meta("counted_tags"), Value: []byte("2")})})
	h.do(fsm.PutCustomer{Record: encoded(t, resource.Customer{Meta: meta("known")})})
	h.do(fsm.PutTag{Record: encoded(t, resource.Tag{Meta: meta("prod")})})
	spend := func(customer string, tags ...string) fsm.SpendDelta {
		return fsm.SpendDelta{Customer: customer, Tags: tags, Day: 19_675, Cost: 1, Requests: 1}
	}
	var first []fsm.SpendDelta
	for i := range 8 {
		first = append(first, spend(fmt.Sprint("c", i)))
	}
	h.tick(fsm.Tick{Node: "n1", Spend: append(first, spend("c0", "a", "b", "c", "d"), spend("c7"), spend(""))})
	h.tick(fsm.Tick{Node: "n1", Spend: []fsm.SpendDelta{spend("c1", "b", "prod"), spend("known", "e"), spend("c9", "prod", "f", "g")}})
	for _, tt := range []struct {
		kind, id string
		want     resource.Money
	}{
		{"customer", "c0", 2},
		{"customer", "c1", 2},
		{"customer", "c4", 1},
		{"customer", "c5", 0},
		{"customer", "c7", 0},
		{"customer", "c9", 0},
		{"customer", "known", 1},
		{"customer", fsm.OtherName, 5},
		{"tag", "a", 1},
		{"tag", "b", 2},
		{"tag", "c", 0},
		{"tag", "prod", 2},
		{"tag", fsm.OtherName, 3}, // each delta once
		{"total", "", 14},
	} {
		if got := h.f.Totals(tt.kind, tt.id).Cost; got != tt.want {
			t.Errorf("%s %q: got %d, want %d", tt.kind, tt.id, got, tt.want)
		}
		days := h.f.DailyTotals(tt.kind, tt.id, 19_675, 19_675)
		if got := days[19_675].Cost; got != tt.want {
			t.Errorf("%s %q of the day: got %d, want %d", tt.kind, tt.id, got, tt.want)
		}
	}
	if got := h.f.Names(); got.Customers != 5 || got.Tags != 2 {
		t.Errorf("got %+v", got)
	}
}
