package fsm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

const (
	openingShare = 4  // a new window leases limit / (4 × nodes) to each node
	grantShare   = 2  // a grant is at most headroom / (2 × nodes) …
	dustShare    = 64 // … but need not be below limit / (64 × nodes), else the last cents were never spent

	windowAhead resource.Time = 60e9  // how early a window may be opened: nodes open the next one 5 s early
	windowLate  resource.Time = 600e9 // how late, for a node that was cut off
)

// account is one window of one account with all that was leased of it: one row, so that no
// sum can go out of step with its parts.
type account struct {
	end       resource.Time
	limit     resource.Money
	overdraft resource.Money
	settled   resource.Money
	opened    uint64 // Raft index at which the row was made
	recall    bool
	holds     []hold // by node, then epoch
}

// hold is what one epoch of one node was granted, net of releases, and has consumed.
type hold struct {
	node     uint16
	epoch    uint64
	granted  resource.Money
	consumed resource.Money
}

func (h hold) outstanding() resource.Money { return max(0, h.granted-h.consumed) }

const (
	accountFixed = 5*8 + 1 + 2
	holdSize     = 2 + 3*8
)

func (a *account) append() []byte {
	b := make([]byte, accountFixed, accountFixed+len(a.holds)*holdSize)
	for i, v := range []int64{int64(a.end), int64(a.limit), int64(a.overdraft), int64(a.settled), int64(a.opened)} {
		binary.BigEndian.PutUint64(b[8*i:], uint64(v))
	}
	if a.recall {
		b[40] = 1
	}
	binary.BigEndian.PutUint16(b[41:], uint16(len(a.holds)))
	for _, h := range a.holds {
		b = binary.BigEndian.AppendUint16(b, h.node)
		b = binary.BigEndian.AppendUint64(b, h.epoch)
		b = binary.BigEndian.AppendUint64(b, uint64(h.granted))
		b = binary.BigEndian.AppendUint64(b, uint64(h.consumed))
	}
	return b
}

func parseAccount(b []byte) (*account, error) {
	if len(b) < accountFixed || len(b) != accountFixed+int(binary.BigEndian.Uint16(b[41:]))*holdSize {
		return nil, fmt.Errorf("account of %d bytes: %w", len(b), frame.ErrDamaged)
	}
	u := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	a := &account{
		end: resource.Time(u(0)), limit: resource.Money(u(1)), overdraft: resource.Money(u(2)),
		settled: resource.Money(u(3)), opened: uint64(u(4)), recall: b[40] == 1,
	}
	for r := b[accountFixed:]; len(r) > 0; r = r[holdSize:] {
		a.holds = append(a.holds, hold{
			node:     binary.BigEndian.Uint16(r),
			epoch:    binary.BigEndian.Uint64(r[2:]),
			granted:  resource.Money(binary.BigEndian.Uint64(r[10:])),
			consumed: resource.Money(binary.BigEndian.Uint64(r[18:])),
		})
	}
	return a, nil
}

// at finds or makes the hold of an epoch.
func (a *account) at(node uint16, epoch uint64) *hold {
	i, ok := slices.BinarySearchFunc(a.holds, hold{node: node, epoch: epoch}, func(x, y hold) int {
		return cmp.Or(cmp.Compare(x.node, y.node), cmp.Compare(x.epoch, y.epoch))
	})
	if !ok {
		a.holds = slices.Insert(a.holds, i, hold{node: node, epoch: epoch})
	}
	return &a.holds[i]
}

// sums of an account's holds.
type sums struct{ live, presumed resource.Money }

func (a *account) sums(holdingOf func(node uint16, epoch uint64) holding) sums {
	var s sums
	for _, h := range a.holds {
		switch holdingOf(h.node, h.epoch) {
		case holdLive:
			s.live = add(s.live, h.outstanding())
		case holdPresumed:
			s.presumed = add(s.presumed, h.outstanding())
		case holdVoid:
		}
	}
	return s
}

func (a *account) headroom(s sums) resource.Money {
	return a.limit - add(a.settled, add(s.live, s.presumed))
}

