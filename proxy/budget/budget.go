package budget

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	shardCount = 64
	waitAtMost = 250 * time.Millisecond // for a grant
	maxScopes  = 8                      // that a Hold has room for without allocating
)

// Config says what the budgets need from their node.
type Config struct {
	Now       func() time.Time // nil: time.Now
	Ask       func()           // sends a tick at once; nil: grants come with the next one
	HasLeader func() bool      // nil: there always is one
	Nodes     func() int       // members of the cluster; nil: 1

	// Lookup reads this node's lease from the replicated state. With it, leases of accounts
	// that no request has needed take no memory. Nil: Leases keeps all that it is told.
	Lookup func(id resource.AccountID, start resource.Time) (Lease, bool)

	Logger     *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// Budgets are this node's leases. Its methods may be called concurrently.
type Budgets struct {
	cfg     Config
	metrics metrics
	seed    maphash.Seed
	shards  [shardCount]shard
	serial  atomic.Uint64
	started resource.Time
	epoch   atomic.Uint64 // whose leases count; 0: none yet
	drain   atomic.Bool
	pool    sync.Pool

	activeMu sync.Mutex // guards active; taken before an account's
	active   []*account // that a request has touched lately

	releaseMu sync.Mutex // guards the fields below
	fed       uint64     // index up to which Leases has told
	releases  []release  // applied at an index that Leases has not told of
}

type shard struct {
	mu       sync.RWMutex
	accounts map[ref]*account // guarded by mu
}

// New makes empty budgets: until SetEpoch and Leases are called, nothing that costs money
// fits but overdrafts.
func New(cfg Config) *Budgets {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Ask == nil {
		cfg.Ask = func() {}
	}
	if cfg.HasLeader == nil {
		cfg.HasLeader = func() bool { return true }
	}
	if cfg.Nodes == nil {
		cfg.Nodes = func() int { return 1 }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	b := &Budgets{cfg: cfg, seed: maphash.MakeSeed(), started: resource.At(cfg.Now())}
	for i := range b.shards {
		b.shards[i].accounts = make(map[ref]*account)
	}
	b.pool.New = func() any { return new(Hold) }
	b.metrics = newMetrics(cfg.Registerer, b)
	return b
}

// Request is what is to be admitted.
type Request struct {
	Principal *resource.Principal
	Catalog   *resource.Catalog
	Cost      resource.Money // the most that it may cost: the hold
	Free      bool           // every deployment that may serve it is free
	Unpriced  bool           // the price of one is unknown
}

// hold is what the request takes from each account.
func (r *Request) hold() resource.Money {
	switch {
	case r.Free:
		return 0
	case r.Unpriced:
		return max(0, r.Cost)
	default:
		return max(1, r.Cost) // what costs money needs room, however little
	}
}

// Reserve holds the request's cost in the window of every budget of its key and team, or
// in none. It returns an *llm.Error: OverBudget with code budget_exceeded if a hold does not
// fit, Forbidden if a budget denies what has no price, Unavailable if a budget that the
// request falls under is not in the catalog, Canceled if ctx ends. If a hold does not fit
// this node's lease but may fit what the budget has left, it waits up to 250 ms for a grant.
// The caller calls Release once, after Settle if the request was sent.
func (b *Budgets) Reserve(ctx context.Context, r Request) (*Hold, error) {
	h := b.pool.Get().(*Hold)
	h.b, h.amount, h.scopes = b, r.hold(), h.scopeRoom[:0]
	if err := b.collect(h, &r); err != nil {
		h.free()
		return nil, err
	}
	if len(h.scopes) == 0 {
		return h, nil
	}
	if miss := b.try(h, attempt{}); miss != nil {
		if err := b.wait(ctx, h); err != nil {
			err.Status = overBudgetStatus(err, r.Catalog)
			h.free()
			return nil, err
		}
	}
	return h, nil
}

// Room is the most that a hold of the request may be to fit at once into every budget that
// says clamp; false: none does. Requests that run beside it may take the room first.
func (b *Budgets) Room(r Request) (room resource.Money, ok bool) {
	h := b.pool.Get().(*Hold)
	h.b, h.scopes = b, h.scopeRoom[:0]
	defer h.free()
	if b.collect(h, &r) != nil {
		return 0, false // Reserve says why
	}
	now := b.cfg.Now()
	for i := range h.scopes {
		s := &h.scopes[i]
		if !s.terms.Clamp {
			continue
		}
		s.account.mu.Lock()
		w, err := b.windowLocked(s.account, s.terms, now)
		if err == nil {
			left := max(0, b.roomLocked(w, s.terms, attempt{})-w.consumed-w.reserved)
			if !ok || left < room {
				room, ok = left, true
			}
		}
		s.account.mu.Unlock()
	}
	return room, ok
}

func overBudgetStatus(err *llm.Error, cat *resource.Catalog) int {
	if err.Kind != llm.OverBudget || cat == nil {
		return 0
	}
	return cat.Settings().BudgetExceededStatus
}

// collect finds the accounts of the request, the key's before the team's.
func (b *Budgets) collect(h *Hold, r *Request) error {
	p := r.Principal
	if p == nil || p.Key == nil {
		return nil
	}
	if p.Key.TeamID != "" && p.Team == nil {
		return &llm.Error{Kind: llm.Unavailable, Message: "the team of the key is not known here yet", Scope: "team"}
	}
	if err := b.collectOf(h, r, holder{"key", p.Key.ID, p.Key.Name}, p.Key.Budgets, p.Key.BudgetID); err != nil {
		return err
	}
	if p.Team == nil {
		return nil
	}
	return b.collectOf(h, r, holder{"team", p.Team.ID, p.Team.Name}, p.Team.Budgets, p.Team.BudgetID)
}

// holder is whose budget it is: kind is "key" or "team".
type holder struct{ kind, id, name string }

func (b *Budgets) collectOf(h *Hold, r *Request, of holder, inline []resource.Terms, shared string) error {
	for i := range inline {
		if err := b.addScope(h, r, of, &inline[i]); err != nil {
			return err
		}
	}
	if shared == "" {
		return nil
	}
	budget, ok := r.Catalog.Budget(shared)
	if !ok {
		return &llm.Error{
			Kind: llm.Unavailable, Scope: of.kind,
			Message: fmt.Sprintf("a budget of the %s is not known here yet", of.kind),
		}
	}
	return b.addScope(h, r, of, &budget.Terms)
}

func (b *Budgets) addScope(h *Hold, r *Request, of holder, t *resource.Terms) error {
	if r.Unpriced && t.Unpriced == resource.UnpricedDeny {
		return &llm.Error{
			Kind: llm.Forbidden, Code: "model_unpriced", Scope: of.kind, NoRetry: true,
			Message: fmt.Sprintf("the model has no known price, and budget %q of %s refuses such models", t.Name, of),
		}
	}
	a := b.account(ref{of.kind, of.id, termsName(t)})
	for i := range h.scopes {
		if h.scopes[i].account == a {
			return nil // two terms of one name are one account
		}
	}
	h.scopes = append(h.scopes, scope{holder: of, terms: t, account: a})
	return nil
}

func termsName(t *resource.Terms) string {
	switch {
	case t.Name != "":
		return t.Name
	case t.Per != "":
		return string(t.Per)
	default:
		return string(resource.PerTotal)
	}
}

// String names the holder for a person.
func (h holder) String() string {
	if h.name == "" {
		return h.kind + " " + h.id
	}
	return fmt.Sprintf("%s %q (%s)", h.kind, h.name, h.id)
}

// account finds or makes an account.
func (b *Budgets) account(r ref) *account {
	s := b.shard(r)
	s.mu.RLock()
	a := s.accounts[r]
	s.mu.RUnlock()
	if a != nil {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a = s.accounts[r]; a == nil {
		a = &account{serial: b.serial.Add(1), ref: r, id: resource.Account(r.kind, r.id, r.name)}
		s.accounts[r] = a
	}
	return a
}

func (b *Budgets) shard(r ref) *shard {
	return &b.shards[maphash.String(b.seed, r.id)%shardCount]
}

// activate puts the account among those whose demand is looked at.
func (b *Budgets) activate(a *account) {
	b.activeMu.Lock()
	defer b.activeMu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.active {
		a.active = true
		b.active = append(b.active, a)
	}
}
