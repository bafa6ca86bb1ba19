package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/secret"
)

type fields = nodetest.Fields

func TestNode_join(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	k := c.Key(0, fields{"name": "early"})
	for range 2 {
		n := c.Join()
		if status, body := n.Chat(k.Secret); status != 200 {
			t.Errorf("chat through %s: %d %s", n.Name, status, body)
		}
	}
	c.Await("all three vote", func() bool {
		voters := 0
		for _, m := range members(t, c.Nodes[0]) {
			if m.Voter {
				voters++
			}
		}
		return voters == 3
	})
	c.Nodes[0].Stop() // two of three are a majority only if the promotions are true
	late := c.Key(1, fields{"name": "late"})
	if status, body := c.Nodes[2].Chat(late.Secret); status != 200 {
		t.Errorf("chat without the founder: %d %s", status, body)
	}
}

func members(t *testing.T, n *nodetest.Node) []client.Member {
	t.Helper()
	cl, err := n.Admin().Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cl.Members
}

func TestNode_joinRefused(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	token, err := c.Nodes[0].Admin().JoinToken(t.Context(), "5m", client.Do)
	if err != nil {
		t.Fatal(err)
	}
	join := func(master, token string) error {
		n, err := node.Start(t.Context(), node.Config{
			Name: "x", DataDir: t.TempDir(), Listen: "127.0.0.1:0", Cluster: nodetest.FreeAddr(t),
			MasterKey: secret.New(master), Join: c.Nodes[0].Address, Token: token, Fatal: func(error) {},
		})
		if err == nil {
			_ = n.Stop(t.Context())
		}
		return err
	}
	for _, tt := range []struct{ name, master, token string }{
		{"another master key", "sk-other", token.Token},
		{"a token that nobody gave", nodetest.MasterKey, token.Token[:len(token.Token)-4] + "AAAA"},
		{"no token at all", nodetest.MasterKey, "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := join(tt.master, tt.token)
			if err == nil {
				t.Fatal("joined")
			}
			if strings.Contains(err.Error(), tt.master) {
				t.Errorf("the error shows the master key: %v", err)
			}
		})
	}
	if got := len(members(t, c.Nodes[0])); got != 1 {
		t.Errorf("got %d members, want 1", got)
	}
}

func TestNode_restartRefused(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	n.Stop()
	for _, tt := range []struct {
		name string
		edit func(*node.Config)
	}{
		{"another master key", func(c *node.Config) { c.MasterKey = secret.New("sk-wrong") }},
		{"bootstrap of a folder that holds a node", func(c *node.Config) { c.Bootstrap = true }},
		{"join of a folder that holds a node", func(c *node.Config) { c.Join, c.Token = "127.0.0.1:1", "x" }},
		{"an empty folder without a word", func(c *node.Config) { c.DataDir = t.TempDir() }},
		{"beyond loopback without an admin", func(c *node.Config) { c.Listen, c.MasterKey = "0.0.0.0:0", secret.Text{} }},
		{"every address without an admin", func(c *node.Config) { c.Listen, c.MasterKey = ":0", secret.Text{} }},
		{"no name", func(c *node.Config) { c.Name = "" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := node.Config{
				Name: n.Name, DataDir: n.Dir, Listen: "127.0.0.1:0", Cluster: n.Address,
				MasterKey: secret.New(nodetest.MasterKey), Fatal: func(error) {},
			}
			tt.edit(&cfg)
			got, err := node.Start(t.Context(), cfg)
			if err == nil {
				_ = got.Stop(t.Context())
				t.Fatal("started")
			}
			refusal, ok := errors.AsType[*node.Refusal](err)
			if !ok || refusal.Status != 78 {
				t.Errorf("got %v, want a refusal with status 78", err)
			}
		})
	}
	n.Start() // nothing above has harmed it
}

