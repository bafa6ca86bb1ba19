// Package tick carries the journal into the replicated state: it folds what a node has spent
// into ticks, which are proposed one after the other, so that each record counts exactly once.
package tick

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/resource"
)

const (
	tickEvery   = 100 * time.Millisecond
	tickAtLeast = time.Second
	tickRetry   = 200 * time.Millisecond
	trimEvery   = time.Minute
	maxDeltas   = 2000    // of one tick, about 100 kB
	maxBytes    = 1 << 20 // of the names in its deltas, before the last record
	maxDemand   = 2000    // of what it wants, and of what it gives back
)

// Tick is what one node has spent since its last one, and what it wants. It is never
// changed once it has a number.
type Tick struct {
	Node     string
	Epoch    uint64
	Seq      uint64 // from 1 in each epoch, without gaps
	From, To uint64 // journal records covered: (From, To]
	Spend    []ledger.SpendDelta
	Settle   []ledger.AccountCharge
	Want     []Want
	Release  []ledger.AccountCharge
	OldEpoch uint64 // Settle is against what this epoch left presumed; 0: against Epoch's leases
}

// Want asks for more lease of a window, and opens it if nobody has.
type Want struct {
	Account   resource.AccountID
	Window    resource.Window
	Limit     resource.Money
	Overdraft resource.Money
	Amount    resource.Money
	Need      resource.Money // the part of Amount without which a waiting request is refused
	Refused   resource.Money // the smallest hold that was refused, for it did not fit; 0: none
}

// Ack is what the replicated state knows of the node's ticks.
type Ack struct {
	Epoch uint64 // the node's current one
	Seq   uint64 // of the last tick that was applied in it
	To    uint64 // of the last tick that was applied in any
	Index uint64 // of the log; the state has applied at least it
}

// Config says what a Ticker reads and where its ticks go.
type Config struct {
	Journal *ledger.Journal // needed
	NodeID  string

	// Submit proposes the tick and returns what the replicated state knows once this node
	// has applied the entry. After an error the same tick is submitted again, but for one that wraps
	// ErrUnfit, which says that the tick cannot have been proposed: its records go in other ticks.
	Submit func(ctx context.Context, t Tick) (Ack, error)

	// Demand returns what leases the node wants and gives back; nil: none. What it returns
	// is in the next tick. It is called with a lock held and must not call the Ticker but Ask.
	Demand func() (wants []Want, releases []ledger.AccountCharge)

	// Acked is told of each tick that was applied; nil: nobody is.
	Acked func(t Tick, a Ack)

	// Settled is called after each Begin, once all records of earlier epochs are applied:
	// the old epochs can be closed, as long as the epoch is still the running one. It must not block. Nil: nobody
	// is told.
	Settled func(epoch uint64)

	// Superseded is called when the node's epoch is no longer that of the Ticker, which
	// then rests until the next Begin. Nil: nobody is told.
	Superseded func()

	Now        func() time.Time // nil: clock.Now
	Logger     *slog.Logger     // nil: slog.Default()
	Registerer prometheus.Registerer
}

// Ticker carries the journal into the replicated state, each record exactly once.
type Ticker struct {
	cfg    Config
	ctx    context.Context //nolint:containedctx // ends the goroutine's proposals at Stop
	cancel context.CancelFunc
	ask    chan struct{}
	done   chan struct{}

	metrics metrics
	trimmed time.Time // owned by run
	failing time.Time // since when ticks have not been applied, or when that was told last; 0: they are; owned by run

	mu      sync.Mutex // guards the fields below; not held while submitting
	round   uint64     // counts Begin, so that an answer to an earlier round is dropped
	epoch   uint64     // 0: not known, or superseded
	seq     uint64     // of the last tick that was numbered
	applied uint64     // seq of the last tick that was applied
	acked   uint64     // records up to here are applied
	taken   uint64     // records up to here are in pending, ready or sums
	old     bool       // records of earlier epochs are among them
	pending *Tick      // numbered and not acknowledged
	ready   []Tick     // without numbers, ascending; the sums come after them
	sums    *sums
	most    int  // deltas of one tick; fewer than maxDeltas: one was unfit, and the next has no demand
	bare    bool // batches are made with bare names
	wants   []Want
	gives   []ledger.AccountCharge // with wants: of the demand, what is not in a tick yet
	folds   ledger.Folds           // scratch
	sent    time.Time
	changed chan struct{} // closed at the next applied tick; nil: nobody waits
}

