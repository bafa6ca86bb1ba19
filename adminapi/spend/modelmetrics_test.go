package spend_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/ledger"
)

func TestModelMetrics(t *testing.T) {
	t.Parallel()
	h, secret := startWith(t, func(i int, r *ledger.Record) {
		if i < 20 {
			r.TTFT = 250 * time.Millisecond
		}
		if i == 3 {
			r.Duration = 400 * time.Second
		}
	})
	h.Must("POST", "/api/v1/models", `{"name":"demo","deployments":[{"id":"dep","name":"d","provider":"openai","model":"gpt-small"}]}`)
	const span = "startTime=2026-03-09T00:00:00.000Z&endTime=2026-03-10T23:59:59.000Z&_selected_model_group=demo"
	for _, tt := range []struct{ path, at, want string }{
		{"/model/metrics?" + span, "all_api_bases.0", "gpt-small"},
		{"/model/metrics?" + span, "data.0.date", "2026-03-09"},
		{"/model/metrics?" + span, "data.0.gpt-small", "6.983333333333333"}, // 19 requests of a second and one of 400, three tokens each
		{"/model/metrics?" + span + "&customer=undefined&api_key=null", "data.1.date", "2026-03-10"},
		{"/model/metrics?startTime=2026-03-09&endTime=2026-03-10&_selected_model_group=other", "data", "[]"},
		{"/model/streaming_metrics?" + span, "data.0.gpt-small", "0.25"},
		{"/model/streaming_metrics?" + span, "data.1", "<nil>"},
		{"/model/streaming_metrics?startTime=2026-03-09T00:00:00Z&endTime=2026-03-09T12:00:00Z&_selected_model_group=demo", "data.0.date", "r0"},
		{"/model/streaming_metrics?startTime=2026-03-10T00:00:00Z&endTime=2026-03-10T12:00:00Z&_selected_model_group=demo", "data", "[]"},
		{"/model/metrics/slow_responses?" + span, "0.api_base", "gpt-small"},
		{"/model/metrics/slow_responses?" + span, "0.total_count", "39"}, // one was sent to none
		{"/model/metrics/slow_responses?" + span, "0.slow_count", "1"},
		{"/model/metrics/exceptions?" + span, "data.0.model", "demo-gpt-small"},
		{"/model/metrics/exceptions?" + span, "data.0.total_exceptions", "2"},
		{"/model/metrics/exceptions?" + span, "data.0.RateLimitError", "1"},
		{"/model/metrics/exceptions?" + span, "data.0.BadGatewayError", "1"},
		{"/model/metrics/exceptions?" + span, "data.1.model", "demo"},
		{"/model/metrics/exceptions?" + span, "exception_types", `["BadGatewayError","RateLimitError"]`},
		{"/model/metrics/exceptions?" + span + "&customer=nobody", "data", "[]"},
	} {
		a := h.Call(adminapitest.MasterKey, "GET", tt.path, "")
		var v any
		if err := json.Unmarshal(a.Body, &v); err != nil || a.Status != 200 {
			t.Errorf("%s: %d %s", tt.path, a.Status, a.Body)
			continue
		}
		if got := shown(at(v, tt.at)); got != tt.want {
			t.Errorf("%s: %s is %s, want %s", tt.path, tt.at, got, tt.want)
		}
	}
	for _, path := range []string{"/model/metrics", "/model/streaming_metrics", "/model/metrics/slow_responses", "/model/metrics/exceptions"} {
		if a := h.Call(secret, "GET", path, ""); a.Status != 403 {
			t.Errorf("%s with a key: %d", path, a.Status)
		}
		if a := h.Call(adminapitest.MasterKey, "GET", path+"?startTime=someday", ""); a.Status != 400 || !strings.Contains(string(a.Body), "startTime") {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}

func TestCacheHits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cached       int // which request; -1: none
		hits, tokens string
	}{"no cache": {-1, "0", "0"}, "one answer of a cache": {4, "1", "3"}} {
		h, _ := startWith(t, func(i int, r *ledger.Record) {
			if i == tt.cached {
				r.Flags |= ledger.Cached
			}
		})
		a := h.Call(adminapitest.MasterKey, "GET", "/global/activity/cache_hits?"+days, "")
		var rows []map[string]any
		if err := json.Unmarshal(a.Body, &rows); err != nil || len(rows) != 2 {
			t.Fatalf("%s: %d %s", name, a.Status, a.Body)
		}
		for _, row := range rows {
			if row["api_key"] != "notebook" {
				continue
			}
			if shown(row["cache_hit_true_rows"]) != tt.hits || shown(row["cached_completion_tokens"]) != tt.tokens || row["total_rows"] != 20.0 || row["call_type"] != "acompletion" ||
				row["model"] != "demo" || row["cache_read_input_tokens"] != 100.0 || row["cached_completion_tokens"].(float64)+row["generated_completion_tokens"].(float64) != 60 {
				t.Errorf("%s: %v", name, row)
			}
		}
		if a := h.Call(adminapitest.MasterKey, "GET", "/global/activity/cache_hits?start_date=2026-03-09", ""); a.Status != 400 || !strings.Contains(string(a.Body), "end_date") {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}
