package ledger

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/resource"
)

// counted is what the counters say was spent, less what was credited, by provider.
func counted(t *testing.T, reg *prometheus.Registry) map[string]resource.Money {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]resource.Money{}
	for _, f := range families {
		sign := map[string]float64{"conclave_spend_nanodollars_total": 1, "conclave_spend_credited_nanodollars_total": -1}[f.GetName()]
		for _, m := range f.GetMetric() {
			if sign != 0 {
				sums[m.GetLabel()[0].GetValue()] += resource.Money(sign * m.GetCounter().GetValue())
			}
		}
	}
	return sums
}

// TestJournal_Spend holds that the counters are the sum of the records, to the nanodollar, those of a restart too.
func TestJournal_Spend(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	first, second := prometheus.NewRegistry(), prometheus.NewRegistry()
	cfg.Registerer = first
	j := openJournal(t, cfg)
	for i, cost := range []resource.Money{40, 1_234_567_890_123, 0, 7, -3} {
		r := record("r")
		r.Cost, r.Provider = cost, []string{"openai", "anthropic"}[i%2]
		if cost < 0 {
			r.Flags = Adjustment
		}
		if err := j.Settle(0, r); err != nil {
			t.Fatal(err)
		}
	}
	n, err := j.Reserve(reservation("twice"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is refused
		_ = j.Settle(n, record("twice"))
	}
	if _, err := j.Reserve(reservation("open")); err != nil {
		t.Fatal(err)
	}
	kill(t, j)
	cfg.Registerer = second
	j = openJournal(t, cfg)
	defer closeJournal(t, j)
	want := map[string]resource.Money{}
	for _, r := range readAll(t, j) {
		want[r.Provider] += r.Cost
	}
	if len(want) != 3 || want[""] != 70 {
		t.Fatalf("the records say %v", want)
	}
	got := counted(t, first)
	for provider, m := range counted(t, second) {
		got[provider] += m
	}
	for provider, m := range want {
		if got[provider] != m {
			t.Errorf("%q: counted %d, recorded %d", provider, got[provider], m)
		}
	}
}