// New makes a Ticker. From now on nothing that it has not carried away is removed
// from the journal.
func New(cfg Config) *Ticker {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Demand == nil {
		cfg.Demand = func() ([]Want, []ledger.AccountCharge) { return nil, nil }
	}
	cfg.Journal.SetFloor("ticks", 0)
	ctx, cancel := context.WithCancel(context.Background())
	t := &Ticker{
		cfg: cfg, ctx: ctx, cancel: cancel, sums: newSums(), most: maxDeltas,
		ask: make(chan struct{}, 1), done: make(chan struct{}),
	}
	t.metrics = newMetrics(cfg.Registerer, t)
	return t
}

// Start begins to tick. Until Begin is called nothing is sent.
func (t *Ticker) Start() { go t.run() }

// Stop ends the ticking and waits for it.
func (t *Ticker) Stop() {
	t.cancel()
	<-t.done
}

// Ask makes the next tick go out at once.
func (t *Ticker) Ask() {
	select {
	case t.ask <- struct{}{}:
	default:
	}
}

// Begin gives the epoch of this process, or, after a restore, a new one. Acked is the number
// up to which the replicated state has this node's records; all later ones are sent, those
// of earlier epochs with OldEpoch set. When it returns, the epoch is in the journal: only
// then may leases of the epoch be used.
func (t *Ticker) Begin(epoch, acked uint64) error {
	if epoch == 0 {
		return errors.New("begin ticks: no epoch")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.cfg.Journal.SetEpoch(epoch, acked); err != nil {
		return err
	}
	t.round++
	t.epoch, t.seq, t.applied = epoch, 0, 0
	t.most, t.bare, t.wants, t.gives = maxDeltas, false, nil, nil // what the last epoch held is void
	return t.rewindLocked(acked)
}

// rewindLocked drops all batches and makes new ones of the records after acked.
func (t *Ticker) rewindLocked(acked uint64) error {
	j := t.cfg.Journal
	t.pending, t.ready, t.sums = nil, nil, newSums()
	t.acked = acked
	t.taken = j.Synced()
	j.TakeFolds(t.taken, &t.folds) // they are read from the files instead
	j.SetFloor("ticks", acked)
	if oldest := j.Oldest(); oldest > acked+1 {
		t.cfg.Logger.Error("the journal no longer has all that the replicated state lacks: what was spent in between is lost", "from", acked+1, "oldest", oldest)
	}
	if err := t.readLocked(); err != nil {
		t.epoch = 0
		return err
	}
	return nil
}

// readLocked reads the records in (acked, taken] from the files into ready, one batch or
// more for each span.
func (t *Ticker) readLocked() error {
	var owner []int // span of each of ready
	open, last := -1, uint64(0)
	epochs, err := t.cfg.Journal.Walk(t.acked, t.taken, func(r *ledger.Record, at int) {
		if t.most < maxDeltas && len(t.ready) > 0 {
			return // all is read again once the first is applied
		}
		if (open >= 0 && at != open) || t.sums.full(t.most) {
			t.closeLocked(last)
			owner = append(owner, open)
		}
		open, last = at, r.Number
		d, charges := ledger.DeltaOf(r), r.Charges
		if t.bare {
			charges = bare(&d, charges)
		}
		t.sums.add(&d, charges)
	})
	if err != nil {
		return err
	}
	if open >= 0 {
		t.closeLocked(last)
		owner = append(owner, open)
	}
	t.old = true
	before := t.epoch - 1 // for spans that never learned their epoch
	for i, e := range epochs {
		if e == 0 {
			epochs[i] = before
		} else if e < t.epoch {
			before = e
		}
	}
	for i := range t.ready {
		if e := epochs[owner[i]]; e != t.epoch {
			t.ready[i].OldEpoch = e
		}
	}
	return nil
}

// closeLocked makes a batch of the sums, which cover records up to the number.
func (t *Ticker) closeLocked(to uint64) {
	spend, settle := t.sums.lists()
	t.ready = append(t.ready, Tick{To: to, Spend: spend, Settle: settle})
	t.sums = newSums()
}

func (t *Ticker) run() {
	defer close(t.done)
	timer := time.NewTimer(tickEvery)
	defer timer.Stop()
	for {
		urgent := false
		select {
		case <-t.ctx.Done():
			return
		case <-t.ask:
			urgent = true
		case <-timer.C:
		}
		wait := tickEvery
		for {
			tick, round := t.next(urgent)
			if tick == nil {
				break
			}
			if !t.submit(tick, round) {
				wait = tickRetry
				break
			}
			urgent = false
		}
		t.trim()
		timer.Reset(wait)
	}
}

// next returns the tick to submit: the pending one, or a new one if there is anything to
// tell, or nil.
func (t *Ticker) next(urgent bool) (*Tick, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.takeLocked()
	if t.epoch == 0 {
		return nil, 0
	}
	if t.pending != nil {
		return t.pending, t.round
	}
	if len(t.ready) == 0 && t.sums.len() > 0 {
		t.closeLocked(t.taken)
	}
	tick := Tick{To: t.acked}
	if len(t.ready) > 0 {
		tick = t.ready[0]
		t.ready = t.ready[1:]
	} else if t.taken > t.acked {
		tick.To = t.taken
	}
	if t.most == maxDeltas {
		tick.Want, tick.Release = t.demandLocked()
	}
	news := len(tick.Spend)+len(tick.Settle)+len(tick.Want)+len(tick.Release) > 0
	if !news && !urgent && t.cfg.Now().Sub(t.sent) < tickAtLeast {
		return nil, 0
	}
	t.seq++
	tick.Node, tick.Epoch, tick.Seq, tick.From = t.cfg.NodeID, t.epoch, t.seq, t.acked
	t.pending = &tick
	return t.pending, t.round
}

// demandLocked takes the next part of the demand, which is asked for anew once all of it is told.
func (t *Ticker) demandLocked() (wants []Want, gives []ledger.AccountCharge) {
	if len(t.wants)+len(t.gives) == 0 {
		t.wants, t.gives = t.cfg.Demand()
	}
	w, g := min(len(t.wants), maxDemand), min(len(t.gives), maxDemand)
	wants, gives = t.wants[:w:w], t.gives[:g:g]
	t.wants, t.gives = t.wants[w:], t.gives[g:]
	return wants, gives
}

// takeLocked folds what has been settled and synced since the last time.
func (t *Ticker) takeLocked() {
	j := t.cfg.Journal
	to := j.Synced()
	if to <= t.taken {
		return
	}
	j.TakeFolds(to, &t.folds)
	t.taken = to
	if t.epoch == 0 {
		return // Begin reads them from the files
	}
	charges := t.folds.Charges
	for i := range t.folds.Items {
		f := &t.folds.Items[i]
		if t.sums.full(maxDeltas) {
			t.closeLocked(f.Number - 1)
		}
		t.sums.add(&f.Delta, charges[:f.Count])
		charges = charges[f.Count:]
	}
}

// submit sends the tick and says whether the next one may follow at once.
func (t *Ticker) submit(tick *Tick, round uint64) bool {
	now := t.cfg.Now()
	ack, err := t.cfg.Submit(t.ctx, *tick)
	if errors.Is(err, ErrUnfit) {
		return t.remake(tick, round, err)
	}
	if err != nil {
		t.metrics.ticks.WithLabelValues("lost").Inc()
		t.complain(tick, now, err)
		return false
	}
	t.failing = time.Time{}
	outcome := t.answer(tick, round, ack, now)
	t.metrics.ticks.WithLabelValues(outcome.String()).Inc()
	switch outcome {
	case tickApplied:
		if t.cfg.Acked != nil {
			t.cfg.Acked(*tick, ack)
		}
		if tick.OldEpoch == 0 { // the new epoch covers the old ones' records from here on
			t.tellSettled()
		}
	case tickSuperseded:
		if t.cfg.Superseded != nil {
			t.cfg.Superseded()
		}
	}
	return outcome == tickApplied || outcome == tickDropped
}

// outcome is what became of a submitted tick.
type outcome int

const (
	tickApplied    outcome = iota
	tickDropped            // a newer round has begun, or the records are sent anew
	tickRefused            // it is to be sent again
	tickSuperseded         // the epoch is another's
)

// String names the outcome in metrics.
func (o outcome) String() string {
	return [...]string{"applied", "dropped", "refused", "superseded"}[o]
}

// answer takes in what the replicated state knows after the tick.
func (t *Ticker) answer(tick *Tick, round uint64, ack Ack, sent time.Time) outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.round != round:
		return tickDropped
	case ack.Epoch != t.epoch:
		t.cfg.Logger.Warn("epoch of this node is superseded", "epoch", t.epoch, "by", ack.Epoch)
		t.epoch = 0
		return tickSuperseded
	case ack.Seq+1 < tick.Seq, ack.Seq < tick.Seq && ack.To != tick.From, ack.Seq >= tick.Seq && ack.To < tick.To:
		t.cfg.Logger.Warn("replicated state has other ticks of this node; what it lacks is sent again",
			"sent", tick.Seq, "applied", ack.Seq, "from", tick.From, "to", tick.To, "covered", ack.To)
		t.seq = ack.Seq
		if err := t.rewindLocked(ack.To); err != nil {
			t.cfg.Logger.Error("journal cannot be read again", "error", err)
			return tickRefused
		}
		return tickDropped
	case ack.Seq < tick.Seq:
		return tickRefused
	}
	t.sent = sent
	t.acked, t.applied, t.pending = tick.To, tick.Seq, nil
	t.cfg.Journal.SetFloor("ticks", t.acked)
	t.resumeLocked()
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
	return tickApplied
}

