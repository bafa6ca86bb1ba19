package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/internal/fault"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

const epochRetry = 200 * time.Millisecond

// errReplaced says that another process of this node has opened an epoch after this one, which is about to end.
var errReplaced = errors.New("another process of this node has opened an epoch since")

// proposer commits commands.
type proposer interface {
	Propose(ctx context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error)
}

// money carries what the node spends into the replicated state and its leases back: it
// opens the process's epoch, turns the ledger's ticks into commands, and closes the epochs
// of earlier processes once their journal has been settled.
type money struct {
	nodeID  string
	state   *fsm.FSM
	propose proposer
	journal *ledger.Journal
	budgets *budget.Budgets
	ticker  *tick.Ticker
	fresh   *freshness
	boot    clock.Func
	now     func() time.Time
	log     *slog.Logger

	registry prometheus.Registerer

	life      uint64                 // of this process
	estranged uint64                 // the last epoch of which the journal may lack what was spent; 0: none
	had       func(life uint64) bool // whether a process with the life was started from this data folder
	written   uint64                 // the last record of the journal when this process began
	took      func()                 // told that this process has opened an epoch
	mine      bool                   // it has; owned by run

	opened atomic.Bool // an epoch of this process has been applied
	cancel context.CancelFunc
	begin  chan struct{} // an epoch is needed
	settle chan struct{} // old epochs can be closed
	by     atomic.Uint64 // the epoch whose ticks have settled them
	wg     sync.WaitGroup
}

// start opens an epoch in the background and begins to tick with it.
func (m *money) start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.begin, m.settle = make(chan struct{}, 1), make(chan struct{}, 1)
	m.begin <- struct{}{}
	m.ticker = tick.New(tick.Config{
		Journal: m.journal, NodeID: m.nodeID, Submit: m.submit, Demand: m.budgets.Demand,
		Acked:      m.budgets.Acked,
		Settled:    m.settled,
		Superseded: func() { signal(m.begin) },
		Logger:     m.log, Registerer: m.registry,
	})
	m.ticker.Start()
	m.wg.Go(func() { m.run(ctx) })
}

// signal wakes the receiver of a channel with room for one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it is awake already
	}
}

func (m *money) run(ctx context.Context) {
	for {
		var err error
		var again chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-m.begin:
			again, err = m.begin, m.openEpoch(ctx)
		case <-m.settle:
			again, err = m.settle, m.closeEpochs(ctx)
		}
		if err == nil {
			continue
		}
		m.log.Debug("epoch has to wait", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(epochRetry):
			signal(again)
		}
	}
}

// openEpoch takes a new epoch for this process. Until it is applied here the leases are
// void: whatever the last process held is presumed spent until its journal is settled. A process that has had an epoch takes none
// from another one, which has begun after it.
func (m *money) openEpoch(ctx context.Context) error {
	m.budgets.Void()
	before, _ := m.state.Node(m.nodeID)
	if m.mine && before.Life != 0 && before.Life != m.life {
		return errReplaced
	}
	if _, err := m.propose.Propose(ctx, m.actor(), "", fsm.OpenEpoch{Node: m.nodeID, Life: m.life, After: before.Epoch}); err != nil {
		return err
	}
	if !m.mine && before.Epoch != 0 && (before.Covered > m.written || before.Life != 0 && !m.had(before.Life)) {
		m.estranged = max(m.estranged, before.Epoch)
	}
	m.mine = true
	m.took()
	node, ok := m.state.Node(m.nodeID)
	switch {
	case !ok || node.Epoch == 0:
		return errors.New("the node is not registered yet")
	case node.Life != m.life:
		return errReplaced
	}
	if err := m.ticker.Begin(node.Epoch, node.Covered); err != nil {
		return err
	}
	m.budgets.SetEpoch(node.Epoch)
	m.tellLeases()
	m.opened.Store(true)
	m.ticker.Ask()
	return nil
}

// restored begins anew after a restore: what this process held is void, and its journal is to be
// told from where the backup ends.
func (m *money) restored() {
	m.budgets.Void()
	signal(m.begin)
}

// settled has the epochs before the given one closed.
func (m *money) settled(epoch uint64) {
	m.by.Store(epoch)
	signal(m.settle)
}

