package node_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/node/nodetest"
)

// TestProbes: three nodes ask a backend by requests without tokens, and each of them tells when it
// fails, and why, though only one has asked.
func TestProbes(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	var mu sync.Mutex
	asked := map[string]int{}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.Method+" "+r.URL.Path]++
		mu.Unlock()
		if failing.Load() {
			http.Error(w, `{"error":{"message":"down"}}`, http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(`{"object":"list","data":[]}`))
	}))
	defer up.Close()
	c := nodetest.Start(t, 3)
	c.Model("probed", up.URL+"/v1")
	health := func(n *nodetest.Node, path string) string {
		status, body := n.Do("GET", path, nodetest.MasterKey, nil)
		if status != 200 {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		return string(body)
	}
	for name, value := range map[string]any{"health_check_interval": 1, "background_health_checks": true} {
		if status, body := c.Nodes[0].Do("PUT", "/api/v1/settings/"+name, nodetest.MasterKey, fields{"value": value}); status != 200 {
			t.Fatalf("%s: %d %s", name, status, body)
		}
	}
	everywhere := func(what, path, want string) {
		c.Await(what, func() bool {
			for _, n := range c.Nodes {
				if !strings.Contains(health(n, path), want) {
					return false
				}
			}
			return true
		})
	}
	everywhere("a first verdict on all nodes", "/health/latest", `"status":"healthy"`)
	failing.Store(true)
	everywhere("the failure on all nodes", "/health?model=probed", `"error":"the provider fails (status 500)"`)
	everywhere("the failure in their histories", "/health/history?status_filter=unhealthy", `"error_message":"the provider fails (status 500)"`)
	failing.Store(false)
	everywhere("its end on all nodes", "/health?model=probed", `"unhealthy_count":0`)
	var all struct {
		Checks []map[string]any `json:"health_checks"`
		Total  int              `json:"total_records"`
	}
	if err := json.Unmarshal([]byte(health(c.Nodes[1], "/health/history?limit=1&offset=1")), &all); err != nil || len(all.Checks) != 1 || all.Total < 3 {
		t.Errorf("got %+v, %v", all, err)
	}
	row := slices.Sorted(maps.Keys(all.Checks[0]))
	if want := []string{
		"checked_at", "checked_by", "details", "error_message", "health_check_id", "healthy_count", "model_id", "model_name", "response_time_ms", "status", "unhealthy_count",
	}; !slices.Equal(row, want) {
		t.Errorf("a check has the fields %v, want LiteLLM's %v", row, want)
	}
	if got := health(c.Nodes[0], "/health?model=other"); !strings.Contains(got, `"healthy_count":0`) {
		t.Errorf("another model's deployments: %s", got)
	}
	if status, body := c.Nodes[0].Do("GET", "/health/history?limit=-1", nodetest.MasterKey, nil); status != 400 {
		t.Errorf("a negative limit: %d %s", status, body)
	}
	if status, _ := c.Nodes[0].Do("GET", "/health/latest", "sk-no", nil); status != 401 {
		t.Errorf("a stranger gets %d", status)
	}
	mu.Lock()
	defer mu.Unlock()
	for what := range asked {
		if what != "GET /v1/models" {
			t.Errorf("the backend was asked %s", what)
		}
	}
}
