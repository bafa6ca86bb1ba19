package torture

import (
	"context"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

// step is one thing that happens.
func (w *world) step() {
	n := pick(w.r, w.nodes...)
	if len(w.gone) > 0 && w.chance(4) {
		n = pick(w.r, w.gone...)
	}
	switch k := w.r.IntN(100); {
	case k < 25:
		w.reserve(n, 1+resource.Money(w.r.IntN(pick(w.r, 5, 15, 40))))
	case k < 33:
		w.burn(n)
	case k < 45:
		for range 1 + w.r.IntN(3) {
			w.settle(n)
		}
	case k < 68:
		w.tick(n, w.chance(8), w.chance(8))
	default:
		w.fault(n, k)
	}
}

// fault is what happens around requests: lags, echoes, time, deaths.
func (w *world) fault(n *simNode, k int) {
	switch {
	case k < 73:
		if len(n.feed) > 0 {
			n.catchUp(1 + w.r.IntN(len(n.feed)))
		}
	case k < 76:
		w.echo()
	case k < 79:
		n.synced = n.number
	case k < 87:
		w.pass(time.Duration(w.r.IntN(3000)) * time.Millisecond)
	case k < 89:
		w.pass(w.toBoundary())
	case k < 92:
		w.kill(n, w.chance(3))
	case k < 96:
		w.revive(n)
	default:
		w.rare(n)
	}
}

// burn takes all that a node will give.
func (w *world) burn(n *simNode) {
	for most := resource.Money(64); most > 0; most /= 2 {
		for w.reserve(n, most) {
		}
	}
}

// echo applies ticks of the past once more, in any order.
func (w *world) echo() {
	var g fsm.TickGroup
	for range 1 + w.r.IntN(3) {
		if len(w.wire) > 0 {
			g.Ticks = append(g.Ticks, pick(w.r, w.wire...))
		}
	}
	if len(g.Ticks) > 0 {
		w.say("%d ticks of the past come again", len(g.Ticks))
		w.must(w.applyAll(w.nodes[0].actor(), g))
	}
}

func (w *world) revive(n *simNode) {
	if n.removed {
		return
	}
	if !n.up {
		w.start(n)
	}
	w.openEpoch(n)
}

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.say("%s pass", d)
}

// toBoundary is the time to some seconds around the end of the key's window.
func (w *world) toBoundary() time.Duration {
	span, err := w.who.Key.Budgets[0].Window(w.now)
	if err != nil || span.End == 0 {
		return time.Duration(w.r.IntN(60)) * time.Second
	}
	return max(0, span.End.Std().Sub(w.now)+time.Duration(w.r.IntN(8000)-5000)*time.Millisecond)
}

// rare are the things that happen now and then.
func (w *world) rare(n *simNode) {
	switch w.r.IntN(5) {
	case 0: // everything stops over the end of a window
		for _, n := range w.nodes {
			w.kill(n, false)
		}
		w.pass(w.toBoundary())
		for _, n := range w.nodes {
			w.revive(n)
		}
	case 1: // a member is removed, and goes on spending
		if len(w.gone) < 2 && !n.removed {
			w.evict(n)
		}
	case 2, 3:
		w.raise()
	default:
		w.relimit()
	}
}

func (w *world) evict(n *simNode) {
	w.must(w.applyAll(master, fsm.RemoveMember{ID: n.id}))
	n.removed = true
	w.gone = append(w.gone, n)
	for i, o := range w.nodes {
		if o == n {
			w.nodes = append(w.nodes[:i:i], w.nodes[i+1:]...)
			break
		}
	}
	w.say("%s is removed", n.id)
	fresh := w.join()
	w.ever++
	w.tell()
	w.start(fresh)
	w.openEpoch(fresh)
}