// tellSettled tells once that no record of an earlier epoch is left to be applied.
func (t *Ticker) tellSettled() {
	t.mu.Lock()
	tell := t.old && t.pending == nil
	for i := range t.ready {
		tell = tell && t.ready[i].OldEpoch == 0
	}
	t.old = t.old && !tell
	epoch := t.epoch
	t.mu.Unlock()
	if tell && t.cfg.Settled != nil {
		t.cfg.Settled(epoch)
	}
}

// Flush waits until all that is in the journal now is applied, and a tick with the newest
// demand. A node that stops calls it after its last request.
func (t *Ticker) Flush(ctx context.Context) error {
	target := t.cfg.Journal.Last()
	if err := t.cfg.Journal.SyncTo(target); err != nil {
		return err
	}
	t.mu.Lock()
	round, seq := t.round, t.seq
	for t.acked < target || t.applied <= seq || len(t.wants)+len(t.gives) > 0 { // what is under way has the demand of before
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		t.Ask()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-t.ctx.Done():
			return context.Canceled
		}
		t.mu.Lock()
		if t.round != round {
			round, seq = t.round, 0
		}
	}
	t.mu.Unlock()
	return nil
}

// lag is how many records are written and not applied yet.
func (t *Ticker) lag() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.cfg.Journal.Last()
	return last - min(last, t.acked)
}

// trim lets the journal remove what is old, now and then. Only run calls it.
func (t *Ticker) trim() {
	now := t.cfg.Now()
	if now.Sub(t.trimmed) < trimEvery {
		return
	}
	t.trimmed = now
	if err := t.cfg.Journal.Trim(); err != nil {
		t.cfg.Logger.Error("journal cannot be trimmed", "error", err)
	}
}
