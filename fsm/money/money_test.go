package money_test

import (
	"bytes"
	"testing"

	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/resource"
)

// pair are two nodes with running epochs.
func pair() money.Nodes {
	return money.Nodes{"n1": {Ordinal: 1, Epoch: 1}, "n2": {Ordinal: 2, Epoch: 1}}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	terms := resource.Terms{USD: 800, Overdraft: 5}
	a := money.Open(&terms, 0, 1, 7, pair(), 0)
	if got := a.Sums(pair()).Live; got != 200 || a.Headroom(pair()) != 600 {
		t.Errorf("got %d leased, headroom %d, want 200, 600", got, a.Headroom(pair()))
	}
	if a = money.Open(&terms, 0, 1, 7, pair(), 1); len(a.Holds) != 0 {
		t.Errorf("leased before the journals were replayed: %+v", a.Holds)
	}
}

func TestAccount_Grant(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		settled    resource.Money
		want, need resource.Money
		generation uint64
		grant      resource.Money
		recall     bool
	}{
		{"little", 0, 10, 0, 0, 10, false},
		{"a part of the headroom", 0, 6400, 0, 0, 1600, false},
		{"all that a request needs", 0, 6400, 5000, 0, 5000, false},
		{"never more than there is", 6000, 6400, 5000, 0, 400, true},
		{"the last cents", 6370, 100, 0, 0, 30, true},
		{"frozen", 0, 10, 10, 1, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nodes := pair()
			a := &money.Account{Limit: 6400, Settled: tt.settled}
			a.Grant(nodes["n1"], tt.want, tt.need, nodes, tt.generation)
			if got := a.Holds[0].Granted; got != tt.grant || a.Recall != tt.recall {
				t.Errorf("got %d, recall %v, want %d, %v", got, a.Recall, tt.grant, tt.recall)
			}
		})
	}
}

// TestAccount_Epochs follows what one epoch holds through a crash.
func TestAccount_Epochs(t *testing.T) {
	t.Parallel()
	nodes := pair()
	n := nodes["n1"]
	a := &money.Account{Limit: 100, Overdraft: 10}
	a.Grant(n, 20, 0, nodes, 0)
	a.Settle(n, 1, 5)
	n.Start(9, 0, 0)
	if s := a.Sums(nodes); s.Presumed != 15 || s.Live != 0 {
		t.Errorf("after the crash: got %+v", s)
	}
	if l := a.Lease("key/k1/d", 3, n, nodes); l.Granted != 0 || l.Overdraft != 0 || l.Epoch != 2 {
		t.Errorf("before the journal is settled: got %+v", l)
	}
	a.Settle(n, 1, 18) // 3 over its lease
	n.Drop(1, 0)
	a.Tidy(nodes)
	if l := a.Lease("key/k1/d", 3, n, nodes); l.Overdraft != 7 || l.Headroom != 77 {
		t.Errorf("after it: got %+v", l)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	early, late := money.Key("key/k1/d", -5), money.Key("key/k1/d", 5)
	if bytes.Compare(early, late) >= 0 {
		t.Error("the earlier window does not sort first")
	}
	if id, start, ok := money.SplitKey(early); id != "key/k1/d" || start != -5 || !ok {
		t.Errorf("got %s %d %v", id, start, ok)
	}
	if _, _, ok := money.SplitKey([]byte("key/k1/d")); ok {
		t.Error("a key without a window was read")
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	const hour = 3600e9
	for _, tt := range []struct {
		per resource.Per
		end resource.Time
		ok  bool
	}{
		{resource.PerHour, hour, true},
		{resource.PerHour, 2 * hour, false},
		{resource.PerDay, 23 * hour, true}, // summer time begins
		{resource.PerDay, 168 * hour, false},
		{resource.PerWeek, 169 * hour, true},
		{resource.PerMonth, 28 * 24 * hour, true},
		{resource.PerTotal, 0, true},
		{resource.PerTotal, hour, false},
	} {
		if got := money.Fits(&resource.Terms{Per: tt.per}, resource.Window{End: tt.end}); got != tt.ok {
			t.Errorf("Fits(%s, %d h): got %v, want %v", tt.per, tt.end/hour, got, tt.ok)
		}
	}
}
