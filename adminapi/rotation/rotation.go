// Package rotation gives keys new secrets by their schedules, once for the cluster, on the
// node that leads. A new secret is staged in the key's record first, sealed, and valid beside
// the old one; then it is delivered; only then does it take the old one's place, whose grace
// begins. A leader that follows another one goes on with the secret that is staged, so that
// an owner never gets two. Whatever fails leaves the old secret as it was, and is told.
package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

const (
	lookEvery   = 15 * time.Second // how often Run looks for keys that are due
	firstRetry  = time.Minute      // after a delivery that failed; each further one waits twice as long
	lastRetry   = time.Hour
	atOnce      = 8 // deliveries
	finishTries = 5 // against edits of the key meanwhile
	page        = 500
)

// State reads keys. *fsm.FSM implements it.
type State interface {
	Key(id string) (*resource.Key, bool)
	Keys(q fsm.ListQuery) (items []*resource.Key, next string, total int)
	Catalog() *resource.Catalog
}

// Config says what a Rotation works on. Store, State, Seal and Open are required.
type Config struct {
	NodeID string
	Store  records.Store
	State  State
	Seal   func(plaintext, kind, id, field string) (*resource.Sealed, error)
	Open   func(s *resource.Sealed, kind, id, field string) (string, error)
	// Look, if it is not nil, makes Run look for keys that are due, instead of a clock.
	Look <-chan time.Time
	// Mail sends a letter; Keep writes a secret to where the key's is stored, or else to the setting
	// rotation_store. Nil: that is not possible here.
	Mail func(ctx context.Context, l Letter) error
	Keep func(ctx context.Context, k *resource.Key, secret string) error
	// Derive makes 16 bytes of the parts that nobody without the cluster's keys can make.
	Derive func(parts ...string) ([]byte, error)
	// Fresh waits until this node has what the leader has; nil: it always has.
	Fresh      func(ctx context.Context) error
	HTTP       *http.Client          // default: ten seconds, no redirects
	Now        func() time.Time      // default: clock.Now
	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // nil: metrics go nowhere
}

// Rotation rotates secrets by their schedules. It may be used concurrently.
type Rotation struct {
	cfg     Config
	metrics *metrics

	mu    sync.Mutex // guards waits
	waits map[string]wait
}

// wait is a delivery that failed, or that its owner does not fetch.
type wait struct {
	staged resource.Hash
	tries  int
	until  time.Time
	name   string // of the key
	at     resource.Time
	err    error
}

// Waiting is a new secret that is not delivered; the old one stays.
type Waiting struct {
	KeyID, KeyName string
	At             resource.Time // it was made; 0: it could not be made
	Fetch          bool          // its owner has to fetch it; else delivering it failed
	Error          string
}

// Waiting lists the secrets that wait for delivery, as far as this node has tried: on the leader
// all of them.
func (r *Rotation) Waiting() []Waiting {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Waiting, 0, len(r.waits))
	for id, w := range r.waits {
		all = append(all, Waiting{KeyID: id, KeyName: w.name, At: w.at, Fetch: errors.Is(w.err, errWaits), Error: w.err.Error()})
	}
	return all
}

type metrics struct {
	turns   *prometheus.CounterVec
	waiting prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_key_rotations_total", Help: "Scheduled rotations of secrets by what came of them.",
		}, []string{"result"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conclave_key_rotations_waiting", Help: "New secrets that are not delivered; the old ones stay. Of the leader.",
		}),
	}
	if r != nil {
		r.MustRegister(m.turns, m.waiting)
	}
	return m
}

