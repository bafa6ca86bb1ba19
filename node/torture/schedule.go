package torture

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/raft" //nolint:depguard // plays the part of the consensus

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// begins is when schedules begin: two days before summer time in Europe.
var begins = time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)

const (
	perArena = 10 // schedules that share a state machine
	steps    = 90
	maxSkew  = 5 * time.Second // of a node's clock, either way
)

// arena is a state machine that some schedules use one after the other.
type arena struct {
	f     *fsm.FSM
	index uint64
	now   time.Time
	nodes []*simNode // members that have not been removed
	made  int        // members ever
}

func newArena(dir string, now time.Time) (*arena, error) {
	f, err := fsm.Open(fsm.Config{Dir: dir, NodeID: "n1", BootID: "run", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("open a state machine for schedules: %w", err)
	}
	a := &arena{f: f, now: now}
	a.apply(master, 0, fsm.Bootstrap{ClusterID: "c1", MasterHash: resource.HashSecret("master"), KEKID: "k", DEKID: "d", DEK: []byte{1}})
	return a, nil
}

var master = fsm.Actor{Kind: "master"}

// apply is one entry of the log, proposed by a leader whose clock is off by the skew.
func (a *arena) apply(by fsm.Actor, skew time.Duration, cmd fsm.Command) fsm.Applied {
	a.index++
	env := fsm.Envelope{At: resource.At(a.now.Add(skew)), Actor: by, ReadIndex: a.index - 1}
	binary.BigEndian.PutUint64(env.CommandID[:], a.index)
	b, err := fsm.Encode(env, cmd)
	if err != nil {
		panic(err)
	}
	r, _ := a.f.Apply(&raft.Log{Index: a.index, Term: 1, Type: raft.LogCommand, Data: b}).(fsm.Applied)
	return r
}

// join adds a member.
func (a *arena) join() *simNode {
	a.made++
	n := &simNode{id: fmt.Sprintf("n%d", a.made), epochs: map[int]uint64{}, torn: map[uint64]bool{}}
	member := resource.Member{Meta: resource.Meta{ID: n.id}, Name: n.id, Address: n.id + ":1", FSMVersion: 1}
	if r := a.apply(n.actor(), 0, fsm.RegisterMember{Member: member}); r.Err != nil {
		panic(r.Err)
	}
	a.nodes = append(a.nodes, n)
	return n
}

// place is one window of one account as the provider sees it.
type place struct {
	account resource.AccountID
	start   resource.Time
}

type standing struct {
	spent    resource.Money
	open     resource.Money // may still be billed
	overruns resource.Money
	peak     resource.Money // of both, before an increase ended
}

// world is one schedule.
type world struct {
	*arena
	r    *rand.Rand
	seed uint64
	log  func(string)      // is told each step; nil: nobody reads along
	bad  string            // the first thing that was wrong, with the steps before it; "": nothing
	past [12]func() string // the last steps; the newest is at said-1
	said int

	who       *resource.Principal // as the state has it
	cat       *resource.Catalog
	overdraft resource.Money
	share     bool
	unit      resource.Unit
	most      map[resource.AccountID]resource.Money // the highest limit, increases included
	base      map[resource.AccountID]resource.Money // the highest limit without them
	raised    resource.Time                         // when the last increase ends
	ever      int                                   // nodes that took part

	at       map[place]*standing
	gone     []*simNode     // removed members, which go on spending
	wire     []fsm.Tick     // all that was ever sent
	billed   resource.Money // dollars, whatever the unit
	lost     resource.Money // billed, and gone with the end of a journal
	admitted int
	refused  int
}

func (a *arena) run(seed uint64, log func(string)) *world {
	w := &world{
		arena: a, r: rand.New(rand.NewPCG(seed, 7)), seed: seed, log: log, //nolint:gosec // schedules repeat by their number
		most: map[resource.AccountID]resource.Money{}, base: map[resource.AccountID]resource.Money{}, at: map[place]*standing{},
		cat: resource.NewCatalog(resource.Tables{}),
	}
	w.begin()
	for range w.r.IntN(4) {
		w.round()
	}
	for range steps {
		before := w.extent()
		w.step()
		if w.extent() != before {
			w.check()
		}
		if w.bad != "" {
			return w
		}
	}
	w.heal()
	w.end()
	return w
}

// say keeps what happens. It is put into words only when somebody wants to read it.
func (w *world) say(format string, args ...any) {
	w.past[w.said%len(w.past)] = func() string { return fmt.Sprintf(format, args...) }
	w.said++
	if w.log != nil {
		w.log(fmt.Sprintf(format, args...))
	}
}

// failf keeps the first thing that is wrong.
func (w *world) failf(format string, args ...any) {
	if w.bad != "" {
		return
	}
	var last []string
	for i := max(0, w.said-len(w.past)); i < w.said; i++ {
		last = append(last, w.past[i%len(w.past)]())
	}
	w.bad = fmt.Sprintf("%s\nlast steps:\n  %s", fmt.Sprintf(format, args...), strings.Join(last, "\n  "))
}

// chance is true one time in n.
func (w *world) chance(n int) bool { return w.r.IntN(n) == 0 }

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

// begin makes the holders and starts the processes.
func (w *world) begin() {
	count := 2 + w.r.IntN(2)
	for len(w.nodes) < count {
		w.join()
	}
	w.overdraft = pick(w.r, 0, 0, resource.Money(20))
	w.share = w.chance(8)
	w.unit = pick(w.r, resource.UnitUSD, resource.UnitUSD, resource.UnitTokens)
	per := pick(w.r, resource.PerTotal, resource.PerHour, resource.PerDay, resource.PerWeek, resource.PerMonth)
	zone := pick(w.r, "", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
	key := &resource.Key{Meta: resource.Meta{ID: fmt.Sprint("key_", w.seed)}, TeamID: fmt.Sprint("team_", w.seed), Hash: resource.HashSecret(fmt.Sprint("sk-", w.seed))}
	limit := 10 + resource.Money(w.r.IntN(150))
	key.Budgets = []resource.Terms{w.terms(per, zone, limit)}
	team := &resource.Team{Meta: resource.Meta{ID: key.TeamID}, Name: key.TeamID}
	team.Budgets = []resource.Terms{w.terms(resource.PerTotal, "", limit+resource.Money(w.r.IntN(300)))}
	team.Canonicalize()
	w.who = &resource.Principal{}
	for _, n := range w.nodes {
		w.ever++
		n.reset()
		w.start(n)
		w.openEpoch(n)
		w.closeEpochs(n) // of the schedule before
	}
	w.putTeam(team)
	w.putKey(key)
	w.say("%d nodes, key %+v, team %+v", count, w.who.Key.Budgets, w.who.Team.Budgets)
}

func (w *world) terms(per resource.Per, zone string, limit resource.Money) resource.Terms {
	t := resource.Terms{Per: per, Zone: zone, USD: limit, Overdraft: w.overdraft}
	if w.unit == resource.UnitTokens {
		n := int64(limit)
		t.USD, t.Tokens, t.Overdraft = 0, &n, w.overdraft*resource.Dollar
	}
	if w.share {
		t.NoQuorum = resource.NoQuorumShare
	}
	return t
}

// putKey writes the key, and says whether it may have what it is given.
func (w *world) putKey(k *resource.Key) bool {
	k.Canonicalize()
	enc, err := fsm.EncodedOf(*k)
	if err != nil {
		panic(err)
	}
	var read uint64
	if old, ok := w.f.Key(k.ID); ok {
		read = old.Version
	}
	windows, err := fsm.Windows(resource.HolderKey, k.ID, &k.Allowance, nil, w.now)
	if err != nil {
		panic(err)
	}
	if a := w.applyAll(master, fsm.PutKey{Key: enc, Read: read, Windows: windows}); errors.As(a.Err, new(*resource.Invalid)) {
		return false // more than the team has
	} else {
		w.must(a)
	}
	w.note(resource.HolderKey, k.ID, &k.Allowance)
	stored, _ := w.f.Key(k.ID)
	next := &resource.Principal{Key: stored, Team: w.who.Team}
	w.who = next
	w.tell()
	return true
}

func (w *world) putTeam(t *resource.Team) {
	enc, err := fsm.EncodedOf(*t)
	if err != nil {
		panic(err)
	}
	w.note(resource.HolderTeam, t.ID, &t.Allowance)
	w.must(w.applyAll(master, fsm.PutTeam{Team: enc}))
	w.who = &resource.Principal{Team: t}
}

// note keeps what the limits have been at most.
func (w *world) note(kind, id string, a *resource.Allowance) {
	for i := range a.Budgets {
		t := &a.Budgets[i]
		account := resource.Account(kind, id, t.Name)
		w.most[account] = max(w.most[account], t.Limit(0))
		w.base[account] = max(w.base[account], t.Limit(resource.At(w.now.AddDate(100, 0, 0))))
	}
}

func (w *world) must(a fsm.Applied) {
	if a.Err != nil {
		w.failf("refused: %v", a.Err)
	}
}

// applyAll is an entry of a leader whose clock is off a little, on its way to every replica.
func (w *world) applyAll(by fsm.Actor, cmd fsm.Command) fsm.Applied {
	a := w.apply(by, time.Duration(w.r.Int64N(int64(maxSkew))), cmd)
	w.tell()
	return a
}

// tell puts the state after the last entry on its way to every replica of a process that
// runs; one that starts begins with the newest.
func (w *world) tell() {
	for _, n := range w.nodes {
		if n.up {
			n.feed = append(n.feed, w.news(n))
		}
	}
}

func (w *world) news(n *simNode) news {
	return news{index: w.index, who: w.who, leases: w.f.LeasesOf(n.id)}
}

// extent is how much the state, the journals and the bill have grown to. While it is the same
// there is nothing new to check.
type extent struct {
	index, written uint64
	billed, lost   resource.Money
}

func (w *world) extent() extent {
	e := extent{index: w.index, billed: w.billed, lost: w.lost}
	for _, n := range w.nodes {
		e.written += n.number
	}
	for _, n := range w.gone {
		e.written += n.number
	}
	return e
}

// bound is what may be spent of an account's window.
func (w *world) bound(limit resource.Money, s *standing) resource.Money {
	b := limit + resource.Money(w.ever)*w.overdraft + s.overruns
	if w.share {
		b += resource.Money(w.ever) * (limit/resource.Money(nodesToldOf) + 1)
	}
	return b
}

// check holds the state against the truth.
func (w *world) check() {
	for p, s := range w.at {
		if b := w.bound(w.most[p.account], s); s.spent+s.open > b {
			w.failf("spent %d and may spend %d of %s from %d, bound %d", s.spent, s.open, p.account, p.start, b)
		}
	}
	covered, rest := w.books()
	total := w.f.Totals(resource.HolderKey, w.who.Key.ID)
	if total.Cost != covered.cost || total.Requests != covered.requests {
		w.failf("the state has %d for %d requests, its ticks cover %d for %d", total.Cost, total.Requests, covered.cost, covered.requests)
	}
	if total.Cost+rest.cost+w.lost < w.billed {
		w.failf("the state has %d, the journals %d more, %d was lost, the bill is %d", total.Cost, rest.cost, w.lost, w.billed)
	}
	for _, holder := range []string{"key/" + w.who.Key.ID, "team/" + w.who.Team.ID} {
		for _, a := range w.f.Accounts(holder) {
			w.checkAccount(&a, covered.charges[place{a.ID, a.Window.Start}])
		}
	}
}

func (w *world) checkAccount(a *fsm.Account, covered resource.Money) {
	p := place{a.ID, a.Window.Start}
	s := cmp.Or(w.at[p], &standing{})
	if got, b := a.Settled+a.Presumed+a.Granted, w.bound(w.most[a.ID], s); got > b {
		w.failf("settled %d, presumed %d, leased %d of %s, bound %d", a.Settled, a.Presumed, a.Granted, a.ID, b)
	}
	if a.Settled > covered || (w.overdraft == 0 && !w.share && a.Settled != covered) {
		w.failf("settled %d of %s from %d, its ticks cover %d", a.Settled, a.ID, a.Window.Start, covered)
	}
}

// end takes the holders away and closes what the schedule left of its nodes.
func (w *world) end() {
	w.must(w.apply(master, maxSkew, fsm.DeleteKey{ID: w.who.Key.ID}))
	w.must(w.apply(master, maxSkew, fsm.DeleteTeam{ID: w.who.Team.ID}))
	w.now = w.now.Add(3 * maxSkew) // entries never run back
}
