package fsm_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

const account = resource.AccountID("key/k1/total")

// spender is a node as the money rules see it: it spends what its lease allows, journals
// every request, and tells the state by ticks that may be lost, repeated or reordered.
type spender struct {
	id      string
	epoch   uint64
	view    resource.Money // V: lease as last seen, less releases on their way
	over    resource.Money // overdraft as last seen
	spent   resource.Money // c: of this epoch
	holds   []resource.Money
	seq     uint64
	outbox  []fsm.Tick // built and not seen applied; a number's content never changes
	journal []resource.Money
	told    int // journal records that built ticks cover
	old     *oldJournal
	removed bool
}

// oldJournal is what the process before left to settle.
type oldJournal struct {
	epoch   uint64
	records []resource.Money
	whole   bool
}

func (s *spender) reserved() (r resource.Money) {
	for _, h := range s.holds {
		r += h
	}
	return r
}

// model is a cluster that shares one budget.
type model struct {
	h         *harness
	t         *rapid.T
	limit     resource.Money
	overdraft resource.Money
	nodes     []*spender
	stale     []fsm.Tick     // of processes that are gone
	truth     resource.Money // what was really spent
}

func (m *model) pick() *spender {
	return m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(m.t, "node")]
}

func (m *model) amount(most resource.Money, label string) resource.Money {
	if most <= 0 {
		return 0
	}
	return resource.Money(rapid.Int64Range(0, int64(most)).Draw(m.t, label))
}

// look brings the node's view to the state's, which in the real node happens at any time.
func (m *model) look(s *spender) {
	for _, l := range m.h.f.LeasesOf(s.id) {
		if l.Account != account || l.Epoch != s.epoch {
			continue
		}
		_, seq, _, _ := m.h.f.LastTick(s.id)
		for len(s.outbox) > 0 && s.outbox[0].Seq <= seq {
			s.outbox = s.outbox[1:]
		}
		s.view, s.over = l.Granted, l.Overdraft
		for _, t := range s.outbox {
			for _, r := range t.Release {
				s.view -= r.Amount
			}
		}
	}
}

func (m *model) reserve() {
	s := m.pick()
	if e := m.amount(m.limit/3, "hold"); s.spent+s.reserved()+e <= s.view+s.over {
		s.holds = append(s.holds, e)
	}
}

// burn spends all that the node may spend, in one request.
func (m *model) burn() {
	s := m.pick()
	if e := s.view + s.over - s.spent - s.reserved(); e > 0 {
		s.spent += e
		m.truth += e
		s.journal = append(s.journal, e)
	}
}

func (m *model) settle() {
	s := m.pick()
	if len(s.holds) == 0 {
		return
	}
	cost := m.amount(s.holds[0], "cost")
	s.holds = s.holds[1:]
	s.spent += cost
	m.truth += cost
	s.journal = append(s.journal, cost)
}

// sync applies the outbox in order.
func (m *model) sync(s *spender) {
	for _, t := range s.outbox {
		m.h.doAs(node("n1"), fsm.TickGroup{Ticks: []fsm.Tick{t}})
	}
}

func (m *model) build() { m.buildFor(m.pick()) }

func (m *model) buildFor(s *spender) {
	if s.epoch == 0 || s.removed {
		return
	}
	s.seq++
	t := fsm.Tick{Node: s.id, Epoch: s.epoch, Seq: s.seq}
	window := fsm.OpenWindow{Account: account, Limit: 1 << 50} // a node may be wrong about the limit
	switch {
	case s.old != nil && len(s.old.records) > 0:
		t.OldEpoch = s.old.epoch
		t.Settle = []fsm.AccountDelta{{Account: account, Amount: s.old.records[0]}}
		s.old.records = s.old.records[1:]
	default:
		for ; s.told < len(s.journal); s.told++ {
			t.Settle = append(t.Settle, fsm.AccountDelta{Account: account, Amount: s.journal[s.told]})
		}
		t.Want = []fsm.Want{{OpenWindow: window, Amount: m.amount(m.limit, "want"), Need: m.amount(m.limit, "need")}}
		if back := m.amount(s.view-s.spent-s.reserved(), "release"); back > 0 {
			s.view -= back
			t.Release = []fsm.AccountDelta{{Account: account, Amount: back}}
		}
	}
	s.outbox = append(s.outbox, t)
}

// deliver applies some tick of the outbox, or one of a process that is gone.
func (m *model) deliver() {
	s := m.pick()
	var g fsm.TickGroup
	if len(s.outbox) > 0 {
		for range rapid.IntRange(1, 3).Draw(m.t, "ticks") {
			g.Ticks = append(g.Ticks, s.outbox[rapid.IntRange(0, len(s.outbox)-1).Draw(m.t, "which")])
		}
	}
	if len(m.stale) > 0 && rapid.Bool().Draw(m.t, "stale") {
		g.Ticks = append(g.Ticks, m.stale[rapid.IntRange(0, len(m.stale)-1).Draw(m.t, "which")])
	}
	if len(g.Ticks) > 0 {
		m.h.doAs(node("n1"), g)
	}
}