// closeEpochs ends the epochs of earlier processes. What they still hold is dropped only if
// the journal is known to be whole, and this data folder the one that all processes had. In a state that was restored meanwhile another epoch runs, and what was settled
// in the one before may be lacking.
func (m *money) closeEpochs(ctx context.Context) error {
	node, ok := m.state.Node(m.nodeID)
	by := m.by.Load()
	if !ok || node.Epoch != by {
		return nil
	}
	for _, old := range node.Old {
		if old.Closed {
			continue
		}
		whole := old.Epoch > m.estranged && m.journal.Whole(old.Epoch)
		cmd := fsm.CloseEpoch{Node: m.nodeID, Epoch: old.Epoch, Whole: whole, By: by}
		if _, err := m.propose.Propose(ctx, m.actor(), "", cmd); errors.Is(err, resource.ErrConflict) {
			return nil // another epoch runs now
		} else if err != nil {
			return err
		}
	}
	m.tellLeases() // overdrafts are back
	return nil
}

// tellLeases tells what the node holds of every window: of all of them only after the last.
func (m *money) tellLeases() {
	applied := m.state.Applied()
	m.state.EachLeases(func(ls []fsm.Lease) { m.budgets.Leases(0, leases(ls)) })
	m.budgets.Leases(applied, nil)
}

func (m *money) actor() fsm.Actor { return fsm.Actor{Kind: "node", ID: m.nodeID} }

// submit proposes one tick and tells what the state knows afterwards.
func (m *money) submit(ctx context.Context, t tick.Tick) (tick.Ack, error) {
	sent := m.boot()
	index, hash := m.state.Hash()
	out := command(t)
	out.Applied, out.Hash, out.Clock = index, hash[:], resource.At(m.now())
	if t.OldEpoch != 0 { // after a restore its windows may have to be opened again
		for _, w := range m.state.Unopened(out.Settle) {
			out.Want = append(out.Want, fsm.Want{OpenWindow: w})
		}
	}
	fault.Point(fault.TickSend)
	group := fsm.TickGroup{Ticks: []fsm.Tick{out}}
	if _, err := m.propose.Propose(ctx, m.actor(), "", group); err != nil {
		if _, never := fsm.Encode(fsm.Envelope{Actor: m.actor()}, group); never != nil {
			err = fmt.Errorf("%w: %w", tick.ErrUnfit, never)
		}
		return tick.Ack{}, err
	}
	fault.Point(fault.TickSent)
	node, _ := m.state.Node(m.nodeID)
	if node.Epoch == t.Epoch && node.Seq >= t.Seq {
		m.fresh.applied(tickMark{epoch: t.Epoch, seq: t.Seq, sent: sent})
	}
	return tick.Ack{Epoch: node.Epoch, Seq: node.Seq, To: node.Covered, Index: m.state.Applied()}, nil
}

// stop carries the rest of the journal into the state, gives the leases back as far as ctx
// allows, and ends the ticking.
func (m *money) stop(ctx context.Context) {
	m.budgets.Drain()
	if err := m.ticker.Flush(ctx); err != nil {
		m.log.Info("journal is not carried away whole; the next start does it", "error", err)
	}
	m.cancel()
	m.wg.Wait()
	m.ticker.Stop()
}

// command is the ledger's tick as the state machine's command has it.
func command(t tick.Tick) fsm.Tick {
	out := fsm.Tick{
		Node: t.Node, Epoch: t.Epoch, Seq: t.Seq, From: t.From, To: t.To, OldEpoch: t.OldEpoch,
		Settle: deltas(t.Settle), Release: deltas(t.Release),
	}
	for _, d := range t.Spend {
		out.Spend = append(out.Spend, fsm.SpendDelta(d))
	}
	for _, w := range t.Want {
		out.Want = append(out.Want, fsm.Want{
			OpenWindow: fsm.OpenWindow{Account: w.Account, Window: w.Window, Limit: w.Limit, Overdraft: w.Overdraft},
			Amount:     w.Amount,
			Need:       w.Need,
			Refused:    w.Refused,
		})
	}
	return out
}

func deltas(cs []ledger.AccountCharge) []fsm.AccountDelta {
	var out []fsm.AccountDelta
	for _, c := range cs {
		out = append(out, fsm.AccountDelta(c))
	}
	return out
}

// leases are the state's leases as the budgets take them.
func leases(ls []fsm.Lease) []budget.Lease {
	out := make([]budget.Lease, len(ls))
	for i, l := range ls {
		out[i] = leaseOf(l)
	}
	return out
}

func leaseOf(l fsm.Lease) budget.Lease {
	return budget.Lease{
		Account: l.Account, Window: l.Window, Epoch: l.Epoch, Granted: l.Granted, Settled: l.Settled,
		Limit: l.Limit, Overdraft: l.Overdraft, Beyond: l.Beyond, Headroom: l.Headroom, Recall: l.Recall,
		Raise: l.Raise, Until: l.Until, Lapsed: l.Lapsed,
	}
}
