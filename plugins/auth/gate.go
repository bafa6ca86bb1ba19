package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// maxKept bounds the answers that are kept of one plugin.
const maxKept = 20_000

// Request is what a request came with, all of it; the Gate gives a plugin what it may see.
type Request struct {
	Secret  string // the credential; "": there is none
	Header  http.Header
	Method  string
	Path    string
	Address string // of the client; "": it cannot be told
}

// GateConfig configures a Gate.
type GateConfig struct {
	Now        func() time.Time      // nil: clock.Now
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// Gate asks auth plugins, and keeps their answers under a keyed hash of what they depend on. It may be
// used concurrently.
type Gate struct {
	now     func() time.Time
	key     []byte // of the hashes: what is kept tells nothing about credentials
	metrics gateMetrics
	flights singleflight.Group

	mu    sync.RWMutex // guards what follows
	named map[string]*named
}

type gateMetrics struct {
	asked   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// named is one auth plugin as it runs.
type named struct {
	pool session.Pool[*Client]

	mu          sync.Mutex // guards what follows
	described   bool       // a process has described itself
	description Description
	kept        map[[sha256.Size]byte]kept
	epoch       uint64 // counts the processes: an answer of an older one is not kept
}

// kept is an answer, until its time has come.
type kept struct {
	answer Answer
	until  time.Time
}

// NewGate makes a Gate that knows no plugin.
func NewGate(cfg GateConfig) *Gate {
	g := &Gate{now: cfg.Now, key: make([]byte, 32), named: make(map[string]*named), metrics: gateMetrics{
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_auth_plugin_answers_total", Help: "What auth plugins said of requests: identity, refused, left, error; kept answers count as kept.",
		}, []string{"auth", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "conclave_auth_plugin_seconds", Help: "Time of questions to auth plugins that were asked.", Buckets: prometheus.ExponentialBuckets(50e-6, 4, 9),
		}, []string{"auth"}),
	}}
	if g.now == nil {
		g.now = clock.Now
	}
	_, _ = rand.Read(g.key) // never fails
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(g.metrics.asked, g.metrics.seconds)
	}
	return g
}

// Set says that a process serves the auth plugin with the name from now on. What was kept of the one
// before it is forgotten.
func (g *Gate) Set(name string, instance int, c *Client, d Description) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.named[name]
	if n == nil {
		n = &named{}
		g.named[name] = n
	}
	n.mu.Lock()
	n.described, n.description, n.kept = true, d, nil
	n.epoch++
	n.mu.Unlock()
	n.pool.Set(instance, c)
}

// Drop says that the process does not serve it any more.
func (g *Gate) Drop(name string, instance int, c *Client) {
	if n := g.of(name); n != nil {
		n.pool.Drop(instance, c)
	}
}

// Forget says that there is no auth plugin of the name any more; if another one has it already, that
// stays.
func (g *Gate) Forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.named[name]; n != nil && n.pool.Running() {
		return
	}
	delete(g.named, name)
	g.metrics.asked.DeletePartialMatch(prometheus.Labels{"auth": name})
	g.metrics.seconds.DeletePartialMatch(prometheus.Labels{"auth": name})
}

// Running says whether a process serves it.
func (g *Gate) Running(name string) bool {
	n := g.of(name)
	return n != nil && n.pool.Running()
}

func (g *Gate) of(name string) *named {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.named[name]
}

// describe returns what the plugin says of itself, and which of its processes says so.
func (n *named) describe() (d Description, epoch uint64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.description, n.epoch, n.described
}

// Ask asks the auth plugin of the record about a request. A plugin that does not want credentials
// leaves them to others. An error says that it could not be asked, or that its answer makes no sense.
func (g *Gate) Ask(ctx context.Context, a *resource.Auth, r *Request) (Answer, error) {
	n := g.of(a.Name)
	if n == nil {
		return Answer{}, fmt.Errorf("auth plugin %s: %w", a.Name, ErrNotRunning)
	}
	d, epoch, described := n.describe()
	if described && !slices.Contains(d.Hooks, HookCredential) {
		return Answer{}, nil
	}
	cred, at := g.credential(a, &d, r)
	if answer, ok := n.find(at, g.now()); ok {
		g.metrics.asked.WithLabelValues(a.Name, "kept").Inc()
		return answer, nil
	}
	flight := g.flights.DoChan(string(at[:]), func() (any, error) {
		return g.ask(n, a, cred, at, epoch)
	})
	select {
	case done := <-flight:
		answer, _ := done.Val.(Answer)
		return answer, done.Err
	case <-ctx.Done():
		return Answer{}, context.Cause(ctx)
	}
}

