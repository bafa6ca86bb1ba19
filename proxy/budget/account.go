package budget

import (
	"math"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/resource"
)

const (
	demandSpan   = 10 * time.Minute // leases aim at so much demand
	rateSpan     = time.Minute      // that the demand is averaged over
	openAhead    = 5 * time.Second  // before a window begins, lease of it is wanted
	wantEvery    = time.Second      // unless somebody waits
	probeEvery   = time.Second      // when the headroom seems too small
	tellEvery    = 10 * time.Second // that requests are refused
	keepWindow   = 10 * time.Minute // after its end, for late settles
	openingShare = 4                // a new window leases limit / (4 × nodes) to each node
)

// ref names an account without building its id.
type ref struct{ kind, id, name string }

// account is one budget of one holder.
type account struct {
	serial uint64 // accounts are locked in its order
	ref    ref
	id     resource.AccountID

	mu      sync.Mutex     // guards the fields below and the windows
	terms   resource.Terms // of the windows: only period, zone and unit
	windows []*window      // few; the one of the last request first
	active  bool
	gone    bool // forgotten: it is no longer among the accounts
}

// window is one run of an account's period: this node's part of it. Its fields are guarded
// by the account's mutex.
type window struct {
	account *account
	span    resource.Window

	known     bool           // a lease of the present epoch was seen
	granted   resource.Money // by the replicated state, net of the releases that it has applied
	releasing resource.Money // given back, but not yet out of granted
	consumed  resource.Money // settled requests since the process, or its newest epoch, began
	reserved  resource.Money // open holds
	limit     resource.Money // newest known
	overdraft resource.Money
	beyond    resource.Money // spent beyond leases by earlier processes
	headroom  resource.Money // of the whole window, when the lease was seen
	recall    bool

	raise  resource.Money // part of limit that ends
	until  resource.Time  // when; 0: there is none
	lapsed resource.Money // part of granted that has ended, as last told
	owed   resource.Money // part of releasing that no tick has told of

	used      time.Time // last request
	largest   resource.Money
	largestAt time.Time
	rate      average
	counted   resource.Money // part of consumed that is in rate
	wanted    time.Time      // last want
	probed    time.Time      // a probe began
	need      resource.Money // largest hold that waits
	waiting   int
	wake      chan struct{} // closed when something changes; nil: nobody waits

	refused     resource.Money // smallest hold that was refused since the last tick that said so; 0: none
	refusalTold time.Time
}

// balance is what the node may still hold of its lease.
func (w *window) balance() resource.Money {
	return w.lease() - w.consumed - w.reserved
}

// lease is what was granted and is not on its way back or due back.
func (w *window) lease() resource.Money { return w.granted - w.releasing - w.due() }

// due is what of the lapsed lease is outstanding and is not on its way back: a release gives
// back what has lapsed first.
func (w *window) due() resource.Money {
	return max(0, min(w.lapsed, w.granted-w.consumed)-w.releasing)
}

// lapse ends the lease of an increase whose time has come, by this node's clock, and gives
// back what has ended so. What open requests hold stays until they are settled.
func (w *window) lapse(at resource.Time) {
	if w.until != 0 && at >= w.until {
		w.limit -= w.raise
		w.raise, w.until = 0, 0
		w.lapsed = max(0, w.granted-w.consumed)
	}
	if w.lapsed == 0 {
		return
	}
	due := w.due()
	if give := min(due, w.balance()+due); give > 0 {
		w.releasing += give
		w.owed += give
	}
}

