package fsm_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// budgeted makes a cluster with one key under one budget whose window is open.
func budgeted(t *testing.T, terms resource.Terms, w resource.Window, nodes ...string) (*harness, resource.AccountID) {
	t.Helper()
	h := start(t)
	h.boot(nodes...)
	k := resource.Key{Meta: meta("k1"), Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{terms}}}}
	put := h.putKey(k, 0)
	id := resource.Account("key", "k1", put.Key.Value().Budgets[0].Name)
	put.Windows = []fsm.OpenWindow{{Account: id, Window: w, Limit: terms.USD}}
	h.do(put)
	return h, id
}

func (h *harness) lease(node string, id resource.AccountID, start resource.Time) fsm.Lease {
	for _, l := range h.f.LeasesOf(node) {
		if l.Account == id && l.Window.Start == start {
			return l
		}
	}
	return fsm.Lease{}
}

// tick applies the next tick of a node.
func (h *harness) tick(t fsm.Tick) {
	h.t.Helper()
	epoch, seq, _, _ := h.f.LastTick(t.Node)
	t.Epoch, t.Seq = epoch, seq+1
	h.doAs(node(t.Node), fsm.TickGroup{Ticks: []fsm.Tick{t}})
}

func want(id resource.AccountID, w resource.Window, amount, need resource.Money) []fsm.Want {
	return []fsm.Want{{OpenWindow: fsm.OpenWindow{Account: id, Window: w}, Amount: amount, Need: need}}
}

func settle(id resource.AccountID, start resource.Time, amount resource.Money) []fsm.AccountDelta {
	return []fsm.AccountDelta{{Account: id, Start: start, Amount: amount}}
}

func TestMoney_Grants(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 1200}, resource.Window{}, "n1", "n2", "n3")
	if got := h.lease("n1", id, 0); got.Granted != 100 || got.Headroom != 900 {
		t.Fatalf("opening lease: got %d of headroom %d, want limit / (4 × 3) = 100 of 900", got.Granted, got.Headroom)
	}
	if len(h.last.Leases) != 1 || h.last.Leases[0].Account != id || !h.last.Tables["key"] {
		t.Errorf("the watcher heard %+v", h.last)
	}
	h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 1000, 0)})
	if got := h.lease("n1", id, 0).Granted; got != 250 {
		t.Errorf("a grant is headroom / (2 × 3): got %d in all, want 100 + 150", got)
	}
	h.tick(fsm.Tick{Node: "n2", Want: want(id, resource.Window{}, 700, 700)})
	if got := h.lease("n2", id, 0).Granted; got != 800 {
		t.Errorf("what a request needs is granted whole: got %d, want 100 + 700", got)
	}
	h.tick(fsm.Tick{Node: "n3", Want: want(id, resource.Window{}, 100, 100)})
	if got := h.lease("n3", id, 0); got.Granted != 150 || !got.Recall || got.Headroom != 0 {
		t.Errorf("at the end of the headroom: got %+v, want 150 and a recall", got)
	}
	h.tick(fsm.Tick{Node: "n2", Settle: settle(id, 0, 300), Release: settle(id, 0, 400)})
	if got := h.lease("n3", id, 0); got.Recall || got.Headroom != 400 {
		t.Errorf("after a release: got %+v, want headroom 400 and no recall", got)
	}
	if got := h.lease("n2", id, 0); got.Granted != 400 || got.Settled != 300 {
		t.Errorf("the releaser's lease: got %+v, want 400 granted, 300 settled", got)
	}
	h.tick(fsm.Tick{Node: "n2", Release: settle(id, 0, 9999)})
	if got := h.lease("n2", id, 0); got.Granted != 300 {
		t.Errorf("more was released than was left: got %d granted, want 300", got.Granted)
	}
}