func TestNode_writesThroughFollowers(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	a, b := c.Followers()[0], c.Followers()[1]
	for i := range 20 {
		k, err := a.Admin().Keys().Create(t.Context(), fields{"name": fmt.Sprint("k", i)})
		if err != nil {
			t.Fatal(err)
		}
		if status, body := b.Chat(k.Secret); status != 200 { // at once, on another node, which may not have it yet
			t.Fatalf("key %d on another node: %d %s", i, status, body)
		}
		path := "/api/v1/keys/" + k.ID
		if status, body := b.Do(http.MethodGet, path, nodetest.MasterKey, nil, "X-Conclave-Min-Index", a.Admin().Index()); status != 200 {
			t.Errorf("read of key %d with the index: %d %s", i, status, body)
		}
	}
	if status, body := b.Do(http.MethodPost, "/v1/chat/completions", nodetest.MasterKey, nodetest.ChatBody(nil), "X-Conclave-Min-Index", a.Admin().Index()); status != 200 {
		t.Errorf("chat with the index: %d %s", status, body)
	}
}

func TestNode_minIndexNeverOlder(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	cut := c.Followers()[0]
	cut.Cut()
	leader := c.Leader()
	k, err := leader.Admin().Keys().Create(t.Context(), fields{"name": "k"})
	if err != nil {
		t.Fatal(err)
	}
	index := leader.Admin().Index()
	done := make(chan string)
	go func() {
		status, body := cut.Do(http.MethodGet, "/api/v1/keys/"+k.ID, nodetest.MasterKey, nil, "X-Conclave-Min-Index", index)
		done <- fmt.Sprint(status, string(body))
	}()
	if got := <-done; !strings.HasPrefix(got, "503") {
		t.Errorf("a node that cannot reach the index answers %s, want 503", got)
	}
	cut.Heal()
	c.Await("it reaches the index after the partition", func() bool {
		status, body := cut.Do(http.MethodGet, "/api/v1/keys/"+k.ID, nodetest.MasterKey, nil, "X-Conclave-Min-Index", index)
		if status != 200 && status != 503 {
			t.Fatalf("after the partition: %d %s", status, body)
		}
		return status == 200
	})
}

func TestNode_failover(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	old := c.Leader()
	left := c.Followers()
	old.Kill()
	for i := range 50 { // inference goes on without a leader
		if status, body := left[i%2].Chat(k.Secret); status != 200 {
			t.Fatalf("request %d after the leader's death: %d %s", i, status, body)
		}
	}
	c.Await("a write is taken, which waits for the new leader", func() bool { // not for as long as a busy machine may need
		_, err := left[0].Admin().Keys().Create(t.Context(), fields{"name": "after"})
		return err == nil
	})
	left[0].Kill()
	alone := left[1]
	for i := range 50 {
		if status, body := alone.Chat(k.Secret); status != 200 {
			t.Fatalf("request %d on the last node: %d %s", i, status, body)
		}
	}
	c.Await("the last node knows that it has no leader", func() bool { return alone.Leader() == "" })
	status, body := alone.Do(http.MethodPost, "/api/v1/keys", nodetest.MasterKey, fields{"name": "lost"})
	if status != 503 || !strings.Contains(string(body), "no_leader") {
		t.Errorf("a write without a majority: %d %s, want 503 no_leader", status, body)
	}
	if status, _ := alone.Do(http.MethodGet, "/health/readiness", "", nil); status != 200 {
		t.Errorf("readiness of the last node: %d, want 200", status)
	}
	old.Start()
	c.Await("a write is taken with a majority again", func() bool {
		_, err := alone.Admin().Keys().Create(t.Context(), fields{"name": "again"})
		return err == nil
	})
}

// confirmed waits for the nodes that had not applied the last write when it was answered, as one of a busy machine may not have.
func confirmed(t *testing.T, c *nodetest.Cluster, api *client.Client) {
	t.Helper()
	if p := api.Pending(); len(p) > 0 {
		t.Logf("pending: %v", p)
		c.Sync(api)
	}
}

