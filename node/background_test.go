package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// begin asks for a response in the background and returns its id.
func begin(t *testing.T, n *nodetest.Node, key string, more fields) string {
	t.Helper()
	body := fields{"model": "demo", "input": "the canary sings", "background": true}
	maps.Copy(body, more)
	status, raw := n.Do("POST", "/v1/responses", key, body)
	var r struct {
		ID, Status string
		Background bool
	}
	if err := json.Unmarshal(raw, &r); err != nil || status != 200 || r.Status != "queued" || !r.Background || !strings.HasPrefix(r.ID, "resp_") {
		t.Fatalf("%d %s", status, raw)
	}
	return r.ID
}

// poll reads a response until its status is another than before.
func poll(t *testing.T, c *nodetest.Cluster, n *nodetest.Node, key, id, before string) (status string, response map[string]any) {
	t.Helper()
	c.Await(id+" is not "+before+" any more", func() bool {
		code, raw := n.Do("GET", "/v1/responses/"+id, key, nil)
		if code != 200 {
			t.Fatalf("%s at %s: %d %s", id, n.Name, code, raw)
		}
		response = nil
		if err := json.Unmarshal(raw, &response); err != nil {
			t.Fatal(err)
		}
		status = fmt.Sprint(response["status"])
		return status != before
	})
	return status, response
}

func TestBackground_everywhere(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{Chunks: 5, Latency: 100 * time.Millisecond}}.Start(t, 2)
	k := c.Key(0, fields{"name": "k"})
	id := begin(t, c.Nodes[0], k.Secret, nil)
	if status, raw := c.Nodes[1].Do("GET", "/v1/responses/"+id, k.Secret, nil); status != 200 || !strings.Contains(string(raw), `"status":"in_progress"`) && !strings.Contains(string(raw), `"status":"completed"`) {
		t.Errorf("elsewhere, while it is made: %d %s", status, raw)
	}
	status, r := poll(t, c, c.Nodes[1], k.Secret, id, "in_progress")
	if status != "completed" || r["id"] != id || r["background"] != true || len(r["output"].([]any)) == 0 || r["usage"] == nil {
		t.Errorf("got %v", r)
	}
	next, _ := respond(t, c.Nodes[1], k.Secret, fields{"input": "and then?", "previous_response_id": id})
	if said := asked(c); !strings.Contains(said, "the canary sings") {
		t.Errorf("the upstream got %s", said)
	}
	if status, raw := c.Nodes[1].Do("POST", "/v1/responses/"+id+"/cancel", k.Secret, nil); status != 200 || !strings.Contains(string(raw), `"status":"completed"`) {
		t.Errorf("what has ended is cancelled: %d %s", status, raw)
	}
	if status, raw := c.Nodes[1].Do("POST", "/v1/responses/"+next+"/cancel", k.Secret, nil); status != 400 {
		t.Errorf("what was never in the background is cancelled: %d %s", status, raw)
	}
	stranger := c.Key(0, fields{"name": "other"}).Secret
	if status, _ := c.Nodes[0].Do("GET", "/v1/responses/"+id, stranger, nil); status != 404 {
		t.Errorf("a stranger gets %d", status)
	}
	bill := c.Bill()
	c.Await("the books are the bill", func() bool {
		got, err := c.Nodes[0].Admin().Keys().One(t.Context(), k.ID)
		return err == nil && got.Spend == bill && bill > 0
	})
	if status, raw := c.Nodes[0].Do("DELETE", "/v1/responses/"+id, k.Secret, nil); status != 200 {
		t.Errorf("delete: %d %s", status, raw)
	}
	if status, _ := c.Nodes[0].Do("GET", "/v1/responses/"+id, k.Secret, nil); status != 404 {
		t.Errorf("a deleted response: %d", status)
	}
}

func TestBackground_cancelledElsewhere(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 2)
	k := c.Key(0, fields{"name": "k"})
	var asked, left atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked.Add(1)
		<-r.Context().Done()
		left.Add(1)
	}))
	t.Cleanup(func() {
		upstream.CloseClientConnections()
		upstream.Close()
	})
	c.Model("silent", upstream.URL)
	for i, by := range c.Nodes {
		id := begin(t, c.Nodes[0], k.Secret, fields{"model": "silent", "stream": false})
		c.Await("the upstream is asked", func() bool { return asked.Load() == int64(i+1) })
		status, raw := by.Do("POST", "/v1/responses/"+id+"/cancel", k.Secret, nil)
		if status != 200 || !strings.Contains(string(raw), `"status":"cancelled"`) {
			t.Errorf("cancel at %s: %d %s", by.Name, status, raw)
		}
		for _, n := range c.Nodes {
			if status, _ := poll(t, c, n, k.Secret, id, "in_progress"); status != "cancelled" {
				t.Errorf("at %s: %s", n.Name, status)
			}
		}
		c.Await("the upstream is left", func() bool { return left.Load() == int64(i+1) })
		c.Await("it is charged", func() bool {
			got, err := c.Nodes[1].Admin().Keys().One(t.Context(), k.ID)
			return err == nil && got.Spend > 0
		})
	}
}

