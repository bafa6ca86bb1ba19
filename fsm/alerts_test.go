package fsm_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// said lists what alerts say, the oldest first.
func (h *harness) said() []string {
	var all []string
	for _, a := range slices.Backward(h.f.Alerts(fsm.AlertQuery{})) {
		line := a.Kind + " " + a.Subject
		if b := a.Budget; b != nil {
			line = fmt.Sprintf("%s %d%% %d/%d", a.Kind, b.Threshold, b.Settled, b.Limit)
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

func warned(usd resource.Money, at ...int64) resource.Terms {
	return resource.Terms{USD: usd, Alerts: &channel.BudgetAlerts{At: at, Emails: []string{"a@b.c"}, Channels: []string{"team"}}}
}

func TestAlerts_Thresholds(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, warned(1000, 80, 50, 100), resource.Window{}, "n1")
	step := func(amount resource.Money, want ...string) {
		t.Helper()
		h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, amount)})
		if got := h.said(); !cmp.Equal(got, want, cmp.Transformer("", func(s []string) string { return strings.Join(s, "\n") })) {
			t.Fatalf("settled %d more: got %q, want %q", amount, got, want)
		}
	}
	step(499)
	step(1, "budget_threshold 50% 500/1000")
	step(0, "budget_threshold 50% 500/1000")
	step(-10, "budget_threshold 50% 500/1000") // an adjustment
	step(20, "budget_threshold 50% 500/1000")
	step(600, "budget_exhausted 0% 1110/1000", "budget_threshold 100% 1110/1000", "budget_threshold 50% 500/1000", "budget_threshold 80% 1110/1000")
	a := h.f.Alerts(fsm.AlertQuery{Limit: 1})[0]
	if a.Channels[0] != "team" || a.Emails[0] != "a@b.c" || a.Subject != "key/k1" || len(h.f.PendingAlerts(0)) != 4 || !h.last.Tables["alert"] {
		t.Errorf("got %+v, %d pending", a, len(h.f.PendingAlerts(0)))
	}
}

// TestAlerts_SettingsThresholds takes those of the setting, and none without it.
func TestAlerts_SettingsThresholds(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 1000}, resource.Window{}, "n1")
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, 300)})
	if got := h.said(); len(got) != 0 {
		t.Fatalf("without a setting: %q", got)
	}
	h.do(fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: meta("alerts"), Value: []byte(`{"budget_thresholds":[20,40],"newer":1}`)})})
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, 200)})
	if got := h.said(); len(got) != 1 || got[0] != "budget_threshold 40% 500/1000" {
		t.Errorf("got %q", got)
	}
}

// TestAlerts_Cut lowers a limit under what is spent: nobody can spend after that, so it is told at once.
func TestAlerts_Cut(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, warned(1000, 80), resource.Window{}, "n1")
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, 500)})
	k, _ := h.f.Key("k1")
	for _, usd := range []resource.Money{600, 1000, 600} {
		next := *k
		next.Budgets = []resource.Terms{warned(usd, 80)}
		next.Budgets[0].Soft = 400
		stored, _ := h.f.Key("k1")
		h.do(h.putKey(next, stored.Version))
	}
	want := []string{"budget_soft_limit 0% 500/600", "budget_threshold 80% 500/600"}
	if got := h.said(); !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAlerts_Refused(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, warned(1000, 50), resource.Window{}, "n1")
	refuse := func(hold resource.Money) {
		h.tick(fsm.Tick{Node: "n1", Want: []fsm.Want{{OpenWindow: fsm.OpenWindow{Account: id}, Refused: hold}}})
	}
	refuse(2000)
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, 920)})
	refuse(80) // fits
	if got := h.said(); len(got) != 1 {
		t.Fatalf("got %q", got)
	}
	refuse(81)
	refuse(90)
	if got := h.said(); len(got) != 2 || got[0] != "budget_exhausted 0% 920/1000" {
		t.Errorf("got %q", got)
	}
}

func TestAlerts_IncreaseEnds(t *testing.T) {
	t.Parallel()
	terms := warned(1000, 80)
	terms.Increase = &resource.TempIncrease{Amount: 1000, Until: day0 + 60e9}
	h, id := budgeted(t, terms, resource.Window{}, "n1")
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, 900)})
	h.now += 59e9
	h.tick(fsm.Tick{Node: "n1"})
	if got := h.said(); len(got) != 0 {
		t.Fatalf("before its end: %q", got)
	}
	h.now += 1e9
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, 1)})
	h.now += 2e9
	h.tick(fsm.Tick{Node: "n1"})
	got := h.said()
	want := []string{"budget_increase_ended 0% 901/1000", "budget_threshold 80% 901/1000"}
	if !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAlerts_Windows passes the same threshold in several windows.