func TestMoney_TickSequence(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 100}, resource.Window{}, "n1")
	epoch := h.f.Epoch("n1")
	send := func(epoch, seq, from uint64) {
		h.doAs(node("n1"), fsm.TickGroup{Ticks: []fsm.Tick{{Node: "n1", Epoch: epoch, Seq: seq, From: from, To: 10 * seq, Applied: 7, Settle: settle(id, 0, 1)}}})
	}
	for _, tt := range []struct {
		name             string
		epoch, seq, from uint64
		settled          resource.Money
	}{
		{"gap", epoch, 2, 0, 0},
		{"first", epoch, 1, 0, 1},
		{"again", epoch, 1, 0, 1},
		{"records that were told before", epoch, 2, 9, 1},
		{"records left out", epoch, 2, 11, 1},
		{"next", epoch, 2, 10, 2},
		{"of another epoch", epoch + 1, 3, 20, 2},
	} {
		send(tt.epoch, tt.seq, tt.from)
		if got := h.f.Accounts("key/k1")[0].Settled; got != tt.settled {
			t.Errorf("%s: settled %d, want %d", tt.name, got, tt.settled)
		}
	}
	if e, seq, at, applied := h.f.LastTick("n1"); e != epoch || seq != 2 || at != day0 || applied != 7 {
		t.Errorf("LastTick: got %d %d %d %d", e, seq, at, applied)
	}
	if n, _ := h.f.Node("n1"); n.To != 20 {
		t.Errorf("covered journal: got %d, want 20", n.To)
	}
}

func TestMoney_Restart(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 400, Overdraft: 30}, resource.Window{}, "n1")
	old := h.f.Epoch("n1")
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, 60)})
	h.doAs(node("n1"), fsm.OpenEpoch{Node: "n1"})
	if !h.last.Tables["epoch"] {
		t.Errorf("the watcher heard %+v", h.last)
	}
	if got := h.lease("n1", id, 0); got.Granted != 0 || got.Overdraft != 0 || got.Headroom != 300 || got.Epoch == old {
		t.Errorf("lease of the new epoch: got %+v, want nothing", got)
	}
	if d := cmp.Diff([]fsm.EpochHold{{Epoch: old, Account: id, Amount: 40}}, h.f.Presumed("n1")); d != "" {
		t.Errorf("presumed differs (-want +got):\n%s", d)
	}
	h.tick(fsm.Tick{Node: "n1", OldEpoch: old, Settle: settle(id, 0, 50)}) // 110 of a lease of 100
	if got := h.f.Accounts("key/k1")[0]; got.Settled != 110 || got.Presumed != 0 {
		t.Errorf("after the replay: got %+v, want 110 settled, none presumed", got)
	}
	h.doAs(node("n1"), fsm.CloseEpoch{Node: "n1", Epoch: old, Whole: true})
	h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 1, 0)})
	if got := h.lease("n1", id, 0); got.Overdraft != 20 || got.Granted != 1 {
		t.Errorf("got %+v: 10 of the overdraft of 30 are used, a restart gives none back", got)
	}
	h.refused(node("n1"), fsm.CloseEpoch{Node: "n1", Epoch: old}, resource.ErrNotFound)

	// A process that dies with a journal that is not whole leaves its lease presumed spent.
	old = h.f.Epoch("n1")
	h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 50, 50)})
	h.doAs(node("n1"), fsm.OpenEpoch{Node: "n1"})
	h.doAs(node("n1"), fsm.CloseEpoch{Node: "n1", Epoch: old})
	if got := h.f.Accounts("key/k1")[0]; got.Presumed != 51 {
		t.Errorf("got %+v, want 51 presumed", got)
	}
	if got := h.lease("n1", id, 0); got.Overdraft != 0 {
		t.Errorf("overdraft after a lost journal: got %d, want 0", got.Overdraft)
	}
}