// New returns a Rotation. Nothing is started; see Run.
func New(cfg Config) *Rotation {
	if cfg.HTTP == nil {
		cfg.HTTP = egress.Direct(nil).Client(10 * time.Second)
		cfg.HTTP.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Mail == nil {
		cfg.Mail = func(context.Context, Letter) error { return errors.New("this node sends no mail") }
	}
	if cfg.Keep == nil {
		cfg.Keep = func(context.Context, *resource.Key, string) error { return errors.New("this node has no secret store") }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Rotation{cfg: cfg, metrics: newMetrics(cfg.Registerer), waits: map[string]wait{}}
}

// Run rotates what is due, as long as this node leads, until ctx ends.
func (r *Rotation) Run(ctx context.Context, leads func() bool) {
	look := r.cfg.Look
	if look == nil {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		look = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
		}
		if leads() {
			r.Pass(ctx, leads)
		} else {
			r.rest()
		}
	}
}

// rest forgets what only the leader knows.
func (r *Rotation) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.waits)
	r.metrics.waiting.Set(0)
}

// Pass does once what is due now, and returns when it is done or has failed.
func (r *Rotation) Pass(ctx context.Context, leads func() bool) {
	now := resource.At(r.cfg.Now())
	var wg sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for cursor := ""; ; {
		keys, next, _ := r.cfg.State.Keys(fsm.ListQuery{Due: now, Limit: page, Cursor: cursor})
		for _, k := range keys {
			if ctx.Err() != nil || !leads() {
				break
			}
			if k.Rotation == nil || k.Blocked || k.ExpiredAt(now) || r.held(k) {
				continue
			}
			room <- struct{}{}
			wg.Go(func() {
				defer func() { <-room }()
				r.rotate(ctx, k)
			})
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	wg.Wait()
	r.count(now)
}

// count tells how many secrets wait, and forgets what does not wait any more.
func (r *Rotation) count(now resource.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, w := range r.waits {
		if k, ok := r.cfg.State.Key(id); !ok || k.RotateAt == 0 || k.RotateAt > now || stagedOf(k) != w.staged {
			delete(r.waits, id)
		}
	}
	r.metrics.waiting.Set(float64(len(r.waits)))
}

// held says that a delivery has failed lately.
func (r *Rotation) held(k *resource.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, ok := r.waits[k.ID]
	return ok && w.staged == stagedOf(k) && r.cfg.Now().Before(w.until)
}

// hold notes that a secret waits; it returns the time of the next try.
func (r *Rotation) hold(k *resource.Key, err error) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waits[k.ID]
	if staged := stagedOf(k); w.staged != staged {
		w = wait{staged: staged}
	}
	w.until = r.cfg.Now().Add(min(firstRetry<<min(w.tries, 10), lastRetry))
	w.tries++
	w.name, w.err = k.Name, err
	if k.Next != nil {
		w.at = k.Next.At
	}
	r.waits[k.ID] = w
	return w.until
}

func stagedOf(k *resource.Key) resource.Hash {
	if k.Next == nil {
		return resource.Hash{}
	}
	return k.Next.Hash
}

// rotate takes one key as far as it goes now.
func (r *Rotation) rotate(ctx context.Context, k *resource.Key) {
	result, err := r.turn(ctx, k)
	if errors.Is(err, resource.ErrConflict) || errors.Is(err, resource.ErrNotFound) || ctx.Err() != nil {
		return // somebody else was faster: the next look sees what he did
	}
	r.metrics.turns.WithLabelValues(result).Inc()
	if err == nil {
		r.cfg.Logger.Info("key has a new secret", "key_id", k.ID, "key_name", k.Name)
		return
	}
	if now, ok := r.cfg.State.Key(k.ID); ok {
		k = now
	}
	until := r.hold(k, err)
	r.cfg.Logger.Error("new secret of a key is not delivered; the old one stays", "key_id", k.ID, "key_name", k.Name,
		"retry_at", until.UTC().Format(time.RFC3339), "error", err)
}

// errWaits says that the owner has not fetched the new secret.
var errWaits = errors.New("its owner has not fetched it")

func (r *Rotation) turn(ctx context.Context, k *resource.Key) (result string, err error) {
	if k.Next == nil {
		if k, err = r.stage(ctx, k); err != nil {
			return "failed", err
		}
	}
	if k.Rotation == nil || k.Next == nil {
		return "", fmt.Errorf("key %q: %w", k.ID, resource.ErrConflict)
	}
	staged := k.Next.Hash
	switch k.Rotation.Deliver {
	case resource.DeliverPickUp:
		err = errWaits
	case resource.DeliverEmail:
		err = r.mail(ctx, k)
	case resource.DeliverStore:
		err = r.keep(ctx, k)
	default:
		err = r.send(ctx, k)
	}
	if errors.Is(err, errWaits) {
		return "waiting", err
	}
	if err != nil {
		return "failed", err
	}
	if _, err := r.finish(ctx, k.ID, staged, r.actor("")); err != nil {
		return "failed", err
	}
	return "delivered", nil
}

func (r *Rotation) actor(who string) fsm.Actor {
	return fsm.Actor{Kind: "node", ID: r.cfg.NodeID, For: who}
}

// stage makes the new secret and puts it into the record, where the next leader finds it.
func (r *Rotation) stage(ctx context.Context, k *resource.Key) (*resource.Key, error) {
	secret := resource.NewSecret()
	sealed, err := r.cfg.Seal(secret, "key", k.ID, "next")
	if err != nil {
		return k, fmt.Errorf("seal new secret: %w", err)
	}
	now := resource.At(r.cfg.Now())
	n := resource.NextSecret{Hash: resource.HashSecret(secret), Hint: resource.HintOf(secret), At: now, Sealed: sealed}
	trial := *k
	trial.Stage(n)
	if err := trial.Replace(n.Hash, n.Hint, now, k.Rotation.Keeps()); err != nil {
		return k, err // it could never take the place of the old one
	}
	next := *k
	next.Stage(n)
	if _, err := r.commit(ctx, k, &next, r.actor("")); err != nil {
		return k, err
	}
	if stored, ok := r.cfg.State.Key(k.ID); ok {
		return stored, nil
	}
	return k, fmt.Errorf("key %q: %w", k.ID, resource.ErrNotFound)
}

// finish puts the staged secret in the place of the old one, whatever else of the key was
// edited meanwhile, and into the store that has the old one. Only one caller in the cluster does: for
// others it is ErrNotFound.
func (r *Rotation) finish(ctx context.Context, id string, staged resource.Hash, by fsm.Actor) (fsm.Result, error) {
	var res fsm.Result
	var err error
	for range finishTries {
		k, ok := r.cfg.State.Key(id)
		if !ok || k.Next == nil || k.Next.Hash != staged || k.Rotation == nil {
			return res, fmt.Errorf("new secret of key %q: %w", id, resource.ErrNotFound)
		}
		if k.StoredIn != "" && k.Rotation.Deliver != resource.DeliverStore {
			if err := r.keep(ctx, k); err != nil {
				return res, err
			}
		}
		next := *k
		if err := next.Replace(k.Next.Hash, k.Next.Hint, resource.At(r.cfg.Now()), k.Rotation.Keeps()); err != nil {
			return res, err
		}
		if res, err = r.commit(ctx, k, &next, by); !errors.Is(err, resource.ErrConflict) {
			return res, err
		}
	}
	return res, err
}

func (r *Rotation) commit(ctx context.Context, k, next *resource.Key, by fsm.Actor) (fsm.Result, error) {
	next.UpdatedAt, next.UpdatedBy = resource.At(r.cfg.Now()), "node/"+r.cfg.NodeID
	shared, _ := r.cfg.State.Catalog().Budget(next.BudgetID)
	put, err := records.PutKey(next, k.Version, shared, r.cfg.Now())
	if err != nil {
		return fsm.Result{}, err
	}
	cmd, ok := put.(fsm.PutKey)
	if !ok {
		return fsm.Result{}, fmt.Errorf("command of key %q is a %T", k.ID, put)
	}
	return r.cfg.Store.Propose(ctx, by, "", fsm.RotateKey(cmd))
}
