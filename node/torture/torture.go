// Package torture holds the money against everything that can go wrong: it drives the real
// Apply and the real leases of the budgets through random schedules, and looks after each step
// whether a budget could be overspent or a bill could be lost. A schedule is repeatable by its
// number.
package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// Config says which schedules to run.
type Config struct {
	Dir       string // for their state; it is emptied of what they leave
	First     uint64 // number of the first one, from 1; 0: 1
	Schedules uint64 // how many; 0: until the context ends
	Workers   int    // at a time; 0: one for each processor
	// Each is called after every ten schedules with how many were done; nil: nobody asks.
	Each func(done uint64)
	// Steps is told what happens in the last schedule; nil: nobody reads along.
	Steps func(string)
}

// Result is what schedules came to.
type Result struct {
	Schedules uint64
	Admitted  int64 // requests
	Refused   int64
}

// Broken says that a schedule broke what must hold.
type Broken struct {
	Schedule uint64
	What     string // and the steps before it
}

// Error implements error.
func (b *Broken) Error() string { return fmt.Sprintf("schedule %d: %s", b.Schedule, b.What) }

// Run runs schedules: requests, ticks that are lost, repeated and reordered, replicas that lag,
// processes that are killed with and without the end of their journal, members that are removed
// and go on spending, limits that change, increases that end, and windows that end while all is
// down. After each step it holds the state against what the provider billed:
//
//   - no spend is lost, and none is counted twice: the state's totals and accounts are exactly
//     the journal records that its ticks cover, and with the rest of the journals they are no
//     less than the bill;
//   - what is spent and what may still be billed never exceed the limit, the nodes' overdrafts
//     and the overruns together, in each window of each account;
//   - the increase of a limit ends with its moment, and all leases that came of it;
//   - at the end, when all is well again, what the budget has left is served.
//
// It stops at the first *Broken, or when ctx ends, which is no error.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if cfg.First == 0 {
		cfg.First = 1
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	r := &runner{cfg: cfg}
	r.next.Store((cfg.First - 1) / perArena * perArena)
	var wg sync.WaitGroup
	for range cfg.Workers {
		wg.Go(func() { r.work(ctx) })
	}
	wg.Wait()
	out := Result{Schedules: r.done.Load(), Admitted: r.admitted.Load(), Refused: r.refused.Load()}
	if err := r.failed.Load(); err != nil {
		return out, *err
	}
	return out, nil
}

// runner is a Run under way.
type runner struct {
	cfg               Config
	next, done        atomic.Uint64 // schedules begun, counted from 0, and those that count as run
	admitted, refused atomic.Int64
	failed            atomic.Pointer[error]
}

// last is the number of the last schedule; 0: there is none.
func (r *runner) last() uint64 {
	if r.cfg.Schedules == 0 {
		return 0
	}
	return r.cfg.First + r.cfg.Schedules - 1
}

// work runs arenas until there is nothing more to do.
func (r *runner) work(ctx context.Context) {
	for ctx.Err() == nil && r.failed.Load() == nil {
		first := r.next.Add(perArena) - perArena + 1
		if r.last() != 0 && first > r.last() {
			return
		}
		if err := r.arena(ctx, first); err != nil {
			r.failed.CompareAndSwap(nil, &err)
			return
		}
		if r.cfg.Each != nil {
			r.cfg.Each(r.done.Load())
		}
	}
}

// arena runs the schedules that share a state machine with the first one, for what a schedule
// finds there is part of it.
func (r *runner) arena(ctx context.Context, first uint64) (err error) {
	dir := filepath.Join(r.cfg.Dir, fmt.Sprintf("arena-%d", first))
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	a, err := newArena(dir, begins)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.f.Close()) }()
	for seed := first; seed < first+perArena && (r.last() == 0 || seed <= r.last()); seed++ {
		if ctx.Err() != nil || r.failed.Load() != nil {
			return nil
		}
		var say func(string)
		if seed == r.last() {
			say = r.cfg.Steps
		}
		w := a.run(seed, say)
		if seed < r.cfg.First {
			continue // it only made the arena what it is
		}
		r.done.Add(1)
		r.admitted.Add(int64(w.admitted))
		r.refused.Add(int64(w.refused))
		if w.bad != "" {
			return &Broken{Schedule: seed, What: w.bad}
		}
	}
	return nil
}
