package costs_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/pricing"
)

// cluster has a model of its own price, with a margin, and a key that reaches another one only.
func cluster(t *testing.T) (h *adminapitest.Harness, bound string) {
	t.Helper()
	h = adminapitest.New(t)
	h.Must("POST", "/api/v1/models", `{"name":"house","deployments":[{"provider":"openai","api_base":"http://127.0.0.1:1/v1",
		"price":{"input":1,"output":4,"cache_read":0.1,"reasoning":8,"request":0.001,"variants":[{"above":1000,"input":2,"output":8}]}}]}`)
	h.Must("POST", "/api/v1/models", `{"name":"dark","deployments":[{"provider":"openai","api_base":"http://127.0.0.1:1/v1","model":"never-heard-of"}]}`)
	h.Must("PUT", "/api/v1/settings/price_adjustments", `{"value":{"openai":{"margin":0.5}}}`)
	k := h.Must("POST", "/api/v1/keys", `{"name":"bound","models":["dark"]}`)
	return h, k["secret"].(string)
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	h, _ := cluster(t)
	got := h.Must("POST", "/cost/estimate", `{"model":"house","input_tokens":2000,"output_tokens":100,"cache_read_input_tokens":1000,
		"reasoning_tokens":50,"num_requests_per_day":10}`)
	for name, want := range map[string]float64{
		// 1000 × 2 + 1000 × 0.1 + 50 × 8 + 50 × 8 dollars a million, and 0.001 for the request
		"input_cost_per_request": 0.0021, "cache_read_cost_per_request": 0.0001, "output_cost_per_request": 0.0008,
		"reasoning_cost_per_request": 0.0004, "cost_per_request": 0.00585, "margin_cost_per_request": 0.00195,
		"daily_cost": 0.0585, "daily_input_cost": 0.021, "daily_margin_cost": 0.0195,
		"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6, "num_requests_per_day": 10,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if v, ok := got["monthly_cost"]; !ok || v != nil || got["provider"] != "openai" {
		t.Errorf("got monthly_cost %v, provider %v", v, got["provider"])
	}
	if got := h.Must("POST", "/cost/estimate", `{"model":"anthropic/claude-haiku-4-5","input_tokens":1000000}`); got["cost_per_request"] != 1.0 {
		t.Errorf("a model of the price table: got %v", got)
	}
}

func TestEstimate_refused(t *testing.T) {
	t.Parallel()
	h, bound := cluster(t)
	for _, tt := range []struct {
		name, key, body string
		status          int
	}{
		{"no model", adminapitest.MasterKey, `{"input_tokens":1}`, 400},
		{"a model that is nowhere", adminapitest.MasterKey, `{"model":"nowhere"}`, 404},
		{"a model without a price", adminapitest.MasterKey, `{"model":"dark"}`, 400},
		{"tokens below zero", adminapitest.MasterKey, `{"model":"house","input_tokens":-1}`, 400},
		{"more of the cache than of all", adminapitest.MasterKey, `{"model":"house","input_tokens":1,"cache_read_input_tokens":2}`, 400},
		{"no number", adminapitest.MasterKey, `{"model":"house","num_requests_per_day":"x"}`, 400},
		{"a model that the key does not reach", bound, `{"model":"house"}`, 404},
		{"a model that it reaches, without a price", bound, `{"model":"dark"}`, 400},
		{"no key", "", `{"model":"house"}`, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if a := h.Call(tt.key, http.MethodPost, "/cost/estimate", tt.body); a.Status != tt.status {
				t.Errorf("got %d %s, want %d", a.Status, a.Body, tt.status)
			}
		})
	}
}

func TestCalculate(t *testing.T) {
	t.Parallel()
	h, _ := cluster(t)
	for _, tt := range []struct {
		name, body string
		want       any
	}{
		{"an answer", `{"completion_response":{"id":"x","object":"chat.completion","model":"house","choices":[],
			"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100,"prompt_tokens_details":{"cached_tokens":500}}}}`, 0.002925},
		{"messages", `{"model":"house","messages":[{"role":"user","content":"hello"}]}`, 0.001512},
		{"a prompt", `{"model":"house","prompt":"hello"}`, 0.0015015},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := h.Must("POST", "/spend/calculate", tt.body); got["cost"] != tt.want {
				t.Errorf("got %v, want %v", got["cost"], tt.want)
			}
		})
	}
	for _, body := range []string{`{"model":"house"}`, `{"model":"house","completion_response":{"choices":[]}}`, `{"model":"house","messages":7}`} {
		if a := h.Call(adminapitest.MasterKey, http.MethodPost, "/spend/calculate", body); a.Status != 400 {
			t.Errorf("%s: got %d %s", body, a.Status, a.Body)
		}
	}
}

func TestCostMap(t *testing.T) {
	t.Parallel()
	h, bound := cluster(t)
	a := h.Call(bound, http.MethodGet, "/public/litellm_model_cost_map", "")
	var all map[string]map[string]any
	if err := json.Unmarshal(a.Body, &all); err != nil || a.Status != 200 {
		t.Fatalf("got %d, %v", a.Status, err)
	}
	e, ok := pricing.Lookup("openai", "gpt-4o")
	if !ok || all["gpt-4o"]["litellm_provider"] != "openai" || all["gpt-4o"]["input_cost_per_token"] != 2.5e-6 {
		t.Errorf("got %v, want %+v", all["gpt-4o"], e)
	}
}
