package node_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/rotation"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// rotations drives the schedules of a cluster's nodes.
type rotations struct {
	mu    sync.Mutex
	ahead time.Duration
	looks []chan time.Time
}

func (r *rotations) edit(_ int, cfg *node.Config) {
	look := make(chan time.Time, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks = append(r.looks, look)
	cfg.Rotation = node.RotationConfig{Look: look, Now: r.now, HTTP: &http.Client{Timeout: 20 * time.Second}}
}

func (r *rotations) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.ahead)
}

func (r *rotations) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead += d
}

// look makes every node look for keys that are due, unless it is about to.
func (r *rotations) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.looks {
		select {
		case c <- time.Time{}:
		default:
		}
	}
}

// TestRotation_leaderChange ends the leader while it delivers. The next one delivers the same
// secret, and nobody ever gets another; until then the old one is valid.
func TestRotation_leaderChange(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []rotation.Delivery
	arrived, release := make(chan struct{}), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var d rotation.Delivery
		if json.NewDecoder(r.Body).Decode(&d) != nil {
			t.Error("a delivery is not JSON")
		}
		mu.Lock()
		got = append(got, d)
		first := len(got) == 1
		mu.Unlock()
		if first {
			close(arrived)
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(web.Close)
	deliveries := func() []rotation.Delivery {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
	r := &rotations{}
	c := nodetest.Config{Edit: r.edit}.Start(t, 3)
	leader := c.Leader()
	k := c.Key(0, fields{
		"name": "k", "rotation": fields{"every": "1h", "deliver": "webhook", "url": web.URL}, "rotation_key": "0123456789abcdef",
	})
	r.advance(2 * time.Hour)
	r.look()
	<-arrived
	for _, n := range c.Nodes {
		if status, body := n.Chat(k.Secret); status != 200 {
			t.Errorf("%s: the old secret before the delivery: %d %s", n.Name, status, body)
		}
	}
	leader.Kill()
	close(release)
	api := c.Leader().Admin()
	c.Await("the secret is delivered", func() bool {
		r.advance(time.Minute)
		r.look()
		now, err := api.Keys().One(t.Context(), "k")
		return err == nil && now.Hash != k.Hash && now.Next == nil
	})
	leader.Start()
	c.AwaitReady()
	all := deliveries()
	if len(all) < 2 {
		t.Fatalf("got %d deliveries, want one of each leader", len(all))
	}
	secret := all[0].Key
	for _, d := range all {
		if d.Key != secret || d.ID != all[0].ID {
			t.Errorf("another secret was delivered: %+v", d)
		}
	}
	now, err := c.Leader().Admin().Keys().One(t.Context(), "k")
	if err != nil || now.Hash != resource.HashSecret(secret) || len(now.OldHashes) != 0 {
		t.Errorf("got %+v, %v", now.Key, err)
	}
	for _, n := range c.Nodes {
		c.Await(n.Name+" knows the new secret", func() bool { status, _ := n.Chat(secret); return status == 200 })
		c.Await(n.Name+" refuses the old secret", func() bool { status, _ := n.Chat(k.Secret); return status == 401 })
	}
}