// windowLocked returns the window that now lies in, which it makes if need be. A clock that goes back opens
// no earlier window than one of which the replicated state has granted some; a later one, of which it
// has granted nothing, was this node's own error.
func (b *Budgets) windowLocked(a *account, t *resource.Terms, now time.Time) (*window, error) {
	at := resource.At(now)
	if len(a.windows) > 0 && a.terms.Per == t.Per && a.terms.Zone == t.Zone && a.terms.Every == t.Every {
		if w := a.windows[0]; w.span.Contains(at) || (at < w.span.Start && w.known) {
			return w, nil
		}
	}
	span, err := t.Window(now)
	if err != nil {
		return nil, err
	}
	a.terms = resource.Terms{Per: t.Per, Zone: t.Zone, Every: t.Every, Tokens: t.Tokens, Requests: t.Requests, GPUSeconds: t.GPUSeconds}
	w := b.spanLocked(a, span)
	b.toFrontLocked(a, w, at)
	return w, nil
}

// spanLocked finds the account's window of the span, or makes it and looks its lease up.
func (b *Budgets) spanLocked(a *account, span resource.Window) *window {
	w, made := a.span(span)
	if made && b.cfg.Lookup != nil {
		if l, ok := b.cfg.Lookup(a.id, span.Start); ok && b.current(l.Epoch) {
			w.take(&l)
			w.consumed, w.counted = l.Settled, l.Settled // before it was forgotten
		}
	}
	return w
}

// span finds or makes the window of the span.
func (a *account) span(span resource.Window) (w *window, made bool) {
	for _, w := range a.windows {
		if w.span.Start == span.Start {
			w.span.End = span.End
			return w, false
		}
	}
	w = &window{account: a, span: span}
	a.windows = append(a.windows, w)
	return w, true
}

// toFrontLocked makes w the window of new requests and forgets those that ended long ago, by a clock that may be
// wrong: so none of which the replicated state does not know all yet.
func (b *Budgets) toFrontLocked(a *account, w *window, at resource.Time) {
	kept := []*window{w}
	for _, o := range a.windows {
		if o != w && (o.span.End == 0 || o.span.End+resource.Time(keepWindow) > at || !b.toldLocked(o)) {
			kept = append(kept, o)
		}
	}
	a.windows = kept
}

// take takes over a lease of the present epoch.
func (w *window) take(l *Lease) {
	w.known = true
	w.granted, w.limit, w.overdraft, w.beyond = l.Granted, l.Limit, l.Overdraft, l.Beyond
	w.headroom, w.recall = l.Headroom, l.Recall
	w.raise, w.until = l.Raise, l.Until
	w.lapsed = l.Lapsed
	w.signal()
}

// signal lets those who wait try again.
func (w *window) signal() {
	if w.wake != nil {
		close(w.wake)
		w.wake = nil
	}
}

// overLocked is what of the overdraft the node may use. What its earlier processes have
// used is out of it: the lease says so, and until there is one, only a window that began
// after this process did is surely untouched.
func (b *Budgets) overLocked(w *window, t *resource.Terms) resource.Money {
	switch {
	case w.known:
		return min(t.Over(), w.overdraft)
	case b.untouched(w):
		return t.Over()
	default:
		return 0
	}
}

// untouched says that no earlier process of this node can have spent of the window, but
// what the replicated state knows of.
func (b *Budgets) untouched(w *window) bool {
	return b.epoch.Load() != 0 || w.span.Start >= b.started
}

// roomLocked is what consumed, reserved and a new hold must not exceed.
func (b *Budgets) roomLocked(w *window, t *resource.Terms, how attempt, at resource.Time) resource.Money {
	lease, limit := w.lease(), t.Limit(at)
	if how.alone && t.NoQuorum == resource.NoQuorumShare && (w.known || b.untouched(w)) {
		lease = max(lease, limit/resource.Money(max(1, b.cfg.Nodes()))-w.beyond)
	}
	return min(lease, limit) + b.overLocked(w, t)
}

// touch notes the demand of one request.
func (w *window) touch(hold resource.Money, now time.Time) {
	w.used = now
	if hold >= w.largest || now.Sub(w.largestAt) > rateSpan {
		w.largest, w.largestAt = hold, now
	}
}

