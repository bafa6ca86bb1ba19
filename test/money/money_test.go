package money_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/node/torture"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

const keyID = "key_1"

// raftLog orders commands and applies them to each replica in its own time.
type raftLog struct {
	mu    sync.Mutex
	index uint64
	nodes []*node
}

// node is a replica that outlives its processes, and the process that runs now.
type node struct {
	id    string
	dir   string
	log   *raftLog
	state *fsm.FSM
	feed  chan *raft.Log
	done  chan struct{}

	mu      sync.Mutex
	results map[uint64]chan fsm.Applied
	proc    *process
}

// process is what a kill ends.
type process struct {
	n       *node
	journal *ledger.Journal
	budgets *budget.Budgets
	ticker  *tick.Ticker
	settled chan struct{}
	stop    chan struct{}
	wg      sync.WaitGroup
}

func newLog(t *testing.T, ids ...string) *raftLog {
	l := &raftLog{}
	for _, id := range ids {
		n := &node{id: id, dir: t.TempDir(), log: l, feed: make(chan *raft.Log, 1<<16), done: make(chan struct{}), results: map[uint64]chan fsm.Applied{}}
		f, err := fsm.Open(fsm.Config{Dir: filepath.Join(n.dir, "state"), NodeID: id, Watch: n.watch})
		if err != nil {
			t.Fatal(err)
		}
		n.state = f
		l.nodes = append(l.nodes, n)
		go n.apply()
	}
	return l
}

// last is the index of the newest entry.
func (l *raftLog) last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index
}

func (n *node) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

func (n *node) watch(c fsm.Change) {
	if p := n.process(); p != nil {
		p.budgets.Leases(c.Index, torture.Leases(c.Leases))
	}
}

func (n *node) apply() {
	defer close(n.done)
	r := rand.New(rand.NewPCG(uint64(n.id[1]), 1))
	for l := range n.feed {
		if r.IntN(4) == 0 {
			time.Sleep(time.Duration(r.IntN(8)) * time.Millisecond) // a replica lags
		}
		a, _ := n.state.Apply(l).(fsm.Applied)
		n.mu.Lock()
		if ch := n.results[l.Index]; ch != nil {
			delete(n.results, l.Index)
			ch <- a
		}
		n.mu.Unlock()
	}
}

// propose commits a command and waits until this node has applied it.
func (n *node) propose(by fsm.Actor, cmd fsm.Command) (fsm.Applied, error) {
	l := n.log
	l.mu.Lock()
	l.index++
	env := fsm.Envelope{At: resource.At(time.Now()), Actor: by, ReadIndex: l.index - 1}
	binary.BigEndian.PutUint64(env.CommandID[:], l.index)
	b, err := fsm.Encode(env, cmd)
	if err != nil {
		l.mu.Unlock()
		return fsm.Applied{}, err
	}
	ch := make(chan fsm.Applied, 1)
	n.mu.Lock()
	n.results[l.index] = ch
	n.mu.Unlock()
	for _, o := range l.nodes {
		o.feed <- &raft.Log{Index: l.index, Term: 1, Type: raft.LogCommand, Data: b}
	}
	l.mu.Unlock()
	a := <-ch
	return a, a.Err
}

