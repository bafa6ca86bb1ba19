package node_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
)

const heldChunk = `data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}` + "\n\n"

// TestLife_RollingRestart restarts three nodes one after the other, each while 50 streams are open
// on it: none is cut, the leader hands over first, and writes go on.
func TestLife_RollingRestart(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Edit: func(_ int, cfg *node.Config) { cfg.DrainTimeout = time.Minute }}.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	var held atomic.Pointer[chan struct{}] // closed: streams go on
	held.Store(new(chan struct{}))
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hold := *held.Load()
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, heldChunk)
		w.(http.Flusher).Flush()
		select {
		case <-hold:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, heldChunk+"data: [DONE]\n\n")
	}))
	t.Cleanup(func() {
		upstream.CloseClientConnections()
		upstream.Close()
	})
	c.Model("held", upstream.URL)
	var whole atomic.Int64
	for _, n := range c.Nodes {
		hold := make(chan struct{})
		held.Store(&hold)
		var wg sync.WaitGroup
		var first sync.WaitGroup
		for range 50 {
			first.Add(1)
			wg.Go(func() {
				s := n.Stream(k.Secret, fields{"model": "held"})
				defer s.Close()
				event := s.Next()
				first.Done()
				for event != "" && event != "[DONE]" {
					event = s.Next()
				}
				if event == "[DONE]" {
					whole.Add(1)
				} else {
					t.Errorf("a stream on node %s was cut", n.Name)
				}
			})
		}
		first.Wait()
		leads, id := c.Leader() == n, n.ID()
		stopped := make(chan time.Duration, 1)
		start := time.Now()
		go func() {
			n.Stop()
			stopped <- time.Since(start)
		}()
		if leads { // the streams are still open by then
			other := c.Nodes[0]
			if other == n {
				other = c.Nodes[1]
			}
			c.Await("another leads", func() bool { at := other.Leader(); return at != "" && at != id })
			t.Logf("the leader handed over %s after the signal", time.Since(start).Round(time.Millisecond))
			if len(stopped) != 0 {
				t.Error("the leader stopped before its last stream ended")
			}
		} else {
			c.Await("it stops", func() bool { status, _ := n.Do("GET", "/health/readiness", "", nil); return status != 200 })
		}
		close(hold)
		wg.Wait()
		t.Logf("node %s stopped after %s", n.Name, (<-stopped).Round(time.Millisecond))
		n.Start()
	}
	if got := whole.Load(); got != 150 {
		t.Errorf("%d of 150 streams were whole", got)
	}
}

// TestLife_Drain takes a node out of the balancer's view and the leadership from it, and gives
// them back; what comes to it all the same is served.
func TestLife_Drain(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	l := c.Leader()
	api := l.Admin()
	if _, err := api.ChangeNode(t.Context(), "drain", l.Name, client.Do); err != nil {
		t.Fatal(err)
	}
	c.Await("another leads", func() bool { return c.Leader() != l })
	status, body := l.Do("GET", "/health/readiness", "", nil)
	if status != 503 || !strings.Contains(string(body), "drained") {
		t.Errorf("readiness: %d %s", status, body)
	}
	if status, body := l.Chat(k.Secret); status != 200 {
		t.Errorf("a request all the same: %d %s", status, body)
	}
	if _, err := api.ChangeNode(t.Context(), "undrain", l.Name, client.Do); err != nil {
		t.Fatal(err)
	}
	l.AwaitReady()
}

