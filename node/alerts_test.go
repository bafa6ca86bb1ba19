package node_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/internal/hook"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/courier/post"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// inbox is a webhook that keeps what it gets, and can hold its answers back.
type inbox struct {
	*httptest.Server
	mu   sync.Mutex
	got  []post.Event
	hold chan struct{} // answers wait until it is closed; nil: they do not
	seen chan struct{} // closed by the first request
	once sync.Once
}

func newInbox(t *testing.T, hold chan struct{}) *inbox {
	b := &inbox{hold: hold, seen: make(chan struct{})}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var e post.Event
		if err != nil || json.Unmarshal(body, &e) != nil || e.ID != r.Header.Get(hook.HeaderDelivery) {
			t.Errorf("bad delivery %s", body)
		}
		if _, ok := hook.Verify("signing-key-of-the-test", r.Header.Get(hook.HeaderSignature), body); !ok {
			t.Errorf("bad signature of %s", body)
		}
		b.mu.Lock()
		b.got = append(b.got, e)
		b.mu.Unlock()
		b.once.Do(func() { close(b.seen) })
		if b.hold != nil {
			select {
			case <-b.hold:
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(b.Close)
	return b
}

// ids lists the kinds of what has come, each id once.
func (b *inbox) kinds() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids, kinds := map[string]bool{}, map[string]int{}
	for _, e := range b.got {
		if !ids[e.ID] {
			ids[e.ID] = true
			kinds[e.Kind]++
		}
	}
	return kinds
}

func (b *inbox) use(c *nodetest.Cluster) {
	status, body := c.Leader().Do("POST", "/api/v1/credentials", nodetest.MasterKey, fields{"name": "hook", "api_key": "signing-key-of-the-test"})
	if status != 201 {
		panic(string(body))
	}
	status, body = c.Leader().Do("PUT", "/api/v1/settings/alerts", nodetest.MasterKey, fields{"value": fields{
		"channels": []fields{{"name": "ops", "type": "webhook", "url": b.URL, "credential": "hook"}}, "node_down_after": "1s", "key_expiring": "never",
	}})
	if status >= 300 {
		panic(string(body))
	}
}

// TestAlerts_leaderChange ends the leader while it delivers the alert of a budget: the next leader
// delivers it, under the same id, and after a restart of everything nobody hears of it again.
func TestAlerts_leaderChange(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	b := newInbox(t, hold)
	c := nodetest.Start(t, 3)
	b.use(c)
	k := c.Key(0, fields{"name": "k", "budgets": []fields{{"requests": 4, "alerts": fields{"at": []int{50, 100}}}}})
	spend := func(n *nodetest.Node, want int) {
		t.Helper()
		c.Await("a request is answered", func() bool { status, _ := n.Chat(k.Secret); return status == want })
	}
	leader := c.Leader()
	spend(leader, 200)
	spend(leader, 200)
	<-b.seen // half of it is spent, and the leader waits for the webhook
	leader.Kill()
	close(hold)
	api := c.Leader().Admin()
	c.Await("the alert is delivered", func() bool {
		all, err := api.Alerts(t.Context(), map[string][]string{"state": {"delivered"}, "kind": {"budget_threshold"}})
		return err == nil && len(all.Items) == 1
	})
	leader.Start()
	c.AwaitReady()
	if got := b.kinds(); got["budget_threshold"] != 1 {
		t.Fatalf("got %v, want one alert of the budget", got)
	}
	for _, n := range c.Nodes {
		n.Stop()
	}
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		wg.Go(n.Start)
	}
	wg.Wait()
	c.AwaitReady()
	spend(c.Leader(), 200)
	spend(c.Leader(), 200)
	spend(c.Leader(), 429)
	c.Await("the budget is told to be spent up", func() bool {
		got := b.kinds()
		return got["budget_threshold"] == 2 && got["budget_exhausted"] == 1
	})
	all, err := c.Leader().Admin().Alerts(t.Context(), map[string][]string{"kind": {"budget_*"}})
	if err != nil || len(all.Items) != 3 {
		t.Errorf("got %+v, %v", all, err)
	}
}

// TestAlerts_nodeDown tells of a node that is gone, once, and that it is back.
func TestAlerts_nodeDown(t *testing.T) {
	t.Parallel()
	looks := make([]chan time.Time, 3)
	b := newInbox(t, nil)
	var mu sync.Mutex
	var ahead time.Duration
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(ahead)
	}
	c := nodetest.Config{Edit: func(i int, cfg *node.Config) {
		looks[i] = make(chan time.Time, 1)
		cfg.Alerts = node.AlertsConfig{Look: looks[i], Now: now}
	}}.Start(t, 3)
	b.use(c)
	look := func() {
		mu.Lock()
		ahead += 15 * time.Second
		mu.Unlock()
		for _, l := range looks {
			select {
			case l <- time.Time{}:
			default:
			}
		}
	}
	gone := c.Followers()[0]
	name := gone.Name
	gone.Kill()
	find := func() []client.Alert {
		all, err := c.Leader().Admin().Alerts(t.Context(), map[string][]string{"kind": {"node_down"}})
		if err != nil {
			return nil
		}
		return all.Items
	}
	c.Await("the node is told to be down", func() bool { look(); return b.kinds()["node_down"] == 1 })
	if all := find(); len(all) != 1 || all[0].Name != name || all[0].EndedAt != 0 {
		t.Errorf("got %+v", all)
	}
	gone.Start()
	c.AwaitReady()
	c.Await("it is over", func() bool {
		look()
		all := find()
		return len(all) == 1 && all[0].EndedAt != 0
	})
	if got := b.kinds(); got["node_down"] != 1 {
		t.Errorf("got %v", got)
	}
	if !slices.ContainsFunc(find(), func(a client.Alert) bool { return a.State == "delivered" }) {
		t.Errorf("got %+v", find())
	}
}