func TestAlerts_Windows(t *testing.T) {
	t.Parallel()
	const day = 86400e9
	terms := warned(100, 50)
	terms.Per = resource.PerDay
	start := day0 / day * day
	h, id := budgeted(t, terms, resource.Window{Start: start, End: start + day}, "n1")
	for i := range resource.Time(4) {
		w := resource.Window{Start: start + i*day, End: start + (i+1)*day}
		h.now = w.Start + 1e9
		h.tick(fsm.Tick{Node: "n1", Want: want(id, w, 1, 0)})
		h.tick(fsm.Tick{Node: "n1", Settle: settle(id, w.Start, 60)})
		h.tick(fsm.Tick{Node: "n1", Settle: settle(id, w.Start, 10)})
		if got := len(h.said()); got != int(i)+1 {
			t.Fatalf("window %d: %d alerts, want one of each window", i, got)
		}
	}
}

func TestAlerts_Lasting(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	down := alert.Alert{Kind: channel.NodeDown, Subject: "node/n1", Key: "node_down/n1", Lasting: true, Text: "n1 is down"}
	once := alert.Alert{Kind: channel.PricesFailed, Subject: "prices/sync", Key: "prices/1", Text: "no prices"}
	raise := func(all ...alert.Alert) {
		h.now++
		h.doAs(node("n1"), fsm.RaiseAlerts{Alerts: all})
	}
	raise(down, once)
	raise(down, once)
	if got := h.said(); len(got) != 2 {
		t.Fatalf("got %q", got)
	}
	first := h.f.OpenAlerts()["node_down/n1"]
	h.doAs(node("n1"), fsm.EndAlerts{Keys: []string{"node_down/n1", "unknown"}})
	if a, _ := h.f.Alert(first); a.EndedAt == 0 || len(h.f.OpenAlerts()) != 0 {
		t.Fatalf("after its end: %+v, open %v", a, h.f.OpenAlerts())
	}
	raise(down)
	if got := h.said(); len(got) != 3 {
		t.Fatalf("a second time: got %q", got)
	}
	if a := h.try(node("n1"), fsm.RaiseAlerts{Alerts: []alert.Alert{{Kind: "no_such", Subject: "a/b", Key: "k"}}}); !errors.As(a.Err, new(*resource.Invalid)) {
		t.Errorf("an unknown kind: %v", a.Err)
	}
	h.refused(master, fsm.RaiseAlerts{Alerts: []alert.Alert{down}}, resource.ErrForbidden)
	all := h.f.Alerts(fsm.AlertQuery{Limit: 2})
	if rest := h.f.Alerts(fsm.AlertQuery{Before: all[1].ID}); len(rest) != 1 || rest[0].ID >= all[1].ID || all[0].ID <= all[1].ID {
		t.Errorf("pages: %v, then %v", all, rest)
	}
}

func TestAlerts_Deliveries(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	a := alert.Alert{Kind: channel.PricesFailed, Subject: "prices/sync", Key: "prices/1", Text: "no prices"}
	h.doAs(node("n1"), fsm.RaiseAlerts{Alerts: []alert.Alert{a}})
	id := h.f.PendingAlerts(9)[0].ID
	note := func(done bool, d ...alert.Delivery) {
		h.doAs(node("n1"), fsm.NoteAlerts{Notes: []fsm.AlertNote{{ID: id, Deliveries: d, Done: done}, {ID: "alrt_gone"}}})
	}
	h.doAs(node("n1"), fsm.DeleteAlerts{IDs: []string{id}}) // pending: stays
	note(false, alert.Delivery{Channel: "a", State: alert.Delivered, Tries: 1})
	note(true, alert.Delivery{Channel: "b", State: alert.Dead, Tries: 9, Error: "e"})
	got, _ := h.f.Alert(id)
	if !got.Done || !got.IsDead() || got.On("a").State != alert.Delivered || got.On("b").At != h.now || len(h.f.PendingAlerts(9)) != 0 {
		t.Fatalf("got %+v", got)
	}
	h.refused(master, fsm.RetryAlerts{IDs: []string{"alrt_gone"}}, resource.ErrNotFound)
	h.do(fsm.RetryAlerts{IDs: []string{id}})
	if p := h.f.PendingAlerts(9); len(p) != 1 || p[0].On("b").State != alert.Pending || p[0].On("a").State != alert.Delivered {
		t.Fatalf("after a retry: %+v", p)
	}
	note(true, alert.Delivery{Channel: "b", State: alert.Delivered})
	h.doAs(node("n1"), fsm.DeleteAlerts{IDs: []string{id}})
	if _, ok := h.f.Alert(id); ok {
		t.Error("it is still there")
	}
	if page := h.f.AuditPage(fsm.AuditQuery{Kind: "alert"}); len(page.Items) != 1 || page.Items[0].Action != "retry_alerts" {
		t.Errorf("audit: %+v", page.Items)
	}
}