// raise gives the key more for some seconds.
func (w *world) raise() {
	until := w.now.Add(time.Duration(1+w.r.IntN(10)) * time.Second)
	k := *w.who.Key
	t := k.Budgets[0]
	amount := resource.Money(50 + w.r.IntN(300))
	if w.unit == resource.UnitTokens {
		amount *= resource.Dollar
	}
	t.Increase = &resource.TempIncrease{Amount: amount, Until: resource.At(until), By: "master"}
	k.Budgets = []resource.Terms{t}
	w.say("the limit is to be raised by %d until %s", amount, until.Format(time.TimeOnly))
	if w.putKey(&k) {
		w.raised = max(w.raised, resource.At(until))
	}
}

// relimit gives the key another limit.
func (w *world) relimit() {
	k := *w.who.Key
	t := k.Budgets[0]
	next := w.terms(t.Per, t.Zone, 10+resource.Money(w.r.IntN(150)))
	next.Name = t.Name
	k.Budgets = []resource.Terms{next}
	w.say("the limit becomes %d", next.Limit(0))
	w.putKey(&k)
}

// heal ends all faults and holds the books and the use of the budget against each other.
func (w *world) heal() {
	w.pass(12 * time.Second) // increases end
	for _, n := range w.nodes {
		w.revive(n)
		for n.epoch == 0 {
			w.openEpoch(n)
		}
	}
	for i := 0; i < 40 && (i < 3 || !w.quiet()); i++ {
		w.round()
	}
	w.check()
	if w.bad != "" {
		return
	}
	if _, rest := w.books(); rest.cost-w.restOfGone() != 0 {
		w.failf("after all is well %d is not in the state", rest.cost-w.restOfGone())
	}
	w.checkUse()
}

// quiet says whether all that the members have spent is in the state.
func (w *world) quiet() bool {
	_, rest := w.books()
	for _, n := range w.nodes {
		if n.pending != nil || n.old || n.epoch == 0 {
			return false
		}
	}
	return rest.cost == w.restOfGone()
}

// round is a tenth of a second without faults.
func (w *world) round() {
	for _, n := range w.nodes {
		for len(n.open) > 0 {
			w.settle(n)
		}
		n.synced = n.number
		if n.epoch == 0 {
			w.openEpoch(n)
		}
	}
	w.tickAll()
	for _, n := range w.nodes {
		n.catchUp(len(n.feed))
	}
	w.pass(100 * time.Millisecond)
}

// restOfGone is what the journals of removed members have that nobody will hear of.
func (w *world) restOfGone() (rest resource.Money) {
	nodes := w.nodes
	w.nodes = nil
	_, out := w.books()
	w.nodes = nodes
	return out.cost
}

// checkUse expects that what is left of the budgets, and is not presumed spent, is served.
func (w *world) checkUse() {
	left := resource.Money(1 << 40)
	limit := left
	for _, l := range w.who.Levels(nil) {
		t := &l.Allowance.Budgets[0]
		at := resource.At(w.now)
		span, err := t.Window(w.now)
		if err != nil {
			panic(err)
		}
		limit = min(limit, t.Limit(at))
		free := t.Limit(at)
		for _, a := range w.f.Accounts(l.Kind + "/" + l.ID) {
			if a.Window.Start == span.Start {
				free -= a.Settled + a.Presumed
			}
		}
		left = min(left, free)
	}
	hold := min(left/2, limit/(2*resource.Money(len(w.nodes))))
	if hold < 1 {
		return
	}
	n := pick(w.r, w.nodes...)
	n.leads = true
	for range 60 {
		if w.serve(n, hold) {
			return
		}
		w.round()
	}
	w.failf("%d of what is left, %d, is not served", hold, left)
}

// serve sends a request to a node whose ticks go out as soon as somebody waits for one.
func (w *world) serve(n *simNode, hold resource.Money) bool {
	type answer struct {
		h   *budget.Hold
		err error
	}
	done := make(chan answer)
	r := w.request(n, hold)
	go func() {
		h, err := n.b.Reserve(context.Background(), r)
		done <- answer{h, err}
	}()
	for {
		select {
		case a := <-done:
			return w.admit(n, hold, a.h, a.err)
		case <-n.asked:
			w.tickAll()
		}
	}
}
