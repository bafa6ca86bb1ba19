//go:build e2e

package faults

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// flood is more changes than a node takes.
type flood struct {
	made, busy, bad atomic.Int64
	first           atomic.Pointer[string] // answer that is none of those that may be
}

// send makes keys at a node, one after the other, until stop is closed. A refusal must say when to come again.
func (f *flood) send(url string, stop <-chan struct{}, ids *[]string) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		req, err := http.NewRequest(http.MethodPost, url+"/api/v1/keys", bytes.NewReader([]byte(`{}`)))
		if err != nil {
			panic(err) // the address is ours
		}
		req.Header.Set("Authorization", "Bearer "+cluster.MasterKey)
		req.Header.Set("Content-Type", "application/json")
		res, err := floodClient.Do(req)
		if err != nil {
			f.no(err.Error())
			continue
		}
		var key struct {
			ID   string `json:"id"`
			Code string `json:"code"`
		}
		err = json.NewDecoder(res.Body).Decode(&key)
		_ = res.Body.Close()
		switch {
		case err == nil && res.StatusCode == http.StatusCreated:
			f.made.Add(1)
			*ids = append(*ids, key.ID)
		case res.StatusCode == http.StatusTooManyRequests && key.Code == "node_busy" && res.Header.Get("Retry-After") != "",
			res.StatusCode == http.StatusServiceUnavailable && key.Code == "overloaded" && res.Header.Get("Retry-After") != "":
			f.busy.Add(1)
			select { // sooner than it was told to
			case <-stop:
			case <-time.After(50 * time.Millisecond):
			}
		default:
			f.no(res.Status + " " + key.Code)
		}
	}
}

func (f *flood) no(what string) {
	f.bad.Add(1)
	f.first.CompareAndSwap(nil, &what)
}

var floodClient = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}

// floodSenders is over twice as many as a node works on at a time.
const floodSenders = 600

// TestOverload has hundreds of clients write at one node, without a pause, while others use all nodes: what is too much is
// refused with 429 or 503 and the time to come again, there is no storm of elections, no request of the others fails, an urgent change (a block) is taken, and
// all is well at once when the flood is over. What was acknowledged is everywhere.
func TestOverload(t *testing.T) {
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	leader := c.Leader()
	tr := startTraffic(c, secret, 1)
	var f flood
	stop := make(chan struct{})
	made := make([][]string, floodSenders)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() { f.send(c.Nodes[leader].URL, stop, &made[i]) })
	}
	c.Await("some are made and some refused", 30*time.Second, func() bool { return f.made.Load() > 200 && f.busy.Load() > 200 })
	other := (leader + 1) % 3
	var blocks []time.Duration
	leaders, last := 0, c.Nodes[leader].Name
	for range 10 {
		id, s := newKeyUnder(t, c, other)
		begin := time.Now()
		if status := c.Admin(other, http.MethodPost, "/api/v1/keys/"+id+"/block", nil, nil); status/100 != 2 {
			t.Errorf("a block under the flood: status %d", status)
		}
		blocks = append(blocks, time.Since(begin))
		if got := c.Chat(other, s); got == http.StatusOK {
			t.Error("a blocked key is served")
		}
		for _, m := range c.Members(other) {
			if m.Leader && m.Name != last {
				leaders, last = leaders+1, m.Name
			}
		}
	}
	slices.Sort(blocks)
	if leaders > 2 { // on a machine that has nothing left, one may be late
		t.Errorf("the leader changed %d times", leaders)
	}
	close(stop)
	wg.Wait()
	begin := time.Now()
	if status, _ := tryKey(t, c, leader); status != http.StatusCreated {
		t.Errorf("a write after the flood: status %d", status)
	}
	t.Logf("%d keys made, %d refused; a block took %s, at worst %s; a write after the flood %s; %d changes of the leader", f.made.Load(), f.busy.Load(),
		blocks[len(blocks)/2].Round(time.Millisecond), blocks[len(blocks)-1].Round(time.Millisecond), time.Since(begin).Round(time.Millisecond), leaders)
	if n := f.bad.Load(); n != 0 {
		t.Errorf("%d other answers, the first: %s", n, *f.first.Load())
	}
	tr.end()
	for i, n := range c.Nodes {
		if lost := tr.lost[i].Load(); lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", n.Name, lost)
		}
	}
	for i := range c.Nodes {
		c.Await("all keys that were acknowledged are on node "+c.Nodes[i].Name, 30*time.Second, func() bool {
			have := keyIDs(c, i)
			return !slices.ContainsFunc(slices.Concat(made...), func(id string) bool { return !have[id] })
		})
	}
}

// newKeyUnder makes a key on a node, however often it is refused.
func newKeyUnder(t *testing.T, c *cluster.Cluster, node int) (id, secret string) {
	t.Helper()
	var out struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	c.Await("a key is made", 20*time.Second, func() bool {
		return c.Admin(node, http.MethodPost, "/api/v1/keys", map[string]any{}, &out) == http.StatusCreated
	})
	return out.ID, out.Secret
}
