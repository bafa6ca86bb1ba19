package fsm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	h := start(t)
	_ = h.f.Close()
	registry := prometheus.NewPedanticRegistry()
	h.cfg.Registerer = registry
	h.open()
	h.do(h.putKey(resource.Key{Meta: meta("k1")}, 0))
	if a := h.try(master, fsm.DeleteKey{ID: "k2"}); a.Err == nil {
		t.Fatal("a key that is not there was deleted")
	}
	h.snapshot()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		switch f.GetType().String() {
		case "HISTOGRAM":
			got[f.GetName()] = float64(m.GetHistogram().GetSampleCount())
		case "COUNTER":
			got[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		default:
			got[f.GetName()] = m.GetGauge().GetValue()
		}
	}
	if got["conclave_fsm_snapshot_bytes"] < 4096 {
		t.Errorf("a snapshot of %v bytes", got["conclave_fsm_snapshot_bytes"])
	}
	delete(got, "conclave_fsm_snapshot_bytes")
	want := map[string]float64{
		"conclave_fsm_applied_index": float64(h.f.Applied()), "conclave_fsm_apply_seconds": 2, "conclave_fsm_keys": 1,
		"conclave_fsm_counted_customers": 0, "conclave_fsm_counted_tags": 0,
		"conclave_fsm_refusals_total " + resource.Code(resource.ErrNotFound): 1, "conclave_fsm_snapshot_seconds": 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("metrics differ (-want +got):\n%s", d)
	}
}
