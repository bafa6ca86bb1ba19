package live

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	administrators = 4
	keysAtOnce     = 6
	maxKeyOps      = 24 // of one key's history, which must be short to be judged
	adminPause     = 30 * time.Millisecond
	refusedPause   = 50 * time.Millisecond
	lostPause      = 10 * time.Millisecond
)

// poolKey is a key that administrators work on.
type poolKey struct {
	id, secret string
	index      string // at which it was made
	ops        int
}

// pool is the keys in use, and all that there were.
type pool struct {
	mu   sync.Mutex // guards what follows
	now  []*poolKey
	past []*poolKey
}

// pick takes a key at random, or nil if another should be made.
func (p *pool) pick(r *rand.Rand) *poolKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.now) < keysAtOnce {
		return nil
	}
	i := r.IntN(len(p.now))
	k := p.now[i]
	if k.ops++; k.ops >= maxKeyOps {
		p.now = append(p.now[:i], p.now[i+1:]...)
		p.past = append(p.past, k)
	}
	return k
}

func (p *pool) add(k *poolKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = append(p.now, k)
}

func (p *pool) all() []*poolKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(append([]*poolKey{}, p.past...), p.now...)
}

// startLoad starts the spenders and the administrators.
func (r *run) startLoad(ctx context.Context) {
	for node := range r.c.hosts {
		for model := range r.secrets {
			r.load.Go(func() { r.spend(ctx, node, model) })
		}
	}
	for client := range administrators {
		r.load.Go(func() { r.administer(ctx, client) })
	}
}

func (r *run) running(ctx context.Context) bool {
	select {
	case <-r.stop:
		return false
	case <-ctx.Done():
		return false
	default:
		return true
	}
}

// wait waits for d or the end of the load.
func (r *run) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.stop:
	case <-ctx.Done():
	}
}

// spend sends requests to one node, up or down.
func (r *run) spend(ctx context.Context, node int, model string) {
	for r.running(ctx) {
		switch r.chat(ctx, node, model, r.secrets[model]) {
		case http.StatusOK:
		case http.StatusTooManyRequests:
			r.wait(ctx, refusedPause)
		default:
			r.wait(ctx, lostPause)
		}
	}
}

// administer makes keys, blocks, unblocks, deletes and uses them, through any node.
func (r *run) administer(ctx context.Context, client int) {
	random := rand.New(rand.NewPCG(r.cfg.Seed, uint64(client)+2)) //nolint:gosec // a load that a seed chooses
	for r.running(ctx) {
		r.act(ctx, client, random)
		r.wait(ctx, adminPause)
	}
}

// act is one thing that an administrator does.
func (r *run) act(ctx context.Context, client int, random *rand.Rand) {
	r.quiet.RLock()
	defer r.quiet.RUnlock()
	node := random.IntN(len(r.c.hosts))
	k := r.pool.pick(random)
	switch n := random.IntN(10); {
	case r.down[node].Load():
		r.wait(ctx, lostPause)
	case k == nil:
		r.create(ctx, client, node)
	case n < 3:
		r.change(ctx, client, node, k, "block", http.MethodPost, "/block")
	case n < 6:
		r.change(ctx, client, node, k, "unblock", http.MethodPost, "/unblock")
	case n < 7:
		r.change(ctx, client, node, k, "delete", http.MethodDelete, "")
	default:
		call := time.Since(r.c.began)
		status := r.chat(ctx, node, usedModel, k.secret)
		_ = r.uses.add(use{Node: node, Key: k.id, Call: call, Return: time.Since(r.c.began), Status: status}) // the run ends with the same error
	}
}

// create makes a key; one that was not acknowledged is nobody's.
func (r *run) create(ctx context.Context, client, node int) {
	var key struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	o := operation{Client: client, Node: node, Op: "create", Call: time.Since(r.c.began)}
	status, index := r.c.callAfter(ctx, node, http.MethodPost, "/api/v1/keys", masterKey, "", map[string]any{}, &key)
	if status != http.StatusCreated {
		return
	}
	o.Key, o.Return, o.Seen = key.ID, time.Since(r.c.began), "done"
	_ = r.history.add(o) // the run ends with the same error
	r.pool.add(&poolKey{id: key.ID, secret: key.Secret, index: index})
}