// TestAlerts_OncePerWindow draws schedules of spend, adjustments, changes of the limit, restarts and
// deletions of alerts that are done: each threshold of each limit that the spend passes upwards is
// told once, and none is forgotten.
func TestAlerts_OncePerWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		thresholds := rapid.SliceOfNDistinct(rapid.Int64Range(1, 150), 1, 6, rapid.ID[int64]).Draw(rt, "thresholds")
		h, id := budgeted(t, warned(1000, thresholds...), resource.Window{}, "n1")
		defer func() { _ = h.f.Close() }()
		limit, settled := resource.Money(1000), resource.Money(0)
		want, got := map[string]bool{}, map[string]int{}
		seen := map[string]bool{}
		reach := func(before int64) {
			for _, p := range alert.Crossed(thresholds, before, alert.Percent(settled, limit)) {
				want[fmt.Sprintf("%d of %d", p, limit)] = true
			}
		}
		look := func() {
			for _, a := range h.f.Alerts(fsm.AlertQuery{}) {
				if a.Kind == channel.BudgetThreshold && !seen[a.ID] {
					seen[a.ID] = true
					got[fmt.Sprintf("%d of %d", a.Budget.Threshold, a.Budget.Limit)]++
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"settle": func(rt *rapid.T) {
				before, amount := alert.Percent(settled, limit), resource.Money(rapid.Int64Range(-100, 400).Draw(rt, "amount"))
				h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, amount)})
				settled += amount
				reach(before)
			},
			"limit": func(rt *rapid.T) {
				before := alert.Percent(settled, limit)
				limit = resource.Money(rapid.SampledFrom([]int64{200, 1000, 3000}).Draw(rt, "limit"))
				k, _ := h.f.Key("k1")
				next := *k
				next.Budgets = []resource.Terms{warned(limit, thresholds...)}
				h.do(h.putKey(next, k.Version))
				reach(before)
			},
			"restart": func(*rapid.T) {
				if err := h.f.Close(); err != nil {
					rt.Fatal(err)
				}
				h.open()
			},
			"forget": func(*rapid.T) {
				look()
				for _, a := range h.f.PendingAlerts(3) {
					h.doAs(node("n1"), fsm.NoteAlerts{Notes: []fsm.AlertNote{{ID: a.ID, Done: true}}})
					h.doAs(node("n1"), fsm.DeleteAlerts{IDs: []string{a.ID}})
				}
			},
			"": func(rt *rapid.T) {
				look()
				for what, n := range got {
					if n != 1 || !want[what] {
						rt.Fatalf("%s was told %d times; wanted %v", what, n, want)
					}
				}
				if len(got) != len(want) {
					rt.Fatalf("told %v, want %v", got, want)
				}
			},
		})
	})
}

// TestAlerts_Erasure forgets the alerts about a person.
func TestAlerts_Erasure(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	c := resource.Customer{Meta: meta("ada"), Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{warned(100, 50)}}}}
	c.Canonicalize()
	id := resource.Account("customer", "ada", c.Budgets[0].Name)
	h.do(fsm.PutCustomer{Record: encoded(t, c), Windows: []fsm.OpenWindow{{Account: id}}})
	h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, 60)})
	if got := h.said(); len(got) != 1 {
		t.Fatalf("got %q", got)
	}
	h.do(fsm.OrderErasure{ID: "e1", Kind: "customer", Subject: "ada", Pseudonym: resource.PseudonymPrefix + "1"})
	if got := h.said(); len(got) != 0 || len(h.f.PendingAlerts(9)) != 0 {
		t.Errorf("after the erasure: %q", got)
	}
	if a := h.try(node("n1"), fsm.RaiseAlerts{}); !errors.As(a.Err, new(*resource.Invalid)) {
		t.Errorf("no alerts: %v", a.Err)
	}
}