func TestNode_revokeIsSeenEverywhere(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	api := c.Followers()[0].Admin()
	for _, tt := range []struct {
		name string
		do   func(id string) error
		undo func(id string) error
	}{
		{
			"block", func(id string) error { return api.Block(t.Context(), "keys", id, client.Blocked) },
			func(id string) error { return api.Block(t.Context(), "keys", id, client.Unblocked) },
		},
		{"delete", func(id string) error { return api.Keys().Delete(t.Context(), id) }, nil},
		{"rotate", func(id string) error {
			_, err := api.RotateKey(t.Context(), id, client.Rotate{})
			return err
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := c.Key(0, fields{"name": tt.name})
			if err := tt.do(k.ID); err != nil {
				t.Fatal(err)
			}
			confirmed(t, c, api)
			for _, n := range c.Nodes { // the answer said that all have it: no waiting
				if status, body := n.Chat(k.Secret); status != 401 {
					t.Errorf("%s: %d %s, want 401", n.Name, status, body)
				}
			}
			if tt.undo == nil {
				return
			}
			if err := tt.undo(k.ID); err != nil {
				t.Fatal(err)
			}
			c.Sync(api)
			for _, n := range c.Nodes {
				if status, body := n.Chat(k.Secret); status != 200 {
					t.Errorf("undone, %s: %d %s, want 200", n.Name, status, body)
				}
			}
		})
	}
}

func TestNode_revokeNamesCutNode(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	cut := c.Followers()[0]
	cut.Cut()
	api, before := c.Leader().Admin(), time.Now()
	var r client.Receipt
	c.Await(cut.Name+" alone is pending", func() bool { // the other one may be late at first
		if err := api.Block(t.Context(), "keys", k.ID, client.Blocked); err != nil {
			t.Fatal(err)
		}
		r = api.Receipt()
		if !slices.Contains(r.Pending, cut.Name) || slices.Contains(r.EnforcedBy, cut.Name) || len(r.Pending)+len(r.EnforcedBy) != 3 {
			t.Fatalf("receipt: got %+v, want %s pending", r, cut.Name)
		}
		return len(r.Pending) == 1
	})
	if first, last := before.Add(23*time.Hour), time.Now().Add(24*time.Hour+time.Second); r.Forever || r.Until.Before(first) || r.Until.After(last) {
		t.Errorf("deadline: got %v, want a day after the node was cut off", r.Until)
	}
	if status, _ := cut.Chat(k.Secret); status != 200 {
		t.Errorf("the cut node: %d, want 200, for it cannot know", status)
	}
	cut.Heal()
	c.Await("the block reaches it", func() bool {
		status, _ := cut.Chat(k.Secret)
		return status == 401
	})
}

func TestNode_blockedAdminIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	for _, role := range []string{"proxy_admin", "proxy_admin_viewer"} {
		k := c.Key(0, fields{"name": role, "role": role})
		for _, n := range c.Nodes {
			if _, err := n.AdminAs(k.Secret).Keys().List(t.Context(), client.Query{}); err != nil {
				t.Errorf("%s on %s: %v", role, n.Name, err)
			}
		}
		api := c.Nodes[1].Admin()
		if err := api.Block(t.Context(), "keys", k.ID, client.Blocked); err != nil {
			t.Fatal(err)
		}
		confirmed(t, c, api)
		for _, n := range c.Nodes {
			for _, path := range []string{"/api/v1/keys", "/health", "/metrics", "/key/list", "/v1/models"} {
				if status, body := n.Do(http.MethodGet, path, k.Secret, nil); status != 401 {
					t.Errorf("blocked %s on %s: GET %s: %d %.200s, want 401", role, n.Name, path, status, body)
				}
			}
			if status, body := n.Do(http.MethodPost, "/api/v1/keys", k.Secret, fields{"name": "mine"}); status != 401 {
				t.Errorf("blocked %s on %s: create: %d %s, want 401", role, n.Name, status, body)
			}
		}
	}
}