// crash kills the process and starts the next. Open holds cost what they cost and are
// charged whole; a journal may lose its end.
func (m *model) crash() {
	s := m.pick()
	if s.removed || (s.old != nil && len(s.old.records) > 0) {
		return // one old journal at a time keeps the model small
	}
	if s.old != nil && !m.closeOld(s) {
		return
	}
	for _, e := range s.holds {
		m.truth += m.amount(e, "cost of a cut request")
		s.journal = append(s.journal, e)
	}
	m.stale = append(m.stale, s.outbox...)
	was := s.epoch
	m.h.doAs(node(s.id), fsm.OpenEpoch{Node: s.id})
	old := &oldJournal{epoch: was, whole: rapid.Bool().Draw(m.t, "whole")}
	// The state tells which ticks counted; the journal has the rest.
	covered := m.covered(s, was)
	old.records = append(old.records, s.journal[covered:]...)
	if !old.whole && len(old.records) > 0 {
		old.records = old.records[:rapid.IntRange(0, len(old.records)).Draw(m.t, "kept records")]
	}
	*s = spender{id: s.id, epoch: m.h.f.Epoch(s.id), old: old}
}

// covered counts the journal records that applied ticks of the epoch settled.
func (m *model) covered(s *spender, epoch uint64) int {
	n := len(s.journal)
	seen := m.seqOf(s.id, epoch)
	pending := n - s.told
	for _, t := range s.outbox {
		if t.Seq > seen && t.OldEpoch == 0 {
			pending += len(t.Settle)
		}
	}
	return n - pending
}

func (m *model) seqOf(id string, epoch uint64) uint64 { return m.h.lastSeq[fmt.Sprint(id, epoch)] }

// closeOld closes the old epoch once all that its journal holds has been applied.
func (m *model) closeOld(s *spender) bool {
	_, seq, _, _ := m.h.f.LastTick(s.id)
	if s.removed || s.old == nil || len(s.old.records) > 0 || seq != s.seq {
		return false
	}
	m.h.doAs(node(s.id), fsm.CloseEpoch{Node: s.id, Epoch: s.old.epoch, Whole: s.old.whole})
	s.old = nil
	return true
}

func (m *model) check() {
	for _, s := range m.nodes {
		epoch, seq, _, _ := m.h.f.LastTick(s.id)
		m.h.lastSeq[fmt.Sprint(s.id, epoch)] = seq
	}
	bound := m.limit + resource.Money(len(m.nodes))*m.overdraft
	if m.truth > bound {
		m.t.Fatalf("spent %d, bound %d", m.truth, bound)
	}
	for _, a := range m.h.f.Accounts("key/k1") {
		if got := a.Settled + a.Presumed + a.Granted; got > bound {
			m.t.Fatalf("settled %d + presumed %d + granted %d are over %d", a.Settled, a.Presumed, a.Granted, bound)
		}
		if a.Limit != m.limit {
			m.t.Fatalf("limit became %d", a.Limit)
		}
	}
}

// TestMoney_Bound drives the real Apply with random nodes: whatever is lost, repeated,
// reordered or killed, nodes never spend more than the limit and their overdrafts.
func TestMoney_Bound(t *testing.T) {
	t.Parallel()
	for _, overdraft := range []resource.Money{0, 40} {
		t.Run(fmt.Sprintf("overdraft %d", overdraft), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				h := start(t)
				defer func() { _ = h.f.Close() }()
				h.lastSeq = map[string]uint64{}
				m := &model{h: h, t: rt, limit: resource.Money(rapid.Int64Range(1, 300).Draw(rt, "limit")), overdraft: overdraft}
				h.boot("n1", "n2", "n3")
				k := resource.Key{Meta: meta("k1"), Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: m.limit, Overdraft: overdraft}}}}}
				put := h.putKey(k, 0)
				put.Windows = []fsm.OpenWindow{{Account: account, Limit: m.limit}}
				h.do(put)
				for _, id := range []string{"n1", "n2", "n3"} {
					m.nodes = append(m.nodes, &spender{id: id, epoch: h.f.Epoch(id)})
				}
				m.run(rt)
			})
		})
	}
}

func (m *model) run(rt *rapid.T) {
	rt.Repeat(map[string]func(*rapid.T){
		"":        func(*rapid.T) { m.check() },
		"reserve": func(*rapid.T) { m.reserve() },
		"burn":    func(*rapid.T) { m.burn() },
		"settle":  func(*rapid.T) { m.settle() },
		"look":    func(*rapid.T) { m.look(m.pick()) },
		"build":   func(*rapid.T) { m.build() },
		"deliver": func(*rapid.T) { m.deliver() },
		"sync":    func(*rapid.T) { m.sync(m.pick()) },
		"restart": func(*rapid.T) { // all at once, which single steps seldom come to
			m.crash()
			for _, s := range m.nodes {
				for s.old != nil && len(s.old.records) > 0 && !s.removed {
					m.buildFor(s)
				}
				m.sync(s)
				m.closeOld(s)
				m.look(s)
			}
		},
		"crash": func(*rapid.T) { m.crash() },
		"close": func(*rapid.T) { m.closeOld(m.pick()) },
		"remove": func(*rapid.T) {
			if s := m.pick(); s.id != "n1" && !s.removed && rapid.IntRange(0, 9).Draw(m.t, "really") == 0 {
				s.removed = true // it is cut off and goes on spending
				m.h.do(fsm.RemoveMember{ID: s.id})
			}
		},
	})
}