// Two processes of one node open epochs: each after the one that it knew, and the state says whose runs.
func TestMoney_Processes(t *testing.T) {
	t.Parallel()
	h, _ := budgeted(t, resource.Terms{USD: 400}, resource.Window{}, "n1")
	first := h.f.Epoch("n1")
	h.doAs(node("n1"), fsm.OpenEpoch{Node: "n1", Life: 7, After: first})
	second := h.f.Epoch("n1")
	h.refused(node("n1"), fsm.OpenEpoch{Node: "n1", Life: 6, After: first}, resource.ErrConflict) // of a process that is gone, too late
	if n, _ := h.f.Node("n1"); n.Epoch != second || n.Life != 7 {
		t.Errorf("got epoch %d of %d, want %d of 7", n.Epoch, n.Life, second)
	}
	h.doAs(node("n1"), fsm.OpenEpoch{Node: "n1", Life: 8, After: second})
	if n, _ := h.f.Node("n1"); n.Epoch != second+1 || n.Life != 8 {
		t.Errorf("got epoch %d of %d, want %d of 8", n.Epoch, n.Life, second+1)
	}
	h.verify()
}

func TestMoney_Windows(t *testing.T) {
	t.Parallel()
	const hour = resource.Time(3600e9)
	first := resource.Window{Start: day0, End: day0 + hour}
	h, id := budgeted(t, resource.Terms{USD: 100, Per: resource.PerHour}, first, "n1")
	open := func(w resource.Window) { h.tick(fsm.Tick{Node: "n1", Want: want(id, w, 10, 0)}) }
	next := func(i resource.Time) resource.Window {
		return resource.Window{Start: day0 + i*hour, End: day0 + (i+1)*hour}
	}
	starts := func() (s []resource.Time) {
		for _, a := range h.f.Accounts("key/k1") {
			s = append(s, (a.Window.Start-day0)/hour)
		}
		return s
	}
	open(next(5))
	open(resource.Window{Start: day0, End: day0 + 24*hour})
	open(resource.Window{Start: 7})
	h.now = day0 + hour - 5e9
	open(next(1))
	if d := cmp.Diff([]resource.Time{0, 1}, starts()); d != "" {
		t.Errorf("windows 5 s before the next (-want +got):\n%s", d)
	}
	h.now = day0 + 2*hour
	open(next(2))
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, day0+hour, 7)})
	if d := cmp.Diff([]resource.Time{1, 2}, starts()); d != "" {
		t.Errorf("windows in the third hour (-want +got):\n%s", d)
	}
	if got := h.f.Accounts("key/k1")[0].Settled; got != 7 {
		t.Errorf("a late settle of the window before: got %d, want 7", got)
	}
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, day0, 7)})
	open(resource.Window{Start: day0 - 3*hour, End: day0 - 2*hour})
	if d := cmp.Diff([]resource.Time{1, 2}, starts()); d != "" {
		t.Errorf("windows after late ones (-want +got):\n%s", d)
	}
	h.do(fsm.DeleteKey{ID: "k1"})
	open(next(2))
	if got := starts(); len(got) != 0 {
		t.Errorf("windows of a deleted key: %v", got)
	}
}

func TestMoney_LimitChange(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	shared := resource.Budget{Meta: meta("b1"), Name: "shared", Terms: resource.Terms{Name: "s", USD: 100}}
	r := h.do(fsm.PutBudget{Budget: encoded(t, shared)})
	h.do(h.putKey(resource.Key{Meta: meta("k1"), Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "b1"}}}, 0))
	const id = resource.AccountID("key/k1/s")
	h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 60, 60)}) // opens: 25 + 60
	shared.Terms.USD = 40
	r = h.do(fsm.PutBudget{Budget: encoded(t, shared), Read: r.Version})
	if got := h.lease("n1", id, 0); got.Limit != 40 || !got.Recall || got.Headroom != -45 {
		t.Errorf("after a cut: got %+v, want limit 40, headroom -45, a recall", got)
	}
	h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 5, 5)})
	if got := h.lease("n1", id, 0); got.Granted != 85 {
		t.Errorf("a grant below zero: %+v", got)
	}
	shared.Terms.USD = 200
	h.do(fsm.PutBudget{Budget: encoded(t, shared), Read: r.Version})
	if got := h.lease("n1", id, 0); got.Limit != 200 || got.Recall {
		t.Errorf("after a raise: got %+v", got)
	}
	h.refused(master, fsm.DeleteBudget{ID: "b1"}, resource.ErrInUse)
}

