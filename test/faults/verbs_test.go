//go:build e2e

package faults

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestCluster_Verbs asks for everything that can be done with the cluster and its nodes: tried without being done, by somebody who may not, of
// a node that there is not, where it would cost the quorum, and without a leader. What was done is in the audit log.
func TestCluster_Verbs(t *testing.T) {
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	leader := c.Leader()
	at, other := (leader+1)%3, (leader+2)%3
	base := c.Nodes[at].URL + "/api/v1/cluster"
	call := func(key, method, path string) (int, string) {
		var in any
		if method == http.MethodPost {
			in = map[string]any{}
		}
		status, text := cluster.CallRaw(t, method, base+path, key, in)
		return status, string(text)
	}
	changes := []struct{ method, path string }{
		{http.MethodDelete, "/nodes/NODE"},
		{http.MethodPost, "/nodes/NODE/promote"},
		{http.MethodPost, "/nodes/NODE/demote"},
		{http.MethodPost, "/nodes/NODE/drain"},
		{http.MethodPost, "/nodes/NODE/undrain"},
		{http.MethodPost, "/nodes/NODE/replace"},
		{http.MethodPost, "/join-tokens"},
		{http.MethodPost, "/transfer"},
		{http.MethodPost, "/rotate/kek"},
		{http.MethodPost, "/rotate/dek"},
		{http.MethodPost, "/rotate/ca"},
		{http.MethodPost, "/rotate/gossip"},
		{http.MethodPost, "/rotate/node-certs"},
	}
	index := func() (n float64) {
		var out struct {
			Items []struct {
				Number float64 `json:"number"`
			} `json:"items"`
		}
		c.Admin(at, http.MethodGet, "/api/v1/audit?limit=1", nil, &out)
		if len(out.Items) > 0 {
			n = out.Items[0].Number
		}
		return n
	}
	before := index()
	for _, v := range changes {
		if status, text := call(cluster.MasterKey, v.method, strings.Replace(v.path, "NODE", c.Nodes[other].Name, 1)+"?dry_run=true"); status/100 != 2 {
			t.Errorf("%s %s, tried: %d %s", v.method, v.path, status, text)
		}
		if status, text := call(secret, v.method, strings.Replace(v.path, "NODE", c.Nodes[other].Name, 1)); status != http.StatusForbidden && status != http.StatusUnauthorized {
			t.Errorf("%s %s with a key without a role: %d %s", v.method, v.path, status, text)
		}
		if !strings.Contains(v.path, "NODE") {
			continue
		}
		if status, text := call(cluster.MasterKey, v.method, strings.Replace(v.path, "NODE", "nobody", 1)); status != http.StatusNotFound {
			t.Errorf("%s %s of a node that there is not: %d %s", v.method, v.path, status, text)
		}
	}
	for _, path := range []string{"", "/nodes", "/nodes/" + c.Nodes[other].Name, "/join-tokens", "/snapshots", "/upgrade", "/rotate", "/egress"} {
		if status, text := call(cluster.MasterKey, http.MethodGet, path); status != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, status, text)
		}
	}
	if status, text := call(cluster.MasterKey, http.MethodPost, "/recover"); status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		t.Errorf("a recovery over the network: %d %s", status, text)
	}
	c.AwaitVoters(3)
	if now := c.Leader(); now != leader {
		t.Errorf("node %s leads after what was only tried, want %s", c.Nodes[now].Name, c.Nodes[leader].Name)
	}
	if status, text := call(cluster.MasterKey, http.MethodPost, "/transfer"); status != http.StatusOK {
		t.Errorf("transfer: %d %s", status, text)
	}
	c.Await("another leads", 10*time.Second, func() bool { return c.Leader() != leader })
	if out := must(t, c, at, "audit", "list", "--kind", "node", "-o", "json"); !strings.Contains(out, "transfer") || index() <= before {
		t.Errorf("the transfer is not in the audit log: %s", out)
	}

	c.Nodes[other].Kill()
	c.Await("a change that would cost the quorum is refused, with the count", 20*time.Second, func() bool {
		status, text := call(cluster.MasterKey, http.MethodDelete, "/nodes/"+c.Nodes[leader].Name)
		return status == http.StatusConflict && strings.Contains(text, `"quorum"`) && strings.Contains(text, "1 of 2 voters")
	})
	c.Nodes[leader].Kill()
	c.Await("without a leader the answer is 503", 30*time.Second, func() bool {
		status, text := call(cluster.MasterKey, http.MethodPost, "/nodes/"+c.Nodes[other].Name+"/demote")
		return status == http.StatusServiceUnavailable && strings.Contains(text, `"no_leader"`)
	})
}