// TestLife_Quarantine has a node that is quarantined refuse requests, say why on every node, and
// serve again once it was repaired.
func TestLife_Quarantine(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	n := c.Followers()[0]
	if err := c.Leader().Quarantine(t.Context(), n.ID(), "test"); err != nil {
		t.Fatal(err)
	}
	c.Await("it refuses requests", func() bool { status, _ := n.Chat(k.Secret); return status == 503 })
	_, body := n.Chat(k.Secret)
	if !strings.Contains(string(body), "quarantined") {
		t.Errorf("refusal: %s", body)
	}
	var seen client.Member
	_, body = c.Leader().Do("GET", "/api/v1/cluster/nodes/"+n.Name, nodetest.MasterKey, nil)
	if err := json.Unmarshal(body, &seen); err != nil || seen.Quarantined != "test" || seen.Ready {
		t.Errorf("status: %s", body)
	}
	if _, err := c.Leader().Admin().ChangeNode(t.Context(), "repair", n.Name, client.Do); err != nil {
		t.Fatal(err)
	}
	n.AwaitReady()
	if status, body := n.Chat(k.Secret); status != 200 {
		t.Errorf("after the repair: %d %s", status, body)
	}
}

// TestLife_Divergence has one node's state become another than that of most: the leader finds it by
// the state hashes and quarantines it; a repair brings back the state of the others.
func TestLife_Divergence(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	n := c.Followers()[0]
	_, metrics := n.Do("GET", "/metrics", nodetest.MasterKey, nil)
	term := regexp.MustCompile(`(?m)^conclave_raft_term (\d+)$`).FindSubmatch(metrics)
	if term == nil {
		t.Fatalf("no term in\n%s", metrics)
	}
	at, err := strconv.ParseUint(string(term[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Diverge(at); err != nil {
		t.Fatal(err)
	}
	start, why := time.Now(), ""
	c.Await("it is quarantined", func() bool {
		for _, m := range members(t, c.Leader()) {
			if m.ID == n.ID() {
				why = m.Quarantined
				return why != "" && !m.Voter
			}
		}
		return false
	})
	t.Logf("quarantined and without a vote after %s: %s", time.Since(start).Round(time.Millisecond), why)
	if !regexp.MustCompile(`differs from that of most nodes since entry \d+ \(\w+\);`).MatchString(why) {
		t.Errorf("it is not told since when: %s", why)
	}
	c.Await("it has heard of that, and refuses requests", func() bool {
		status, _ := n.Chat(k.Secret)
		return status == 503
	})
	if _, err := c.Leader().Admin().ChangeNode(t.Context(), "repair", n.Name, client.Do); err != nil {
		t.Fatal(err)
	}
	n.AwaitReady()
	if status, _ := n.Do("GET", "/api/v1/teams/only-here", nodetest.MasterKey, nil); status != 404 {
		t.Errorf("what only it had: %d, want 404", status)
	}
	c.Await("it votes again", func() bool {
		for _, m := range members(t, c.Leader()) {
			if m.ID == n.ID() {
				return m.Voter
			}
		}
		return false
	})
}

// TestLife_DrainEnds stops a node on which a stream lasts longer than drain_timeout: its client is told, and the request has a row.
func TestLife_DrainEnds(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{
		Mock: mock.Config{Chunks: 1000, ChunkDelay: 50 * time.Millisecond},
		Edit: func(_ int, cfg *node.Config) { cfg.DrainTimeout = 200 * time.Millisecond },
	}.Start(t, 1)
	n := c.Nodes[0]
	k := c.Key(0, fields{"name": "k"})
	s := n.Stream(k.Secret, fields{"max_tokens": 1000})
	defer s.Close()
	if s.Next() == "" {
		t.Fatal("the stream does not begin")
	}
	rest := make(chan string, 1)
	go func() { rest <- s.Rest() }()
	n.Stop()
	if got := <-rest; !strings.Contains(got, "conclave_given_up") || strings.Contains(got, "[DONE]") {
		t.Errorf("the stream ends without a word: %.500s", got[max(0, len(got)-500):])
	}
	n.Start()
	var page struct {
		Items []json.RawMessage
	}
	c.Await("the request has a row", func() bool {
		status, body := n.Do("GET", "/api/v1/requests?limit=10", nodetest.MasterKey, nil)
		return status == 200 && json.Unmarshal(body, &page) == nil && len(page.Items) > 0
	})
}
