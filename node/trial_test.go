package node_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// TestTrial: a deployment is tried with its own key and address before it is stored; the money stands on the team
// _system, no secret is told, nothing is left behind, and a sealed cluster dials nothing for it.
func TestTrial(t *testing.T) {
	t.Parallel()
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer sk-canary-of-the-trial" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":{"message":"Incorrect API key provided: ` + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + `","type":"invalid_request_error","code":"invalid_api_key"}}`))
			return
		}
		if !strings.Contains(string(body), `"model":"small"`) || !strings.Contains(string(body), `"max_completion_tokens":9`) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = w.Write([]byte(`{"id":"x","object":"chat.completion","model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"pong"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":2,"total_tokens":1002}}`))
	})
	up, unnamed := httptest.NewServer(answer), httptest.NewServer(answer)
	defer up.Close()
	defer unnamed.Close()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	try := func(key, at string) (status string, result map[string]any, all string) {
		t.Helper()
		code, body := n.Do("POST", "/health/test_connection", nodetest.MasterKey, fields{
			"litellm_params": fields{
				"model": "openai/small", "api_key": key, "api_base": at + "/v1", "rpm": 1,
				"input_cost_per_token": resource.Dollar / 10_000, "output_cost_per_token": resource.Dollar / 10_000,
			},
			"model_info": fields{"health_check_model": "small", "health_check_max_tokens": 9},
		})
		var got struct {
			Status string         `json:"status"`
			Result map[string]any `json:"result"`
		}
		if err := json.Unmarshal(body, &got); err != nil || code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		return got.Status, got.Result, string(body)
	}
	for range 2 { // its own limit of a request a minute is that of the stored one
		status, result, _ := try("sk-canary-of-the-trial", up.URL)
		raw, _ := result["raw_request_typed_dict"].(map[string]any)
		if status != "success" || result["error"] != nil || raw["raw_request_api_base"] != up.URL+"/v1/chat/completions" {
			t.Errorf("got %s %v", status, result)
		}
		if all, _ := json.Marshal(result); strings.Contains(string(all), "canary") {
			t.Errorf("the key is told: %s", all)
		}
	}
	status, result, all := try("sk-canary-that-is-wrong", up.URL)
	if text, _ := result["error"].(string); status != "error" || !strings.Contains(text, "Incorrect API key") || strings.Contains(all, "canary") {
		t.Errorf("got %s %s", status, all)
	}
	if _, body := n.Do("GET", "/v2/model/info", nodetest.MasterKey, nil); strings.Contains(string(body), "test_connection") {
		t.Errorf("models: %s", body)
	}
	if _, body := n.Do("GET", "/metrics", nodetest.MasterKey, nil); strings.Contains(string(body), "test_connection") {
		t.Error("the metrics of deployments have the trial")
	}
	c.Await("the spend stands on the team", func() bool {
		_, body := n.Do("GET", "/team/info?team_id=_system", nodetest.MasterKey, nil)
		var got struct {
			Info struct {
				Spend float64 `json:"spend"`
			} `json:"team_info"`
		}
		return json.Unmarshal(body, &got) == nil && got.Info.Spend > 0.1
	})
	if code, body := n.Do("PUT", "/api/v1/settings/sealed", nodetest.MasterKey, fields{"value": true}); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	status, result, all = try("sk-canary-of-the-trial", unnamed.URL)
	if text, _ := result["error"].(string); status != "error" || !strings.Contains(text, "sealed mode refuses to dial") {
		t.Errorf("sealed: %s %s", status, all)
	}
}