func TestMoney_Generation(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 800}, resource.Window{}, "n1", "n2")
	b := h.snapshot()
	again, err := fsm.Regenerate(bytes.NewReader(b), h.f.Generation()+1)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.f.Restore(io.NopCloser(again)); err != nil {
		t.Fatal(err)
	}
	if got := h.f.Generation(); got != 1 {
		t.Fatalf("generation: got %d, want 1", got)
	}
	grant := func() resource.Money {
		before := h.lease("n1", id, 0).Granted
		h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 10, 10)})
		return h.lease("n1", id, 0).Granted - before
	}
	old1, old2 := h.f.Epoch("n1"), h.f.Epoch("n2")
	h.doAs(node("n1"), fsm.OpenEpoch{Node: "n1"})
	h.doAs(node("n1"), fsm.CloseEpoch{Node: "n1", Epoch: old1, Whole: true})
	if got := grant(); got != 0 {
		t.Errorf("granted %d before every node has replayed", got)
	}
	if got := h.f.Epoch("n1"); got <= old1+1 {
		t.Errorf("epoch %d may have been used in the generation before", got)
	}
	h.doAs(node("n2"), fsm.OpenEpoch{Node: "n2"})
	h.doAs(node("n2"), fsm.CloseEpoch{Node: "n2", Epoch: old2, Whole: true})
	if got := grant(); got != 10 {
		t.Errorf("granted %d after every node has replayed, want 10", got)
	}
	h.do(fsm.RemoveMember{ID: "n2"})
	if got := grant(); got != 10 {
		t.Errorf("granted %d after a removal, want 10", got)
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.tick(fsm.Tick{Node: "n1", Spend: []fsm.SpendDelta{
		{KeyID: "k1", TeamID: "t1", Model: "demo", Day: 20_000, Cost: 5, Requests: 2, Failures: 1, Prompt: 10, Completion: 20},
		{Model: "demo", Day: 20_001, Cost: 7, Requests: 1},
	}})
	for _, tt := range []struct {
		kind, id string
		want     fsm.Totals
		days     map[int32]fsm.Totals
	}{
		{"key", "k1", fsm.Totals{Cost: 5, Requests: 2, Failures: 1, Prompt: 10, Completion: 20}, nil},
		{"team", "t1", fsm.Totals{Cost: 5, Requests: 2, Failures: 1, Prompt: 10, Completion: 20}, nil},
		{"model", "demo", fsm.Totals{Cost: 12, Requests: 3, Failures: 1, Prompt: 10, Completion: 20}, map[int32]fsm.Totals{20_001: {Cost: 7, Requests: 1}}},
		{"total", "", fsm.Totals{Cost: 12, Requests: 3, Failures: 1, Prompt: 10, Completion: 20}, map[int32]fsm.Totals{20_001: {Cost: 7, Requests: 1}}},
		{"key", "k2", fsm.Totals{}, nil},
	} {
		if got := h.f.Totals(tt.kind, tt.id); got != tt.want {
			t.Errorf("%s %s: got %+v, want %+v", tt.kind, tt.id, got, tt.want)
		}
		got := h.f.DailyTotals(tt.kind, tt.id, 20_001, 20_100)
		if len(got) != len(tt.days) || (len(got) > 0 && !cmp.Equal(got, tt.days)) {
			t.Errorf("days of %s %s: got %v, want %v", tt.kind, tt.id, got, tt.days)
		}
	}
}