// hopeful says whether to wait for a grant: the budget may have room for the hold, or it
// is time to ask whether others can give lease back.
func (w *window) hopeful(limit, over, hold resource.Money, now time.Time) bool {
	if w.consumed+w.reserved+hold > limit+over {
		return false // more than the whole budget, by this node alone
	}
	if !w.known || w.headroom+w.balance()+over >= hold {
		return true
	}
	if now.Sub(w.probed) >= waitAtMost+probeEvery {
		w.probed = now
	}
	return now.Sub(w.probed) < waitAtMost
}

// target is the balance that the node aims at.
func (w *window) target(now time.Time, nodes int) resource.Money {
	t := resource.Money(min(w.rate.perSecond()*demandSpan.Seconds(), float64(resource.MaxMoney)))
	if now.Sub(w.used) <= demandSpan {
		t = max(t, w.largest)
	}
	return min(t, max(0, w.limit/resource.Money(max(1, nodes))))
}

// demand returns what the window wants and gives back, and lowers the balance by the
// latter before anybody is told of it.
func (w *window) demand(now time.Time, nodes int) (want tick.Want, release resource.Money) {
	w.lapse(resource.At(now))
	owed := w.owed
	w.owed = 0
	want, release = w.wish(now, nodes)
	return w.withRefusal(want, now), release + owed
}

// withRefusal adds that a request was refused, so that people hear of a budget that is spent up.
func (w *window) withRefusal(want tick.Want, now time.Time) tick.Want {
	if w.refused == 0 || now.Sub(w.refusalTold) < tellEvery {
		return want
	}
	if want.Amount == 0 {
		want = w.want(0, 0)
	}
	want.Refused = w.refused
	w.refused, w.refusalTold = 0, now
	return want
}

// refuse notes that a hold did not fit.
func (w *window) refuse(held resource.Money) {
	w.account.mu.Lock()
	defer w.account.mu.Unlock()
	if w.refused == 0 || held < w.refused {
		w.refused = held
	}
}

func (w *window) wish(now time.Time, nodes int) (want tick.Want, release resource.Money) {
	w.rate.add(float64(w.consumed-w.counted), now)
	w.counted = w.consumed
	target, balance := w.target(now, nodes), w.balance()
	if w.recall && w.waiting == 0 { // the next request here may wait as well: pieces of lease everywhere serve nobody
		release = max(0, balance)
		w.releasing += release
		return want, release
	}
	low := balance < target/2 && now.Sub(w.wanted) >= wantEvery
	if w.waiting > 0 || (low && (!w.known || w.headroom > 0)) {
		need := max(0, w.need-balance)
		if amount := max(target-balance, need); amount > 0 {
			w.wanted = now
			return w.want(amount, need), 0
		}
		return want, 0
	}
	keep := max(2*target, w.limit/resource.Money(openingShare*max(1, nodes)))
	if release = balance - keep; release <= target/8 {
		return want, 0
	}
	w.releasing += release
	return want, release
}

func (w *window) want(amount, need resource.Money) tick.Want {
	return tick.Want{
		Account: w.account.id, Window: w.span, Limit: w.limit, Overdraft: w.overdraft, Amount: amount, Need: need,
	}
}

// average is an exponentially weighted rate, unbiased while it is young.
type average struct {
	sum, weight float64
	at          time.Time
}

// add adds an amount that arrived since the last call.
func (v *average) add(amount float64, now time.Time) {
	if v.at.IsZero() {
		v.at = now
		if amount == 0 {
			return
		}
		now = now.Add(100 * time.Millisecond) // one tick
	}
	dt := now.Sub(v.at).Seconds()
	if dt <= 0 {
		return
	}
	v.at = now
	f := math.Exp(-dt / rateSpan.Seconds())
	v.sum = v.sum*f + amount/dt*(1-f)
	v.weight = v.weight*f + 1 - f
}

func (v *average) perSecond() float64 {
	if v.weight == 0 {
		return 0
	}
	// A rate seen for less than ten seconds is taken as if the rest had been idle, so that
	// one request does not ask for ten minutes of such requests.
	return v.sum / max(v.weight, 1-math.Exp(-10/rateSpan.Seconds()))
}