// change does something to a key and writes down what became of it. The node must have heard of the
// key: one that has not yet would say that there is none.
func (r *run) change(ctx context.Context, client, node int, k *poolKey, op, method, path string) {
	o := operation{Client: client, Node: node, Key: k.id, Op: op, Call: time.Since(r.c.began)}
	status, _ := r.c.callAfter(ctx, node, method, "/api/v1/keys/"+k.id+path, masterKey, k.index, nil, nil)
	o.Return = time.Since(r.c.began)
	switch {
	case status/100 == 2:
		o.Seen = "done"
	case status == http.StatusNotFound, status == http.StatusGone, status == http.StatusConflict:
		o.Seen = "gone"
	default:
		o.Seen, o.Return = "unknown", 0
	}
	_ = r.history.add(o) // the run ends with the same error
}

// readAll reads every key at every node, when nothing happens any more.
func (p *pool) readAll(ctx context.Context, r *run) {
	for _, k := range p.all() {
		for node := range r.c.hosts {
			o := operation{Client: administrators + node, Node: node, Key: k.id, Op: "read", Call: time.Since(r.c.began)}
			o.Seen = r.state(ctx, node, k.id)
			o.Return = time.Since(r.c.began)
			_ = r.history.add(o) // the run ends with the same error
		}
	}
}

// state is a key as a node has it.
func (r *run) state(ctx context.Context, node int, id string) string {
	var key struct {
		Blocked bool `json:"blocked"`
	}
	switch status := r.c.call(ctx, node, http.MethodGet, "/api/v1/keys/"+id, masterKey, nil, &key); {
	case status == http.StatusNotFound:
		return "gone"
	case status != http.StatusOK:
		return "unreadable"
	case key.Blocked:
		return "blocked"
	}
	return "live"
}

// whole says that every node is ready and votes, and that all see a leader.
func (r *run) whole(ctx context.Context) bool {
	for i := range r.c.hosts {
		leads := false
		var out struct {
			Members []member `json:"members"`
		}
		if r.c.call(ctx, i, http.MethodGet, "/api/v1/cluster", masterKey, nil, &out) != http.StatusOK {
			return false
		}
		for _, m := range out.Members {
			leads = leads || m.Leader
			if !m.Ready || !m.Voter {
				return false
			}
		}
		if !leads {
			return false
		}
	}
	return true
}

// settled says that all nodes have the same books, and no less in them than the upstream billed.
func (r *run) settled(ctx context.Context, bill map[string]*billed) bool {
	for model, b := range bill {
		first := r.books(ctx, 0, model)
		if first.Requests < b.Requests {
			return false
		}
		for i := range r.c.hosts {
			if r.books(ctx, i, model) != first {
				return false
			}
		}
	}
	return true
}

// books is what a node has of a spender's key.
func (r *run) books(ctx context.Context, node int, name string) books {
	var key struct {
		ID string `json:"id"`
	}
	var u struct {
		Items []books `json:"items"`
	}
	if r.c.call(ctx, node, http.MethodGet, "/api/v1/keys/"+name, masterKey, nil, &key) != http.StatusOK ||
		r.c.call(ctx, node, http.MethodGet, "/api/v1/usage?kind=key&id="+key.ID, masterKey, nil, &u) != http.StatusOK || len(u.Items) != 1 {
		return books{}
	}
	return u.Items[0]
}

// told is what a node says in the end.
func (r *run) told(ctx context.Context, node int) nodeBooks {
	out := nodeBooks{Node: r.c.hosts[node].name, Books: map[string]books{}, State: map[string]string{}}
	for model := range r.secrets {
		out.Books[model] = r.books(ctx, node, model)
	}
	for _, k := range r.pool.all() {
		out.State[k.id] = r.state(ctx, node, k.id)
	}
	var status struct {
		Members []member `json:"members"`
	}
	if r.c.call(ctx, node, http.MethodGet, "/api/v1/cluster", masterKey, nil, &status) == http.StatusOK {
		out.Members = status.Members
	}
	_ = r.c.call(ctx, node, http.MethodGet, "/api/v1/audit/verify", masterKey, nil, &out.Audit) // no answer: it is not verified
	return out
}