// tidy drops void holds. What an epoch went over its lease is kept, summed up under the
// epoch 0, so that a restart does not give a node its overdraft anew.
func (a *account) tidy(holdingOf func(node uint16, epoch uint64) holding) {
	var over []hold
	a.holds = slices.DeleteFunc(a.holds, func(h hold) bool {
		if h.epoch == 0 || holdingOf(h.node, h.epoch) != holdVoid {
			return false
		}
		if h.consumed > h.granted {
			over = append(over, h)
		}
		return true
	})
	for _, h := range over {
		sum := a.at(h.node, 0)
		sum.consumed = add(sum.consumed, h.consumed-h.granted)
	}
}

// allowance is what of the overdraft a node may still use: none while a journal of its
// waits to be settled, and not again what its earlier epochs used or, where their journal
// was not whole, may have used since the window was opened.
func (a *account) allowance(n *nodeState) resource.Money {
	lost := slices.ContainsFunc(n.old, func(o oldEpoch) bool { return !o.kept || o.ended > a.opened })
	if lost || n.removed {
		return 0
	}
	left := a.overdraft
	for _, h := range a.holds {
		if h.node == n.ordinal && h.epoch != n.epoch {
			left -= max(0, h.consumed-h.granted)
		}
	}
	return max(0, left)
}

