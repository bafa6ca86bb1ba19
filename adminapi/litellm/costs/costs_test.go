package costs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"gpt-4o":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":1e-06,"output_cost_per_token":4e-06}}`))
	}))
	t.Cleanup(srv.Close)
	if a := h.Call(adminapitest.MasterKey, "POST", "/schedule/model_cost_map_reload?hours=6", ""); a.Status != 400 {
		t.Errorf("a schedule without a URL: got %d", a.Status)
	}
	h.Must("PUT", "/api/v1/settings/price_sync", fmt.Sprintf(`{"value":{"url":%q,"apply":"auto"}}`, srv.URL))
	if got := h.Must("POST", "/schedule/model_cost_map_reload?hours=6", ""); got["interval_hours"] != 6.0 {
		t.Errorf("got %v", got)
	}
	if got := h.Must("GET", "/schedule/model_cost_map_reload/status", ""); got["scheduled"] != true || got["interval_hours"] != 6.0 {
		t.Errorf("got %v", got)
	}
	if got := h.Must("POST", "/reload/model_cost_map", ""); got["models_count"] != 1.0 {
		t.Errorf("got %v", got)
	}
	if got := h.Must("GET", "/model/cost_map/source", ""); got["source"] != "remote" || got["url"] != srv.URL {
		t.Errorf("got %v", got)
	}
	h.Must("DELETE", "/schedule/model_cost_map_reload", "")
	if got := h.Must("GET", "/schedule/model_cost_map_reload/status", ""); got["scheduled"] != false || got["last_run"] == nil {
		t.Errorf("got %v", got)
	}
	const unpriced = "block_requests_for_models_without_pricing"
	h.Must("PATCH", "/config/"+unpriced, `{"enabled":true}`)
	if got := h.Must("GET", "/config/"+unpriced, ""); got["enabled"] != true || !h.State.Catalog().Settings().BlockUnpriced {
		t.Errorf("got %v", got)
	}
	for _, body := range []string{`{}`, `{"enabled":1}`, `{"enabled":null,"other":true}`, `{"other":true}`} {
		if a := h.Call(adminapitest.MasterKey, "PATCH", "/config/"+unpriced, body); a.Status != 400 {
			t.Errorf("%s: got %d", body, a.Status)
		}
	}
	h.Must("PATCH", "/config/cost_discount_config", `{"openai":0.05,"global":0.01}`)
	h.Must("PATCH", "/config/cost_margin_config", `{"global":0.1,"azure":{"percentage":0.08,"fixed_amount":0.0005}}`)
	got := h.State.Catalog().Settings().PriceAdjustments
	if got.Of("openai") != (resource.Adjustment{Discount: 50_000}) || got.Of("x") != (resource.Adjustment{Discount: 10_000, Margin: 100_000}) ||
		got.Of("azure") != (resource.Adjustment{Margin: 80_000, Fixed: 500_000}) {
		t.Errorf("got %+v", got)
	}
	for _, bad := range [][2]string{
		{"discount", `{"openai":1.5}`},
		{"discount", `{"opneai":0.1}`},
		{"discount", `{"openai":{"percentage":0.1}}`},
		{"margin", `{"opneai":0.1}`},
		{"margin", `{"openai":{}}`},
		{"margin", `{"openai":{"percent":0.1}}`},
		{"margin", `{"openai":{"percentage":"x","fixed_amount":1}}`},
		{"margin", `{"openai":null}`},
	} {
		if a := h.Call(adminapitest.MasterKey, "PATCH", "/config/cost_"+bad[0]+"_config", bad[1]); a.Status != 400 {
			t.Errorf("%s %s: got %d", bad[0], bad[1], a.Status)
		}
	}
	if left := h.State.Catalog().Settings().PriceAdjustments; left.Of("azure") != got.Of("azure") || left.Of("openai") != got.Of("openai") {
		t.Errorf("what was refused has changed %+v to %+v", got, left)
	}
}
