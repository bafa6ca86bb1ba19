package budget

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	shardCount = 64
	waitAtMost = 250 * time.Millisecond // for a grant
	maxScopes  = 12                     // that a Hold has room for without allocating
)

// Config says what the budgets need from their node.
type Config struct {
	Now       func() time.Time // nil: clock.Now
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
		cfg.Now = clock.Now
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

// Reserve holds what the request may take in the window of every budget of its levels, or
// in none. It returns an *llm.Error: OverBudget if a hold does not fit, with code
// budget_exceeded, session_budget_exceeded or session_iterations_exceeded; Forbidden if a
// budget denies what has no price, Unavailable if a budget that the request falls under is
// not in the catalog, Canceled if ctx ends. If a hold does not fit this node's lease but may
// fit what the budget has left, it waits up to 250 ms for a grant. The caller calls Release
// once, after Settle if the request was sent.
func (b *Budgets) Reserve(ctx context.Context, r Request) (*Hold, error) {
	h := b.pool.Get().(*Hold)
	h.b, h.request, h.scopes = b, r, h.scopeRoom[:0]
	h.request.Levels = nil // the caller's
	if err := h.reserve(ctx, r.Levels); err != nil {
		h.free()
		return nil, err
	}
	h.base = len(h.scopes)
	return h, nil
}

// Room is the most money and tokens that a hold of the request may be to fit at once into
// every budget that says clamp, MaxRoom where none does; false: none does at all. Requests
// that run beside it may take the room first.
func (b *Budgets) Room(r Request) (room Amounts, ok bool) {
	h := b.pool.Get().(*Hold)
	h.b, h.request, h.scopes = b, r, h.scopeRoom[:0]
	defer h.free()
	if h.collect(r.Levels) != nil {
		return Amounts{}, false // Reserve says why
	}
	room = Amounts{Cost: MaxRoom, Tokens: MaxRoom}
	now := b.cfg.Now()
	for i := range h.scopes {
		if s := &h.scopes[i]; s.terms.Clamp {
			ok = b.narrow(&room, s, now) || ok
		}
	}
	return room, ok
}

// MaxRoom is the room where no budget sets a bound.
const MaxRoom = math.MaxInt64

// narrow lowers the room to what the scope has left; false: its unit bounds no request.
func (b *Budgets) narrow(room *Amounts, s *scope, now time.Time) bool {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	w, err := b.windowLocked(s.account, s.terms, now)
	if err != nil {
		return false
	}
	left := max(0, b.roomLocked(w, s.terms, attempt{}, resource.At(now))-w.consumed-w.reserved)
	switch s.terms.Unit() {
	case resource.UnitUSD:
		room.Cost = min(room.Cost, left)
	case resource.UnitTokens:
		room.Tokens = min(room.Tokens, int64(left))
	default:
		return false
	}
	return true
}

func overBudgetStatus(err *llm.Error, cat *resource.Catalog) int {
	if err.Kind != llm.OverBudget || cat == nil {
		return 0
	}
	return cat.Settings().BudgetExceededStatus
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