func TestBackground_refused(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	k := c.Key(0, fields{"name": "k", "models": []string{"demo", "missing"}})
	poor := c.Key(0, fields{"name": "poor", "budgets": []fields{{"usd": 0, "per": "day"}}})
	for _, tt := range []struct {
		key    string
		more   fields
		status int
		code   string
	}{
		{k.Secret, fields{"model": "missing"}, 404, "model_not_found"},
		{k.Secret, fields{"model": "other"}, 403, "model_access_denied"},
		{k.Secret, fields{"store": false}, 400, "invalid_value"},
		{k.Secret, fields{"background": "yes"}, 400, "invalid_value"},
		{k.Secret, fields{"previous_response_id": "resp_no"}, 400, "previous_response_not_found"},
		{poor.Secret, nil, 429, "budget_exceeded"},
	} {
		body := fields{"model": "demo", "input": "x", "background": true}
		maps.Copy(body, tt.more)
		if status, raw := n.Do("POST", "/v1/responses", tt.key, body); status != tt.status || errorCode(raw) != tt.code {
			t.Errorf("%v: %d %s, want %d %s", tt.more, status, raw, tt.status, tt.code)
		}
	}
	if got := len(c.Mock.Requests()); got != 0 {
		t.Errorf("the upstream was asked %d times", got)
	}
}

func TestBackground_upstreamFails(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %t", stream), func(t *testing.T) {
			t.Parallel()
			cfg := mock.Config{Status: 400}
			if stream {
				cfg = mock.Config{CutAfter: 2}
			}
			c := nodetest.Config{Mock: cfg}.Start(t, 1)
			k := c.Key(0, fields{"name": "k"})
			var id string
			if stream {
				_, raw := c.Nodes[0].Do("POST", "/v1/responses", k.Secret, fields{"model": "demo", "input": "x", "background": true, "stream": true})
				_, rest, _ := strings.Cut(string(raw), `"id":"resp_`)
				id, _, _ = strings.Cut("resp_"+rest, `"`)
			} else {
				id = begin(t, c.Nodes[0], k.Secret, nil)
			}
			status, r := poll(t, c, c.Nodes[0], k.Secret, id, "in_progress")
			if e, _ := r["error"].(map[string]any); status != "failed" || e["code"] == "" || e["message"] == "" {
				t.Errorf("got %v", r)
			}
		})
	}
}

func TestBackground_nodeDies(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{Latency: time.Minute}}.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	maker := c.Followers()[0]
	id := begin(t, maker, k.Secret, nil)
	maker.Kill()
	maker.Start()
	maker.AwaitReady()
	for _, n := range c.Nodes {
		status, r := poll(t, c, n, k.Secret, id, "in_progress")
		if e, _ := r["error"].(map[string]any); status != "failed" || e["code"] != "response_lost" {
			t.Errorf("at %s: %v", n.Name, r)
		}
	}
	c.Await("its hold is charged", func() bool {
		got, err := c.Leader().Admin().Keys().One(t.Context(), k.ID)
		return err == nil && got.Spend > 0
	})
}

func TestBackground_streams(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{Chunks: 12, ChunkDelay: 20 * time.Millisecond}}.Start(t, 2)
	k := c.Key(0, fields{"name": "k"})
	s := c.Nodes[0].Open("/v1/responses", k.Secret, fields{"model": "demo", "input": "x", "background": true, "stream": true})
	var id string
	for range 5 {
		ev := s.Next()
		if _, rest, ok := strings.Cut(ev, `"id":"resp_`); ok && id == "" {
			id, _, _ = strings.Cut("resp_"+rest, `"`)
		}
	}
	s.Close() // the client loses its connection
	status, raw := c.Nodes[0].Do("GET", "/v1/responses/"+id+"?stream=true&starting_after=3", k.Secret, nil)
	if status != 200 || strings.Contains(string(raw), `"sequence_number":3`+"}") || !strings.Contains(string(raw), `"sequence_number":4`) || !strings.Contains(string(raw), "response.completed") {
		t.Errorf("resumed: %d %s", status, raw)
	}
	if status, r := poll(t, c, c.Nodes[1], k.Secret, id, "in_progress"); status != "completed" {
		t.Errorf("got %v", r)
	}
	status, again := c.Nodes[0].Do("GET", "/v1/responses/"+id+"?stream=true", k.Secret, nil)
	if status != 200 || !strings.Contains(string(again), "response.created") || !strings.HasSuffix(string(again), string(raw)) {
		t.Errorf("from the start: %d %s", status, again)
	}
	if status, raw := c.Nodes[1].Do("GET", "/v1/responses/"+id+"?stream=true", k.Secret, nil); status != 400 || errorCode(raw) != "stream_not_here" {
		t.Errorf("elsewhere: %d %s", status, raw)
	}
}