func TestNode_staleAdminKeys(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	cut := c.Followers()[0]
	admin := c.Key(0, fields{"name": "admin", "role": "proxy_admin"})
	user := c.Key(0, fields{"name": "user"})
	cut.Cut()
	c.Await("it knows that it is alone", func() bool { return cut.Leader() == "" })
	if status, body := cut.Do(http.MethodGet, "/api/v1/keys", admin.Secret, nil); status != 200 {
		t.Errorf("soon after the cut: %d %s, want 200", status, body)
	}
	cut.Age(15e9)
	for _, path := range []string{"/api/v1/keys", "/key/list", "/health", "/metrics"} {
		if status, body := cut.Do(http.MethodGet, path, admin.Secret, nil); status != 503 {
			t.Errorf("fifteen seconds after the cut: GET %s: %d %.200s, want 503", path, status, body)
		}
	}
	if status, body := cut.Chat(user.Secret); status != 200 {
		t.Errorf("inference: %d %s, want 200", status, body)
	}
	cut.Age(24 * 3600e9)
	if status, body := cut.Chat(user.Secret); status != 503 {
		t.Errorf("inference after a day: %d %s, want 503", status, body)
	}
	if status, _ := cut.Do(http.MethodGet, "/health/readiness", "", nil); status != 503 {
		t.Errorf("readiness after a day: %d, want 503", status)
	}
	cut.Heal()
	c.Await("it is fresh again", func() bool {
		status, _ := cut.Do(http.MethodGet, "/api/v1/keys", admin.Secret, nil)
		return status == 200
	})
}

func TestNode_restartKeepsAll(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	for i := range 9 {
		if status, body := c.Nodes[i%3].Chat(k.Secret); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	victim := c.Nodes[1]
	victim.Kill() // its last requests may be in its journal only
	victim.Start()
	for _, n := range c.Nodes {
		awaitSpend(t, c, n, k.ID)
	}
	for _, n := range slices.Clone(c.Nodes) {
		n.Stop()
	}
	for _, n := range c.Nodes { // one after the other: the first waits for its majority
		n.Launch()
	}
	c.AwaitReady()
	for _, n := range c.Nodes {
		awaitSpend(t, c, n, k.ID)
		if status, body := n.Chat(k.Secret); status != 200 {
			t.Errorf("%s after the restart: %d %s", n.Name, status, body)
		}
	}
}

// awaitSpend waits until the node shows the upstream's bill as the key's spend.
func awaitSpend(t *testing.T, c *nodetest.Cluster, n *nodetest.Node, key string) {
	t.Helper()
	var got client.Key
	c.Await(fmt.Sprintf("%s shows the bill %s", n.Name, c.Bill()), func() bool {
		status, body := n.Do(http.MethodGet, "/api/v1/keys/"+key, nodetest.MasterKey, nil)
		if status != 200 || json.Unmarshal(body, &got) != nil {
			return false
		}
		if got.Spend > c.Bill() {
			t.Fatalf("%s shows %s, the bill is %s", n.Name, got.Spend, c.Bill())
		}
		return got.Spend == c.Bill()
	})
}

// TestNode_early has requests come to a node that is not built yet, and be answered when it is: that a node is
// healthy is no answer to a chat.
func TestNode_early(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, 1).Nodes[0]
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"POST", "/v1/chat/completions", 503},
		{"GET", "/v1/models", 503},
		{"POST", "/api/v1/keys", 503},
		{"POST", "/health/readiness", 503},
		{"GET", "/health/readiness", 200},
		{"GET", "/health/liveliness", 200},
	} {
		w := httptest.NewRecorder()
		n.Early().ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.want || (w.Code == 503) != (w.Header().Get("Retry-After") != "") || (w.Code == 503) != strings.Contains(w.Body.String(), `"starting"`) {
			t.Errorf("%s %s: got %d %v %s, want %d", tt.method, tt.path, w.Code, w.Header(), w.Body, tt.want)
		}
	}
}

func TestNode_readiness(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	for _, n := range c.Nodes {
		for path, want := range map[string]int{"/health/readiness": 200, "/health/liveliness": 200, "/health": 401, "/metrics": 401} {
			if status, body := n.Do(http.MethodGet, path, "", nil); status != want {
				t.Errorf("%s: GET %s: %d %s, want %d", n.Name, path, status, body, want)
			}
		}
	}
	k := c.Key(0, fields{"name": "k"})
	if status, _ := c.Nodes[0].Do(http.MethodGet, "/health", k.Secret, nil); status != 403 {
		t.Errorf("health with a key for inference: %d, want 403", status)
	}
	a, b, late := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	for _, n := range []*nodetest.Node{a, b, late} {
		n.Kill()
	}
	late.Launch() // no majority: no leader
	if err := late.Ready(); err == nil {
		t.Error("a node that was just started without a leader is ready")
	}
	a.Launch()
	c.AwaitReady()
}
