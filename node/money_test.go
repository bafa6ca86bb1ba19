package node_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// budgetOf is a strict budget for all time: a hold is never below the bill.
func budgetOf(usd resource.Money) []any { return []any{fields{"usd": usd, "strict": true}} }

// auditor looks at the key's account on every node until stop and fails the test when settled,
// presumed and leased money together exceed the limit.
func audit(t *testing.T, c *nodetest.Cluster, key string, limit resource.Money) (stop func() int) {
	t.Helper()
	done, looks := make(chan struct{}), 0
	var wg sync.WaitGroup
	nodes := make([]*nodetest.Node, len(c.Nodes))
	copy(nodes, c.Nodes)
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			var k client.Key
			status, body := nodes[i%len(nodes)].Do(http.MethodGet, "/api/v1/keys/"+key, nodetest.MasterKey, nil)
			if status != 200 || json.Unmarshal(body, &k) != nil {
				continue
			}
			for _, a := range k.Accounts {
				looks++
				if sum := dollars(t, a.Settled) + dollars(t, a.Presumed) + dollars(t, a.Granted); sum > limit {
					t.Errorf("%s: settled %s, presumed %s, leased %s: %s of %s", nodes[i%len(nodes)].Name, a.Settled, a.Presumed, a.Granted, sum, limit)
				}
			}
			if bill := c.Bill(); bill > limit {
				t.Errorf("the upstream's bill is %s of %s", bill, limit)
				return
			}
		}
	})
	return func() int { close(done); wg.Wait(); return looks }
}

