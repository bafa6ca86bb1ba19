package sign

import (
	"context"
	"sync"
	"time"
)

const (
	maxKept      = 1024             // accounts whose tokens are kept; a catalog has fewer
	renewPause   = 10 * time.Second // between fetches while what is kept is still good
	renewBefore  = 2 * time.Minute  // the end of what is kept
	renewTimeout = 30 * time.Second // of fetching
)

// keeper keeps what accounts have fetched until shortly before it expires. One request at a time
// fetches for an account; the others wait, or use what is still good.
type keeper[T any] struct {
	now func() time.Time

	mu   sync.Mutex          // guards list
	list map[string]*kept[T] // by Account.identity
}

func newKeeper[T any](now func() time.Time) *keeper[T] {
	return &keeper[T]{now: now, list: make(map[string]*kept[T])}
}

// kept is what one account has.
type kept[T any] struct {
	mu     sync.Mutex // guards what follows
	value  T
	until  time.Time
	err    error         // of the last fetch
	tried  time.Time     // when it began
	flight chan struct{} // closed when the fetch that is under way ends; nil: none is
}

// get returns what the account has, fetched anew if it is about to expire. fetch outlives the
// request that happens to need it.
func (k *keeper[T]) get(ctx context.Context, a *Account, fetch func(context.Context) (T, time.Time, error)) (T, error) {
	e := k.of(a)
	now := k.now()
	e.mu.Lock()
	if now.Before(e.until.Add(-renewBefore)) {
		defer e.mu.Unlock()
		return e.value, nil
	}
	good, value := now.Before(e.until), e.value
	if e.flight == nil && (!good || now.Sub(e.tried) >= renewPause) {
		e.flight, e.tried = make(chan struct{}), now
		go e.renew(context.WithoutCancel(ctx), fetch)
	}
	flight := e.flight
	e.mu.Unlock()
	if good {
		return value, nil
	}
	select {
	case <-flight:
	case <-ctx.Done():
		return value, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.value, e.err
}

// of is what the account has. Accounts that say the same share it, so that what was fetched
// outlives the catalog; those that are gone are forgotten at times.
func (k *keeper[T]) of(a *Account) *kept[T] {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := a.identity()
	e, ok := k.list[id]
	if !ok {
		if len(k.list) >= maxKept {
			clear(k.list)
		}
		e = new(kept[T])
		k.list[id] = e
	}
	return e
}

// renew fetches. What was there stays if that fails.
func (e *kept[T]) renew(ctx context.Context, fetch func(context.Context) (T, time.Time, error)) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	value, until, err := fetch(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err = err; err == nil {
		e.value, e.until = value, until
	}
	close(e.flight)
	e.flight = nil
}