// add is a sum that stays at the ends of its range: no total turns over.
func add(a, b resource.Money) resource.Money {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

func holdingIn(nodes map[string]*nodeState) func(uint16, uint64) holding {
	return func(ordinal uint16, epoch uint64) holding {
		for _, n := range nodes { // ordinals are unique
			if n.ordinal == ordinal {
				return n.holding(epoch)
			}
		}
		return holdVoid
	}
}

// accountKey sorts the windows of an account by their start.
func accountKey(id resource.AccountID, start resource.Time) []byte {
	k := append(append(make([]byte, 0, len(id)+9), id...), 0)
	return binary.BigEndian.AppendUint64(k, uint64(start)^1<<63)
}

func splitAccountKey(k []byte) (resource.AccountID, resource.Time, bool) {
	i := len(k) - 9
	if i < 0 || k[i] != 0 {
		return "", 0, false
	}
	return resource.AccountID(k[:i]), resource.Time(binary.BigEndian.Uint64(k[i+1:]) ^ 1<<63), true
}

func windowsPrefix(id resource.AccountID) []byte { return append([]byte(id), 0) }

// account reads one window, without the holds that were dropped since it was written.
func (tx *Tx) account(key []byte) (*account, bool) {
	f, ok := tx.get(store.Accounts, key)
	if !ok {
		return nil, false
	}
	a, err := parseAccount(f.Payload)
	if err != nil {
		fail(err)
	}
	a.tidy(holdingIn(tx.allNodes()))
	return a, true
}

func (tx *Tx) headroom(a *account) resource.Money {
	return a.headroom(a.sums(holdingIn(tx.allNodes())))
}

func (tx *Tx) putAccount(key []byte, a *account) { tx.put(store.Accounts, key, a.append()) }

// terms finds the terms of an account in the holder's record: an account's limit is never
// taken from a node, which may not know the newest.
func (tx *Tx) terms(id resource.AccountID) (resource.Terms, bool) {
	parts := strings.SplitN(string(id), "/", 3)
	if len(parts) != 3 {
		return resource.Terms{}, false
	}
	all, shared := tx.holder(parts[0], parts[1])
	if b, _, ok := load[resource.Budget](tx, store.Budgets, shared); shared != "" && ok {
		all = append(slices.Clip(all), b.Terms)
	}
	i := slices.IndexFunc(all, func(t resource.Terms) bool { return t.Name == parts[2] })
	if i < 0 {
		return resource.Terms{}, false
	}
	return all[i], true
}

// holder returns the inline terms of a holder of budgets and the id of the shared ones.
func (tx *Tx) holder(kind, id string) (inline []resource.Terms, budgetID string) {
	switch kind {
	case "key":
		if k, _, ok := load[resource.Key](tx, store.Keys, id); ok {
			return k.Budgets, k.BudgetID
		}
	case "team":
		if t, _, ok := load[resource.Team](tx, store.Teams, id); ok {
			return t.Budgets, t.BudgetID
		}
	}
	return nil, ""
}

// openWindows opens those windows of the holder's accounts that nobody has opened.
func (tx *Tx) openWindows(kind, id string, ws []OpenWindow) {
	prefix := kind + "/" + id + "/"
	for _, w := range ws {
		if strings.HasPrefix(string(w.Account), prefix) {
			tx.openWindow(w.Account, w.Window)
		}
	}
}

// openWindow opens a window, leases a part of it to each node, and deletes what ended before
// the window before it. A window that is far from now, or of no budget, is not opened.
func (tx *Tx) openWindow(id resource.AccountID, w resource.Window) (*account, bool) {
	key := accountKey(id, w.Start)
	if a, ok := tx.account(key); ok {
		return a, true
	}
	if w.Start > tx.Now+windowAhead || (w.End != 0 && w.End+windowLate <= tx.Now) {
		return nil, false
	}
	t, ok := tx.terms(id)
	if !ok || !fits(t.Per, w) {
		return nil, false
	}
	a := &account{end: w.End, limit: t.USD, overdraft: t.Overdraft, opened: tx.Index}
	if nodes := tx.active(); !tx.frozen() && len(nodes) > 0 {
		part := a.limit / resource.Money(openingShare*len(nodes))
		for _, n := range nodes {
			if n.epoch != 0 && part > 0 {
				a.at(n.ordinal, n.epoch).granted = part
			}
		}
	}
	tx.putAccount(key, a)
	tx.dropEnded(id)
	return a, true
}

// fits says whether a window is as long as the period makes it in some time zone. A node that
// still has the terms from before a change must not open a second budget beside the first.
func fits(per resource.Per, w resource.Window) bool {
	const hour resource.Time = 3600e9
	within := func(least, most resource.Time) bool {
		return w.End-w.Start >= least*hour && w.End-w.Start <= most*hour
	}
	switch per {
	case resource.PerHour:
		return within(1, 1)
	case resource.PerDay:
		return within(22, 26)
	case resource.PerWeek:
		return within(7*24-2, 7*24+2)
	case resource.PerMonth:
		return within(28*24-2, 31*24+2)
	default:
		return w == resource.Window{}
	}
}

// dropEnded deletes all windows that have ended but the newest, which late settles need.
func (tx *Tx) dropEnded(id resource.AccountID) {
	keep := true
	for _, k := range slices.Backward(tx.scan(store.Accounts, windowsPrefix(id))) {
		a, ok := tx.account(k)
		if !ok || a.end == 0 || a.end > tx.Now {
			continue
		}
		if !keep {
			tx.delete(store.Accounts, k)
		}
		keep = false
	}
}

// adjustLimits brings the open windows of a holder's accounts to the limits of its terms.
func (tx *Tx) adjustLimits(kind, id string, terms []resource.Terms) {
	for _, t := range terms {
		for _, k := range tx.scan(store.Accounts, windowsPrefix(resource.Account(kind, id, t.Name))) {
			a, ok := tx.account(k)
			if !ok || (a.end != 0 && a.end <= tx.Now) || (a.limit == t.USD && a.overdraft == t.Overdraft) {
				continue
			}
			a.limit, a.overdraft = t.USD, t.Overdraft
			a.recall = tx.headroom(a) < 0
			tx.putAccount(k, a)
		}
	}
}

// holderTerms joins a holder's own terms and the shared ones. It refuses two of one name:
// they would be one account.
func (tx *Tx) holderTerms(inline []resource.Terms, budgetID string) ([]resource.Terms, error) {
	if budgetID == "" {
		return inline, nil
	}
	b, _, ok := load[resource.Budget](tx, store.Budgets, budgetID)
	if !ok {
		return inline, nil
	}
	for _, t := range inline {
		if t.Name == b.Terms.Name {
			return nil, &resource.Invalid{Field: "budget_id", Reason: fmt.Sprintf("budgets has terms named %q too", t.Name)}
		}
	}
	return append(slices.Clip(inline), b.Terms), nil
}

// dropAccounts deletes all accounts of a holder that is deleted.
func (tx *Tx) dropAccounts(kind, id string) {
	for _, k := range tx.scan(store.Accounts, []byte(kind+"/"+id+"/")) {
		tx.delete(store.Accounts, bytes.Clone(k))
	}
}
