package node_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// TestPaidProbes: only a deployment that names a model is asked by a request, once for three nodes; the money
// stands on the team _system, which no key can be in, and whose budget ends the checks.
func TestPaidProbes(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/chat/completions" {
			asked.Add(1)
			_, _ = w.Write([]byte(`{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"pong"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":2,"total_tokens":1002}}`))
			return
		}
		_, _ = w.Write([]byte(`{"object":"list","data":[]}`))
	}))
	defer up.Close()
	c := nodetest.Start(t, 3)
	c.Model("quiet", up.URL+"/v1")
	api := c.Nodes[0].Admin()
	if _, err := api.Models().Create(t.Context(), fields{"name": "probed", "deployments": []any{fields{
		"name": "p1", "provider": "openai", "api_base": up.URL + "/v1", "model": "m", "api_key": nodetest.UpstreamKey,
		"health_check_model": "m", "price": fields{"input": resource.Dollar * 100, "output": resource.Dollar},
	}}}); err != nil {
		t.Fatal(err)
	}
	must := func(method, path string, in any, want int) string {
		t.Helper()
		status, body := c.Nodes[0].Do(method, path, nodetest.MasterKey, in)
		if status != want {
			t.Fatalf("%s %s: %d %s, want %d", method, path, status, body, want)
		}
		return string(body)
	}
	began := time.Now()
	must("PUT", "/api/v1/settings/background_health_checks", fields{"value": true}, 200)
	c.Await("a verdict on all nodes", func() bool {
		for _, n := range c.Nodes {
			if _, body := n.Do("GET", "/health/history?model=probed", nodetest.MasterKey, nil); !strings.Contains(string(body), `"checked_by":"health_check_model"`) {
				return false
			}
		}
		return true
	})
	if n, most := asked.Load(), 2+int64(time.Since(began)/time.Minute); n < 1 || n > most { // a minute may end at any moment
		t.Errorf("%d requests were sent, want 1 a minute: the other model's deployment names none", n)
	}
	if got := must("GET", "/health?model=probed", nil, 200); !strings.Contains(got, `"healthy_count":1`) {
		t.Errorf("got %s", got)
	}
	c.Await("the spend stands on the team", func() bool {
		_, body := c.Nodes[1].Do("GET", "/team/info?team_id=_system", nodetest.MasterKey, nil)
		var got struct {
			Info struct {
				Spend float64 `json:"spend"`
			} `json:"team_info"`
		}
		return json.Unmarshal(body, &got) == nil && got.Info.Spend > 0.1
	})
	c.Await("the log has the check, and leaves it out where it is told to", func() bool {
		_, all := c.Nodes[2].Do("GET", "/spend/logs/v2", nodetest.MasterKey, nil)
		_, others := c.Nodes[2].Do("GET", "/spend/logs/v2?exclude_internal_health_checks=true", nodetest.MasterKey, nil)
		return !strings.Contains(string(all), `"total":0`) && strings.Contains(string(others), `"total":0`)
	})
	if got := must("POST", "/api/v1/keys", fields{"name": "x", "team_id": "_system"}, 400); !strings.Contains(got, "team_id") {
		t.Errorf("a key of the team: %s", got)
	}
	must("POST", "/api/v1/projects", fields{"name": "x", "team_id": "_system"}, 400)
}
