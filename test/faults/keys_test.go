//go:build e2e

package faults

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestKeys_UsedAtOnceElsewhere makes 1,000 keys on one node and uses each at once on the
// other two: a key that was acknowledged is known everywhere.
func TestKeys_UsedAtOnceElsewhere(t *testing.T) {
	c := cluster.Start(t, 3)
	const keys, workers = 1000, 8
	work := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range work {
				_, secret := c.NewKey(0, map[string]any{"models": []string{"demo"}})
				for _, node := range []int{1, 2} {
					if got := c.Chat(node, secret); got != http.StatusOK {
						t.Errorf("key %d on node %s: status %d, want 200", i, c.Nodes[node].Name, got)
					}
				}
			}
		})
	}
	for i := range keys {
		work <- i
	}
	close(work)
	wg.Wait()
}

// TestKeys_RevokedEverywhere blocks, and deletes, keys on one node and expects every node
// to refuse within a second of the acknowledgement, in most rounds: in some a machine may be busy elsewhere.
func TestKeys_RevokedEverywhere(t *testing.T) {
	c := cluster.Start(t, 3)
	for _, tt := range []struct {
		name, method, path string
		want               int
	}{
		{"block", http.MethodPost, "/api/v1/keys/%s/block", http.StatusOK},
		{"delete", http.MethodDelete, "/api/v1/keys/%s", http.StatusNoContent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var took []time.Duration
			for round := range 20 {
				id, secret := c.NewKey(round%3, map[string]any{})
				for node := range c.Nodes {
					if got := c.Chat(node, secret); got != http.StatusOK {
						t.Fatalf("fresh key on node %d: status %d, want 200", node, got)
					}
				}
				if got := c.Admin((round+1)%3, tt.method, fmt.Sprintf(tt.path, id), nil, nil); got/100 != 2 {
					t.Fatalf("%s: status %d, want 2xx", tt.name, got)
				}
				acked := time.Now()
				for node := range c.Nodes {
					c.Await("the key is refused", time.Minute, func() bool {
						return c.Chat(node, secret) == http.StatusUnauthorized
					})
				}
				took = append(took, time.Since(acked))
			}
			slices.Sort(took)
			t.Logf("refused everywhere after %s, at worst %s", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
			if took[len(took)/2] > time.Second {
				t.Errorf("refused everywhere after %s, want a second in most rounds", took)
			}
		})
	}
}

// TestModel_AddedWithoutRestart adds a model with one API call and asks every node for it.
func TestModel_AddedWithoutRestart(t *testing.T) {
	c := cluster.Start(t, 3)
	body := map[string]any{
		"model_name":     "second",
		"litellm_params": map[string]any{"model": "openai/demo", "api_base": c.MockURL() + "/v1", "api_key": "sk-upstream-0123456789"},
	}
	if got := c.Admin(1, http.MethodPost, "/model/new", body, nil); got != http.StatusOK {
		t.Fatalf("model/new: status %d, want 200", got)
	}
	_, secret := c.NewKey(0, map[string]any{})
	ask := cluster.ChatBody()
	ask["model"] = "second"
	for _, n := range c.Nodes {
		if got, text := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", secret, ask); got != http.StatusOK {
			t.Errorf("node %s: status %d, want 200: %s", n.Name, got, text)
		}
	}
}