// ask asks once for all that wait for the same. It does not end with the request that began it.
func (g *Gate) ask(n *named, a *resource.Auth, cred *Credential, at [sha256.Size]byte, epoch uint64) (answer Answer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(a.DeadlineMS)*time.Millisecond)
	defer cancel()
	began := g.now()
	err = n.pool.Each(func(c *Client) (err error) {
		answer, err = c.Authenticate(ctx, cred)
		return err
	})
	g.metrics.seconds.WithLabelValues(a.Name).Observe(g.now().Sub(began).Seconds())
	g.metrics.asked.WithLabelValues(a.Name, result(&answer, err)).Inc()
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %d ms", a.DeadlineMS)
		}
		return Answer{}, fmt.Errorf("auth plugin %s: %w", a.Name, err)
	}
	n.keep(at, answer, began, time.Duration(a.CacheSeconds)*time.Second, epoch)
	return answer, nil
}

// Key asks the auth plugin of the record about a key that is being made or changed. One that does not want
// to be asked has nothing against it, and fills nothing in.
func (g *Gate) Key(ctx context.Context, a *resource.Auth, d *KeyDraft) (v KeyVerdict, err error) {
	n := g.of(a.Name)
	if n == nil {
		return KeyVerdict{}, fmt.Errorf("auth plugin %s: %w", a.Name, ErrNotRunning)
	}
	if about, _, described := n.describe(); described && !slices.Contains(about.Hooks, d.Hook) {
		return KeyVerdict{}, nil
	}
	err = n.pool.Each(func(c *Client) (err error) {
		v, err = c.Key(ctx, d)
		return err
	})
	if err != nil {
		return KeyVerdict{}, fmt.Errorf("auth plugin %s: %w", a.Name, err)
	}
	return v, nil
}

func result(a *Answer, err error) string {
	switch {
	case err != nil:
		return "error"
	case a.Identity != nil:
		return "identity"
	case a.Refusal != nil:
		return "refused"
	}
	return "left"
}

// credential is what the plugin may see of the request, and the keyed hash of it.
func (g *Gate) credential(a *resource.Auth, d *Description, r *Request) (*Credential, [sha256.Size]byte) {
	h := hmac.New(sha256.New, g.key)
	put(h, a.ID)
	_ = binary.Write(h, binary.BigEndian, a.Version) // another version of the record may let somebody else in
	c := &Credential{Header: make(map[string][]string, len(a.Headers))}
	if r.Secret != "" {
		c.Secret = secret.New(r.Secret)
	}
	put(h, r.Secret)
	for _, name := range a.Headers {
		values := r.Header[name]
		if len(values) == 0 {
			continue
		}
		c.Header[name] = values
		put(h, name)
		_ = binary.Write(h, binary.BigEndian, uint64(len(values)))
		for _, v := range values {
			put(h, v)
		}
	}
	for _, w := range []struct {
		name, value string
		to          *string
	}{{WantMethod, r.Method, &c.Method}, {WantPath, r.Path, &c.Path}, {WantAddress, r.Address, &c.Address}} {
		if slices.Contains(d.Wants, w.name) {
			*w.to = w.value
			put(h, w.name)
			put(h, w.value)
		}
	}
	var at [sha256.Size]byte
	h.Sum(at[:0])
	return c, at
}

// put hashes a text with its length, so that no two lists of texts are the same bytes.
func put(h hash.Hash, text string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(text)))
	_, _ = h.Write(n[:])
	_, _ = io.WriteString(h, text)
}

func (n *named) find(at [sha256.Size]byte, now time.Time) (Answer, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k, ok := n.kept[at]
	if !ok {
		return Answer{}, false
	}
	if !now.Before(k.until) {
		delete(n.kept, at)
		return Answer{}, false
	}
	return k.answer, true
}

// keep keeps an answer for as long as the plugin says, and most and its own end allow.
func (n *named) keep(at [sha256.Size]byte, a Answer, began time.Time, most time.Duration, epoch uint64) {
	lasts := min(a.CacheFor, most)
	if lasts <= 0 {
		return
	}
	until := began.Add(lasts)
	if a.Identity != nil && !a.Identity.ExpiresAt.IsZero() && a.Identity.ExpiresAt.Before(until) {
		until = a.Identity.ExpiresAt
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.epoch != epoch {
		return
	}
	if n.kept == nil {
		n.kept = make(map[[sha256.Size]byte]kept)
	}
	if len(n.kept) >= maxKept {
		n.makeRoomLocked(began)
	}
	n.kept[at] = kept{a, until}
}

// makeRoomLocked forgets what has had its time, and an eighth of the rest, any of them.
func (n *named) makeRoomLocked(now time.Time) {
	for at, k := range n.kept {
		if !now.Before(k.until) {
			delete(n.kept, at)
		}
	}
	for at := range n.kept {
		if len(n.kept) <= maxKept-maxKept/8 {
			return
		}
		delete(n.kept, at)
	}
}
