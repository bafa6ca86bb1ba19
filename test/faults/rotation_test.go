//go:build e2e

package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// exchange is a rotation as the admin API tells it.
type exchange struct {
	Kind    string   `json:"kind"`
	Step    string   `json:"step"`
	Waiting []string `json:"waiting"`
	Late    []string `json:"late"`
}

func exchanged(c *cluster.Cluster, kind string) (e exchange) {
	for i := range c.Nodes {
		var page struct {
			Items []exchange `json:"items"`
		}
		if c.Nodes[i].Ended() || c.Admin(i, http.MethodGet, "/api/v1/cluster/rotate", nil, &page) != http.StatusOK {
			continue
		}
		for _, e := range page.Items {
			if e.Kind == kind {
				return e
			}
		}
	}
	return exchange{}
}

// TestRotate_UnderLoad exchanges every key of the cluster under load, each with a node killed
// meanwhile: in turn a follower and the leader. Clients that ask the next address when one does
// not answer see nothing. The node that was away follows, at once or (with CONCLAVE_FULL) only after
// the others have gone on without it. In the end all nodes have the new keys, open what was sealed, and all
// start again from what they have; the books are the bill.
func TestRotate_UnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	status := c.Admin(0, http.MethodPost, "/api/v1/models", map[string]any{
		"name":        "sealed",
		"deployments": []map[string]any{{"provider": "openai", "api_key": "sk-planted-provider-key", "api_base": c.MockURL() + "/v1", "model": "demo", "price": map[string]any{"input": 0, "output": 0}}},
	}, nil)
	if status != http.StatusCreated {
		t.Fatalf("create model: %d", status)
	}
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	before := kekOf(t, c.Nodes[0])
	load := roam(t, c, secret)
	for i, kind := range []string{"kek", "dek", "ca", "gossip", "node-certs"} {
		begin := time.Now()
		away := c.Leader()
		if i%2 == 0 {
			away = (away + 1) % 3
		}
		exchangeWithout(t, c, kind, away)
		t.Logf("%s with node %s away: %s", kind, c.Nodes[away].Name, time.Since(begin).Round(100*time.Millisecond))
	}
	load.end(t)
	for _, n := range c.Nodes {
		c.Await("the new KEK on node "+n.Name, 20*time.Second, func() bool { return !bytes.Equal(kekOf(t, n), before) })
	}
	ask := cluster.ChatBody()
	ask["model"] = "sealed"
	for i, n := range c.Nodes {
		n.Stop()
		n.Start()
		n.AwaitReady()
		c.Await("node "+n.Name+" opens what was sealed", 10*time.Second, func() bool {
			return cluster.Call(t, http.MethodPost, c.Nodes[i].URL+"/v1/chat/completions", secret, ask, nil) == http.StatusOK
		})
	}
	awaitLedger(t, c)
	t.Logf("spend: %s", keyCost(c, 0, id))
}

// exchangeWithout exchanges a key while a node is away.
func exchangeWithout(t *testing.T, c *cluster.Cluster, kind string, away int) {
	t.Helper()
	c.Nodes[away].Kill()
	at := (away + 1) % 3
	c.Await("the rotation of "+kind+" begins", 20*time.Second, func() bool {
		return c.Admin(at, http.MethodPost, "/api/v1/cluster/rotate/"+kind, map[string]any{}, nil)/100 == 2
	})
	var e exchange
	until := func(what string, limit time.Duration, cond func() bool) {
		c.Await(fmt.Sprintf("%s: %s", kind, what), limit, func() bool { e = exchanged(c, kind); return cond() })
	}
	if os.Getenv("CONCLAVE_FULL") == "" {
		until("only the one that is away is waited for", 20*time.Second, func() bool {
			return len(e.Waiting) == 1 && e.Waiting[0] == c.Nodes[away].Name
		})
	} else {
		until("the others have gone on", 90*time.Second, func() bool { return e.Step == "done" || e.Step == "overlap" })
		if len(e.Late) != 1 || e.Late[0] != c.Nodes[away].Name {
			t.Errorf("%s: late are %q, want %s", kind, e.Late, c.Nodes[away].Name)
		}
	}
	c.Nodes[away].Start()
	c.Nodes[away].AwaitReady()
	until("it is over", 60*time.Second, func() bool { return e.Step == "done" })
}

func kekOf(t *testing.T, n *cluster.Node) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder(n), "kek"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