// storm sends n requests through each node, six at a time on each, and counts the statuses.
func storm(c *nodetest.Cluster, n int, send func(node *nodetest.Node) int) map[int]int {
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for _, node := range c.Nodes {
		var sent atomic.Int64
		for range 6 {
			wg.Go(func() {
				for sent.Add(1) <= int64(n) {
					status := send(node)
					mu.Lock()
					got[status]++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return got
}

// spend asks all nodes until the bill has come to least: the leader of a busy machine gives out later than it is asked.
func spend(c *nodetest.Cluster, ask func(*nodetest.Node) int, least resource.Money) {
	c.Await("what can be spent is", func() bool {
		for _, n := range c.Nodes {
			ask(n)
		}
		return c.Bill() >= least
	})
}

func TestBudget_neverOverspent(t *testing.T) {
	t.Parallel()
	const limit = 400 * resource.Dollar / 1000
	for _, tt := range []struct {
		name   string
		during func(c *nodetest.Cluster) // when a third of the money is gone
		least  resource.Money            // that can be spent
	}{
		{"all well", func(*nodetest.Cluster) {}, limit * 85 / 100},
		{"a follower is cut off", func(c *nodetest.Cluster) { c.Followers()[0].Cut() }, limit * 4 / 10},
		{"the leader is cut off", func(c *nodetest.Cluster) { c.Leader().Cut() }, limit * 4 / 10},
		{"the leader is killed", func(c *nodetest.Cluster) { c.Leader().Kill() }, limit * 4 / 10},
		{"the leader stops", func(c *nodetest.Cluster) { c.Leader().Stop() }, limit * 6 / 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := nodetest.Config{Mock: mock.Config{Latency: 3 * time.Millisecond}}.Start(t, 3)
			k := c.Key(0, fields{"name": "k", "budgets": budgetOf(limit)})
			stop := audit(t, c, k.ID, limit)
			var wg sync.WaitGroup
			wg.Go(func() {
				c.Await("a third is spent", func() bool { return c.Bill() > limit/3 })
				tt.during(c)
			})
			ask := func(n *nodetest.Node) int {
				status, body := n.Do(http.MethodPost, "/v1/chat/completions", k.Secret, nodetest.ChatBody(nil))
				if status == 429 && !strings.Contains(string(body), "budget_exceeded") {
					t.Errorf("refused with %s", body)
				}
				return status
			}
			got := storm(c, 80, ask)
			wg.Wait()
			spend(c, ask, tt.least)
			looks := stop()
			t.Logf("statuses %v, bill %s of %s, %d looks", got, c.Bill(), limit, looks)
			for status := range got {
				if status != 200 && status != 429 && status != 0 && status != 503 {
					t.Errorf("%d answers with status %d", got[status], status)
				}
			}
			if bill := c.Bill(); bill > limit {
				t.Errorf("the bill is %s, want at most %s", bill, limit)
			}
			c.Heal()
			for _, n := range c.Nodes {
				if !n.Running() {
					n.Start()
				}
			}
			for _, n := range c.Nodes {
				c.Await(n.Name+" settles at the bill or above, within the limit", func() bool {
					var k2 client.Key
					status, body := n.Do(http.MethodGet, "/api/v1/keys/"+k.ID, nodetest.MasterKey, nil)
					if status != 200 || json.Unmarshal(body, &k2) != nil {
						return false
					}
					return k2.Spend >= c.Bill() && k2.Spend <= limit
				})
			}
		})
	}
}

// An end user whom no node has seen spends no more than what such end users are given, though his first requests come to all nodes
// at once.
func TestBudget_ofNewEndUser(t *testing.T) {
	t.Parallel()
	const limit = 400 * resource.Dollar / 1000
	for _, tt := range []struct {
		name   string
		during func(c *nodetest.Cluster) // when a third of the money is gone
		least  resource.Money            // that can be spent
	}{
		{"all well", func(*nodetest.Cluster) {}, limit * 85 / 100},
		{"the leader is killed", func(c *nodetest.Cluster) { c.Leader().Kill() }, limit * 4 / 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := nodetest.Config{Mock: mock.Config{Latency: 3 * time.Millisecond}}.Start(t, 3)
			for _, put := range []struct {
				method, path string
				doc          fields
			}{
				{"POST", "/api/v1/budgets", fields{"name": "tier", "terms": fields{"usd": limit, "strict": true}}},
				{"PUT", "/api/v1/settings/customer_budget", fields{"value": "tier"}},
			} {
				if status, body := c.Nodes[0].Do(put.method, put.path, nodetest.MasterKey, put.doc); status/100 != 2 {
					t.Fatalf("%s: %d %s", put.path, status, body)
				}
			}
			k := c.Key(0, fields{"name": "k"}) // which all nodes know, and with it the setting
			var wg sync.WaitGroup
			wg.Go(func() {
				c.Await("a third is spent", func() bool { return c.Bill() > limit/3 })
				tt.during(c)
			})
			ask := func(n *nodetest.Node) int {
				status, _ := n.Do(http.MethodPost, "/v1/chat/completions", k.Secret, nodetest.ChatBody(fields{"user": "nobody-yet"}))
				return status
			}
			got := storm(c, 80, ask)
			wg.Wait()
			spend(c, ask, tt.least)
			if bill := c.Bill(); bill > limit {
				t.Errorf("the bill is %s, want at most %s: statuses %v", bill, limit, got)
			}
		})
	}
}

// The budget of an access group is one for all its models: what is spent on them together, through all nodes and by
// all keys, is never more.
func TestBudget_accessGroup(t *testing.T) {
	t.Parallel()
	const limit = 200 * resource.Dollar / 1000
	c := nodetest.Config{Mock: mock.Config{Latency: 3 * time.Millisecond}}.Start(t, 3)
	for _, name := range []string{"second", "free-of-it"} {
		c.Model(name, c.MockURL)
	}
	api := c.Nodes[0].Admin()
	g, err := api.AccessGroups().Create(t.Context(), fields{"name": "both", "models": []string{"demo", "second"}, "budgets": budgetOf(limit)})
	if err != nil {
		t.Fatal(err)
	}
	c.Sync(api)
	keys := []client.Key{c.Key(0, fields{"name": "k1"}), c.Key(0, fields{"name": "k2"})}
	var turn atomic.Int64
	ask := func(n *nodetest.Node) int {
		i := turn.Add(1)
		body := nodetest.ChatBody(fields{"model": []string{"demo", "second"}[i%2]})
		status, said := n.Do(http.MethodPost, "/v1/chat/completions", keys[i/2%2].Secret, body)
		if status == 429 && !strings.Contains(string(said), `"scope":"access_group"`) {
			t.Errorf("refused with %s", said)
		}
		return status
	}
	got := storm(c, 60, ask)
	c.Await("most of it is spent, and the rest is refused", func() bool {
		status := ask(c.Nodes[0])
		return c.Bill() >= limit*3/4 && status == 429
	})
	bill := c.Bill()
	if bill > limit {
		t.Errorf("statuses %v, bill %s of %s", got, bill, limit)
	}
	for _, n := range c.Nodes {
		c.Await(n.Name+" has the bill in the group's account", func() bool {
			now, err := n.Admin().AccessGroups().One(t.Context(), g.ID)
			return err == nil && len(now.Accounts) == 1 && dollars(t, now.Accounts[0].Settled) == bill && dollars(t, now.Accounts[0].Presumed) == 0
		})
	}
	status, said := c.Nodes[1].Do(http.MethodPost, "/v1/chat/completions", keys[0].Secret, nodetest.ChatBody(fields{"model": "free-of-it"}))
	if status != 200 {
		t.Errorf("a model of no group: got %d %s", status, said)
	}
	sessionsAcross(t, c)
}

// sessionsAcross sends requests of agents' sessions through all nodes at once: whatever names the session, and whoever has the
// limit, no more of them are served than one session may make.
func sessionsAcross(t *testing.T, c *nodetest.Cluster) {
	t.Helper()
	const turns = 6
	ctx, api := t.Context(), c.Nodes[0].Admin()
	limits := fields{"iterations": turns}
	if _, err := api.Teams().Create(ctx, fields{"id": "agents", "name": "agents", "sessions": limits}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Users().Create(ctx, fields{"id": "agent", "sessions": limits}); err != nil {
		t.Fatal(err)
	}
	c.Sync(api)
	for name, key := range map[string]client.Key{
		"key": c.Key(0, fields{"name": "of its own", "sessions": limits}), "team": c.Key(0, fields{"name": "of a team", "team_id": "agents"}),
		"user": c.Key(0, fields{"name": "of a user", "user_id": "agent"}),
	} {
		for _, from := range []string{"x-litellm-session-id", "x-litellm-trace-id", "litellm_session_id"} {
			ask := func(n *nodetest.Node) int {
				body, header := nodetest.ChatBody(fields{"model": "free-of-it", "litellm_session_id": name + from}), []string{"x-other", "x"}
				if from != "litellm_session_id" {
					body, header = nodetest.ChatBody(fields{"model": "free-of-it"}), []string{from, name + from}
				}
				status, said := n.Do(http.MethodPost, "/v1/chat/completions", key.Secret, body, header...)
				if status == 429 && errorCode(said) != "session_iterations_exceeded" {
					t.Errorf("%s by %s: refused with %s", name, from, said)
				}
				return status
			}
			got := storm(c, 2*turns, ask)
			served := got[200]
			c.Await(name+" by "+from+": all turns are used", func() bool { // what a busy node holds comes back to who asks
				for _, n := range c.Nodes {
					if ask(n) == 200 {
						served++
					}
				}
				return served >= turns
			})
			if served != turns || got[200]+got[429] != 3*2*turns {
				t.Errorf("%s by %s: got %v and %d in the end, want %d served", name, from, got, served, turns)
			}
		}
	}
}

func TestBudget_cutNodeSpendsItsLease(t *testing.T) {
	t.Parallel()
	const limit = resource.Dollar
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k", "budgets": budgetOf(limit)})
	cut := c.Followers()[0]
	if status, body := cut.Chat(k.Secret); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	cut.Cut()
	c.Await("it knows that it is alone", func() bool { return cut.Leader() == "" })
	served := 0
	for ; served < 1000; served++ {
		status, body := cut.Chat(k.Secret)
		if status == 200 {
			continue
		}
		if status != 429 || !strings.Contains(string(body), "budget_exceeded") {
			t.Fatalf("at the end of the lease: %d %s, want 429 budget_exceeded", status, body)
		}
		break
	}
	t.Logf("%d served alone, bill %s of %s", served, c.Bill(), limit)
	if served == 0 || c.Bill() > limit/2 {
		t.Errorf("served %d alone for %s, want some, for at most half of %s", served, c.Bill(), limit)
	}
	cut.Heal()
	c.Await("it is given money again", func() bool {
		status, _ := cut.Chat(k.Secret)
		return status == 200
	})
}

func TestBudget_hangingUpIsNoWayAround(t *testing.T) {
	t.Parallel()
	const limit = 500 * resource.Dollar / 1000
	c := nodetest.Config{Mock: mock.Config{Chunks: 200, ChunkDelay: 2 * time.Millisecond}}.Start(t, 3)
	k := c.Key(0, fields{"name": "k", "budgets": budgetOf(limit)})
	var served atomic.Int64
	got := storm(c, 60, func(n *nodetest.Node) int {
		s := n.Stream(k.Secret, fields{"max_tokens": 50})
		defer s.Close()
		if s.Status == 200 {
			served.Add(1)
			for range 5 {
				s.Next()
			}
		}
		return s.Status
	})
	awaitNoHolds(t, c)
	t.Logf("statuses %v, bill %s, limit %s", got, c.Bill(), limit)
	if got[200] == 0 {
		t.Error("nothing was served")
	}
	var spend resource.Money
	c.Await("every hang-up is in the ledger", func() bool {
		u, err := c.Nodes[0].Admin().Usage(t.Context(), "key", k.ID, "", "")
		if err != nil || len(u) == 0 {
			return false
		}
		spend = u[0].Cost
		return u[0].Requests >= served.Load()
	})
	if spend > limit || spend == 0 {
		t.Errorf("spend %s of %s", spend, limit)
	}
	if bill := c.Bill(); bill > 2*spend {
		t.Errorf("the ledger has %s of a bill of %s", spend, bill)
	}
}

// awaitNoHolds waits until no node has a request between its two records.
func awaitNoHolds(t *testing.T, c *nodetest.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		c.Await("no hold is open on "+n.Name, func() bool {
			_, body := n.Do(http.MethodGet, "/metrics", nodetest.MasterKey, nil)
			return strings.Contains(string(body), "\nconclave_journal_open_reservations 0\n")
		})
	}
}

func TestBudget_hangUpsLeakNoHold(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{Chunks: 500, ChunkDelay: 5 * time.Millisecond}}.Start(t, 1)
	n := c.Nodes[0]
	for _, events := range []int{0, 1, 7} {
		t.Run(fmt.Sprint("after ", events, " events"), func(t *testing.T) {
			// The budget has room for five holds. Twenty hang-ups cost little, so a request
			// after them is refused only if a hold has leaked.
			k := c.Key(0, fields{"name": fmt.Sprint("k", events), "budgets": budgetOf(5 * 200 * nodetest.CompletionPrice)})
			for range 20 {
				s := n.Stream(k.Secret, fields{"max_tokens": 150})
				if s.Status != 200 {
					t.Fatalf("stream: %d %s", s.Status, s.Rest())
				}
				for range events {
					s.Next()
				}
				s.Close()
				awaitNoHolds(t, c)
			}
			c.Await("20 requests are in the ledger", func() bool {
				u, err := n.Admin().Usage(t.Context(), "key", k.ID, "", "")
				return err == nil && len(u) == 1 && u[0].Requests == 20 && u[0].Cost > 0
			})
		})
	}
}

// Whatever happens to the nodes, no minute holds more than the limit; and where all are well,
// it is used to the last request.
func TestLimit_acrossNodes(t *testing.T) {
	t.Parallel()
	lonely := func(c *nodetest.Cluster, n *nodetest.Node) {
		c.Await("it has its part", func() bool {
			_, body := n.Do("GET", "/metrics", nodetest.MasterKey, nil)
			return strings.Contains(string(body), "\nconclave_ratelimit_handover 0\n")
		})
		n.Cut()
		c.Await("it knows that it is alone", func() bool { return n.Leader() == "" })
	}
	cut := func(_ *nodetest.Cluster, n *nodetest.Node) { n.Cut() }
	restart := func(_ *nodetest.Cluster, n *nodetest.Node) {
		n.Kill()
		n.Start()
	}
	for _, tt := range []struct {
		name   string
		rpm    int
		share  [3]int // of a hundred requests, by node
		before func(c *nodetest.Cluster, n *nodetest.Node)
		during func(c *nodetest.Cluster, n *nodetest.Node)
		least  int
	}{
		{name: "evenly", rpm: 60, share: [3]int{34, 33, 33}, least: 60},
		{name: "90/5/5", rpm: 60, share: [3]int{90, 5, 5}, least: 60},
		{name: "one node", rpm: 60, share: [3]int{0, 0, 100}, least: 60},
		{name: "few", rpm: 5, share: [3]int{34, 33, 33}, least: 5},
		{name: "one", rpm: 1, share: [3]int{34, 33, 33}, least: 1},
		{name: "a node is cut off", rpm: 60, share: [3]int{34, 33, 33}, before: lonely, least: 60},
		{name: "a node is cut off at that moment", rpm: 60, share: [3]int{34, 33, 33}, during: cut, least: 40},
		{name: "a busy node is cut off at that moment", rpm: 60, share: [3]int{5, 5, 90}, during: cut, least: 20},
		{name: "a node starts anew", rpm: 60, share: [3]int{34, 33, 33}, during: restart, least: 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := nodetest.Start(t, 3)
			k := c.Key(0, fields{"name": "k", "limits": fields{"rpm": tt.rpm}})
			c.Sync(c.Nodes[0].Admin())
			victim := c.Followers()[0]
			nodes := slices.Clone(c.Nodes)
			slices.SortFunc(nodes, func(a, b *nodetest.Node) int { return cmp.Compare(side(a == victim), side(b == victim)) })
			if tt.before != nil {
				tt.before(c, victim)
			}
			began := time.Now()
			got := offer(nodes, 10*tt.rpm, tt.share, func(n *nodetest.Node) int { status, _ := n.Chat(k.Secret); return status }, func() {
				if tt.during != nil {
					tt.during(c, victim)
				}
			})
			// What a peer lent while this machine stood still comes late, or goes back and is lent again.
			for c.Mock.Usage().Requests < int64(tt.least) && time.Since(began) < 50*time.Second {
				for i, n := range nodes {
					if tt.share[i] > 0 {
						_, _ = n.Chat(k.Secret)
					}
				}
			}
			took := time.Since(began)
			t.Logf("statuses %v in %s, %d upstream", got, took, c.Mock.Usage().Requests)
			if took > time.Minute {
				t.Fatal("the minute is over: the offer shows nothing")
			}
			if n := int(c.Mock.Usage().Requests); n > tt.rpm || n < tt.least {
				t.Errorf("admitted %d, want %d to %d", n, tt.least, tt.rpm)
			}
		})
	}
}

func side(last bool) int {
	if last {
		return 1
	}
	return 0
}

// offer sends n requests, six at a time, spread over the nodes by their share of a hundred, and
// calls during once a twentieth is sent.
func offer(nodes []*nodetest.Node, n int, share [3]int, send func(*nodetest.Node) int, during func()) map[int]int {
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	var sent atomic.Int64
	var once sync.Once
	for range 6 {
		wg.Go(func() {
			for {
				i := sent.Add(1)
				if i > int64(n) {
					return
				}
				if i > int64(n)/20 {
					once.Do(during)
				}
				at := int(i*37) % 100 // every number below a hundred once in a hundred
				node := nodes[0]
				for k, s := range share {
					if at -= s; at < 0 {
						node = nodes[k]
						break
					}
				}
				status := send(node)
				mu.Lock()
				got[status]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return got
}

// spendCounter is the sum of the counters of what the node has recorded.
func spendCounter(t *testing.T, n *nodetest.Node) (sum float64) {
	t.Helper()
	_, body := n.Do("GET", "/metrics", nodetest.MasterKey, nil)
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "conclave_spend_nanodollars_total{") {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(strings.TrimSpace(line), ' ')+1:len(line)-1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

func TestPlugins_withTheNodes(t *testing.T) {
	t.Parallel()
	c := nodetest.Config{Mock: mock.Config{Chunks: 8}}.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	api := c.Nodes[0].Admin()
	if _, err := api.Callbacks().Create(t.Context(), fields{"name": "log", "plugin": "file", "config": fields{"path": "requests.jsonl"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Guardrails().Create(t.Context(), fields{
		"name": "words", "plugin": "keywords", "hooks": []string{"before"}, "on_error": "block", "config": fields{"words": []string{"secret project"}},
	}); err != nil {
		t.Fatal(err)
	}
	c.Sync(api)
	message := func(text any) fields { return fields{"messages": []any{fields{"role": "user", "content": text}}} }
	bad := message("tell me of the Secret Project")
	for _, n := range c.Nodes { // the plugin may still be starting: that must not open a gap
		if status, body := n.Do(http.MethodPost, "/v1/chat/completions", k.Secret, nodetest.ChatBody(bad)); status == 200 {
			t.Errorf("%s: passed while the guardrail starts: %s", n.Name, body)
		}
	}
	c.AwaitReady()
	for _, n := range c.Nodes {
		c.Await("good words pass on "+n.Name, func() bool { status, _ := n.Chat(k.Secret); return status == 200 })
	}
	for _, tt := range []struct {
		name, path string
		body       fields
	}{
		{"plain", "/v1/chat/completions", bad},
		{"stream", "/v1/chat/completions", fields{"stream": true, "messages": bad["messages"]}},
		{"two answers", "/v1/chat/completions", fields{"n": 2, "messages": bad["messages"]}},
		{"two answers streamed", "/v1/chat/completions", fields{"n": 2, "stream": true, "messages": bad["messages"]}},
		{"parts", "/v1/chat/completions", message([]any{fields{"type": "text", "text": "the secret project"}})},
		{"other spelling of the path", "/chat/completions", bad},
		{"escapes", "/v1/chat/completions", nil},
		{"completions", "/v1/completions", fields{"model": "demo", "prompt": "the secret project"}},
		{"completions, list", "/v1/completions", fields{"model": "demo", "prompt": []string{"fine", "the secret project"}}},
		{"embeddings", "/v1/embeddings", fields{"model": "demo", "input": "the secret project"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body any = tt.body
			switch {
			case tt.body == nil:
				body = `{"model":"demo","messages":[{"role":"user","content":"the s\u0065cret\u0020project"}]}`
			case tt.body["model"] == nil:
				body = nodetest.ChatBody(tt.body)
			}
			before := c.Mock.Usage().Requests
			for _, n := range c.Nodes {
				status, answer := n.Do(http.MethodPost, tt.path, k.Secret, body)
				if status/100 != 4 || status == 404 {
					t.Errorf("%s: %d %.300s, want a refusal", n.Name, status, answer)
				}
			}
			if after := c.Mock.Usage().Requests; after != before {
				t.Errorf("the upstream was asked %d times", after-before)
			}
		})
	}
	for _, n := range c.Nodes {
		c.Await("the callback has written on "+n.Name, func() bool { return lines(filepath.Join(n.Dir, "requests.jsonl")) > 10 })
	}
}

func lines(path string) (n int) {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		if !json.Valid(s.Bytes()) {
			return 0
		}
	}
	return n
}

// dollars reads an amount of the admin API.
func dollars(t testing.TB, a client.Amount) resource.Money {
	t.Helper()
	m, err := resource.ParseMoney(string(a))
	if err != nil {
		t.Error(err)
	}
	return m
}