func (n *node) start(t *testing.T) {
	p := &process{n: n, settled: make(chan struct{}, 1), stop: make(chan struct{})}
	var err error
	p.journal, err = ledger.OpenJournal(ledger.Config{Dir: filepath.Join(n.dir, "journal"), NodeID: n.id, BootID: "run", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p.budgets = budget.New(budget.Config{
		Ask: func() { p.ticker.Ask() }, Nodes: func() int { return len(n.log.nodes) },
		Lookup: func(id resource.AccountID, start resource.Time) (budget.Lease, bool) {
			l, ok := n.state.Lease(id, start)
			return torture.Lease(l), ok
		},
	})
	p.ticker = tick.New(tick.Config{
		Journal: p.journal, NodeID: n.id, Submit: p.submit, Demand: p.budgets.Demand, Acked: p.budgets.Acked,
		Settled: func(uint64) { p.settled <- struct{}{} }, Logger: slog.New(slog.DiscardHandler),
	})
	n.mu.Lock()
	n.proc = p
	n.mu.Unlock()
	p.ticker.Start()
	p.wg.Go(func() {
		if err := p.openEpoch(); err != nil {
			t.Error(err)
		}
		select {
		case <-p.settled:
			p.closeEpochs()
		case <-p.stop:
		}
	})
}

func (p *process) actor() fsm.Actor { return fsm.Actor{Kind: "node", ID: p.n.id} }

func (p *process) openEpoch() error {
	if _, err := p.n.propose(p.actor(), fsm.OpenEpoch{Node: p.n.id}); err != nil {
		return err
	}
	s, _ := p.n.state.Node(p.n.id)
	if err := p.ticker.Begin(s.Epoch, s.Covered); err != nil {
		return err
	}
	p.budgets.SetEpoch(s.Epoch)
	p.budgets.Leases(p.n.state.Applied(), torture.Leases(p.n.state.Leases()))
	return nil
}

func (p *process) closeEpochs() {
	s, _ := p.n.state.Node(p.n.id)
	for _, o := range s.Old {
		if !o.Closed {
			_, _ = p.n.propose(p.actor(), fsm.CloseEpoch{Node: p.n.id, Epoch: o.Epoch, Whole: p.journal.Whole(o.Epoch)})
		}
	}
}

func (p *process) submit(_ context.Context, t tick.Tick) (tick.Ack, error) {
	if rand.IntN(20) == 0 {
		return tick.Ack{}, errors.New("lost")
	}
	if _, err := p.n.propose(p.actor(), fsm.TickGroup{Ticks: []fsm.Tick{torture.Tick(t)}}); err != nil {
		return tick.Ack{}, err
	}
	if rand.IntN(20) == 0 {
		return tick.Ack{}, errors.New("answer lost")
	}
	s, _ := p.n.state.Node(p.n.id)
	return tick.Ack{Epoch: s.Epoch, Seq: s.Seq, To: s.Covered, Index: p.n.state.Applied()}, nil
}

// truth is what the provider billed, from its own point of view.
type truth struct {
	mu       sync.Mutex
	spent    resource.Money // billed
	open     resource.Money // may still be billed
	most     resource.Money // the largest that both together were
	served   int
	refused  int
	estimate resource.Money // charged for requests that a kill cut off
}

func (u *truth) note(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
	u.most = max(u.most, u.spent+u.open)
}

// serve is one request: hold, journal, call, settle. A request of a killed process is
// billed what the provider had done, at most its hold.
func (p *process) serve(u *truth, who *resource.Principal, cat *resource.Catalog, r *rand.Rand) {
	hold := resource.Money(1 + r.IntN(int(resource.Dollar/100)))
	h, err := p.budgets.Reserve(context.Background(), budget.Request{Levels: who.Levels(nil), Catalog: cat, Model: "demo", Most: budget.Amounts{Cost: hold}})
	if err != nil {
		u.note(func() { u.refused++ })
		return
	}
	defer h.Release()
	id, err := p.journal.Reserve(&ledger.Reservation{RequestID: fmt.Sprint(r.Uint64()), KeyID: keyID, Model: "demo", Hold: hold, Holds: h.Holds()})
	if err != nil {
		return // the journal is closed: killed before the provider was asked
	}
	u.note(func() { u.open += hold })
	time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
	cost := resource.Money(r.Int64N(int64(hold) + 1))
	err = p.journal.Settle(id, &ledger.Record{RequestID: "r", KeyID: keyID, Model: "demo", Status: 200, Cost: cost, Hold: hold, Charges: h.Settle(budget.Amounts{Cost: cost})})
	u.note(func() {
		u.open -= hold
		if err != nil { // killed: the next process charges the hold
			u.spent += hold
			u.estimate += hold
			return
		}
		u.spent += cost
		u.served++
	})
}

// kill ends the process without a last word: the journal takes no more records.
func (p *process) kill() {
	_ = p.journal.Close() // what is written stays; Close adds no record
	close(p.stop)
	p.ticker.Stop()
	p.wg.Wait()
	p.n.mu.Lock()
	p.n.proc = nil
	p.n.mu.Unlock()
}

func TestMoney_BoundAndExactlyOnce(t *testing.T) {
	t.Parallel()
	const limit = 6 * resource.Dollar
	l := newLog(t, "n1", "n2", "n3")
	first := l.nodes[0]
	master := fsm.Actor{Kind: "master"}
	must := func(_ fsm.Applied, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(first.propose(master, fsm.Bootstrap{ClusterID: "c1", MasterHash: resource.HashSecret("master"), KEKID: "k", DEKID: "d", DEK: []byte{1}}))
	for _, n := range l.nodes {
		token := resource.HashSecret(n.id)
		must(first.propose(master, fsm.PutJoinToken{Hash: token, Expires: resource.At(time.Now().Add(time.Hour))}))
		must(n.propose(fsm.Actor{Kind: "node", ID: n.id}, fsm.RegisterMember{
			Member: resource.Member{Meta: resource.Meta{ID: n.id}, Name: n.id, Address: n.id + ":1", FSMVersion: 1}, Token: token,
		}))
		n.start(t)
	}
	key := resource.Key{Meta: resource.Meta{ID: keyID}, Hash: resource.HashSecret("sk-1"), Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: limit}}}}}
	key.Canonicalize()
	enc, err := fsm.EncodedOf(key)
	if err != nil {
		t.Fatal(err)
	}
	must(first.propose(master, fsm.PutKey{Key: enc}))

	u := &truth{}
	who, cat := &resource.Principal{Key: &key}, first.state.Catalog()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if p := l.nodes[i%3].process(); p != nil {
					p.serve(u, who, cat, r)
				}
				time.Sleep(time.Duration(r.IntN(4000)) * time.Microsecond)
			}
		})
	}
	for i := range 6 { // kill them in turn
		time.Sleep(250 * time.Millisecond)
		n := l.nodes[i%3]
		n.process().kill()
		n.start(t)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		u.mu.Lock()
		enough := u.spent >= limit*92/100
		u.mu.Unlock()
		if enough {
			break
		}
	}
	close(stop)
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, n := range l.nodes {
		if err := n.process().ticker.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range l.nodes {
		if err := n.state.WaitApplied(ctx, l.last()); err != nil {
			t.Fatal(err)
		}
	}
	got := first.state.Totals("key", keyID).Cost
	account := first.state.Accounts("key/" + keyID)
	t.Logf("%d entries; limit %s: spent %s (%s of it estimated), at most %s with open holds; %d served, %d refused; account %+v",
		l.last(), limit, u.spent, u.estimate, u.most, u.served, u.refused, account)
	if u.most > limit {
		t.Errorf("spent and held %s of %s", u.most, limit)
	}
	if got != u.spent {
		t.Errorf("the state has %s, the provider billed %s", got, u.spent)
	}
	if len(account) != 1 || account[0].Settled != u.spent {
		t.Errorf("account %+v, want settled %s", account, u.spent)
	}
	if u.spent < limit*9/10 {
		t.Errorf("only %s of %s could be spent", u.spent, limit)
	}
	for _, n := range l.nodes {
		n.process().kill() // all of them, before a feed is closed: each proposes to every replica
	}
	for _, n := range l.nodes {
		close(n.feed)
		<-n.done
		if err := n.state.Close(); err != nil {
			t.Error(err)
		}
	}
}
