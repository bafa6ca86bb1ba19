package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/relation"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
)

// account reads one window as it is now: without the holds that were dropped since it was
// written, and without an increase that has ended.
func (tx *Tx) account(key []byte) (*money.Account, bool) {
	f, ok := tx.get(store.Accounts, key)
	if !ok {
		return nil, false
	}
	a, err := money.ParseAccount(f.Payload)
	if err != nil {
		overlay.Fail(err)
	}
	a.Tidy(tx.allNodes())
	a.Lapse(tx.Now)
	return a, true
}

func (tx *Tx) putAccount(key []byte, a *money.Account) { tx.put(store.Accounts, key, a.Encode()) }

// terms finds the terms of an account in the holder's record: an account's limit is never
// taken from a node, which may not know the newest.
func (tx *Tx) terms(id resource.AccountID) (resource.Terms, bool) {
	kind, holder, name, ok := id.Split()
	if !ok {
		return resource.Terms{}, false
	}
	if budget, ok := resource.GivenBy(name); ok && kind == resource.HolderCustomer {
		b, _, ok := load[resource.Budget](tx, store.Budgets, budget)
		if !ok {
			return resource.Terms{}, false
		}
		return b.GivenNamed(name)
	}
	a, sessions := tx.allowance(kind, holder)
	if resource.IsSession(name) {
		return sessions.TermsNamed(name)
	}
	all := a.Budgets
	if b, _, ok := load[resource.Budget](tx, store.Budgets, a.BudgetID); a.BudgetID != "" && ok {
		all = append(slices.Clip(all), b.All()...)
	}
	i := slices.IndexFunc(all, func(t resource.Terms) bool { return t.Name == name })
	if i < 0 {
		return resource.Terms{}, false
	}
	return all[i], true
}

// setBudgets brings the accounts of a holder, whose record has just been written, to its
// terms and opens the windows. It refuses terms of one name: they would be one account.
func (tx *Tx) setBudgets(kind, id string, a *resource.Allowance, ws []OpenWindow) error {
	terms, err := tx.holderTerms(a.Budgets, a.BudgetID)
	if err != nil {
		return err
	}
	tx.adjustLimits(kind, id, terms)
	prefix := kind + "/" + id + "/"
	for _, w := range ws {
		if strings.HasPrefix(string(w.Account), prefix) {
			tx.openWindow(w.Account, w.Window)
		}
	}
	return nil
}

// openBudgets opens the windows of a new key. It is setBudgets without what a key whose id was
// never used cannot have: accounts that are open, or that have ended.
func (tx *Tx) openBudgets(id string, a *resource.Allowance, ws []OpenWindow) error {
	terms, err := tx.holderTerms(a.Budgets, a.BudgetID)
	if err != nil {
		return err
	}
	for _, w := range ws {
		kind, holder, name, ok := w.Account.Split()
		if !ok || kind != resource.HolderKey || holder != id || !money.Near(w.Window, tx.Now) {
			continue
		}
		if i := slices.IndexFunc(terms, func(t resource.Terms) bool { return t.Name == name }); i >= 0 && money.Fits(&terms[i], w.Window) {
			tx.create(store.Accounts, money.Key(w.Account, w.Window.Start), tx.open(w.Account, w.Window, &terms[i]).Encode())
		}
	}
	return nil
}

// openWindow opens a window, leases a part of it to each node, and deletes what ended before
// the window before it. A window that is far from now, or of no budget, is not opened.
func (tx *Tx) openWindow(id resource.AccountID, w resource.Window) (*money.Account, bool) {
	key := money.Key(id, w.Start)
	session := money.IsSession(key)
	if a, ok := tx.account(key); ok && (!session || !a.Ended(tx.Now)) {
		return a, true
	}
	if !money.Near(w, tx.Now) {
		return nil, false
	}
	t, ok := tx.terms(id)
	if !ok || !money.Fits(&t, w) {
		return nil, false
	}
	if session {
		w.End = tx.Now + resource.SessionIdle
	}
	a := tx.open(id, w, &t)
	tx.putAccount(key, a)
	tx.dropEnded(id)
	return a, true
}

// open makes the account of a window of the terms, which the caller stores.
func (tx *Tx) open(id resource.AccountID, w resource.Window, t *resource.Terms) *money.Account {
	a := money.Open(t, w.End, tx.Now, tx.Index, tx.allNodes(), tx.b.pos.Generation)
	tx.noteIncrease(id, a)
	return a
}

// dropEnded deletes all windows that have ended but the newest, which late settles need.
func (tx *Tx) dropEnded(id resource.AccountID) {
	keep := true
	for _, k := range slices.Backward(tx.scan(store.Accounts, money.Prefix(id))) {
		a, ok := tx.account(k)
		if !ok || !a.Ended(tx.Now) {
			continue
		}
		if !keep {
			tx.delete(store.Accounts, k)
			tx.dropMarks(k)
		}
		keep = false
	}
}

// adjustLimits brings the open windows of a holder's accounts to the limits of its terms.
func (tx *Tx) adjustLimits(kind, id string, terms []resource.Terms) {
	for _, t := range terms {
		for _, k := range tx.scan(store.Accounts, money.Prefix(resource.Account(kind, id, t.Name))) {
			if a, ok := tx.account(k); ok && !a.Ended(tx.Now) {
				tx.adjust(k, a, &t)
			}
		}
	}
}

// adjust brings one window to other terms, and tells what a lower limit has reached by that.
func (tx *Tx) adjust(key []byte, a *money.Account, t *resource.Terms) {
	id, start, _ := money.SplitKey(key)
	before := alert.Percent(a.Settled, a.Limit)
	if !a.Adjust(t, tx.Now, tx.allNodes()) {
		return
	}
	if a.Soft > 0 && !a.Told && a.Settled >= a.Soft {
		a.Told = true
		tx.softPassed(id, start, a)
	}
	tx.warn(id, start, a, before)
	tx.noteIncrease(id, a)
	tx.putAccount(key, a)
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
	shared := b.All()
	for _, t := range inline {
		if slices.ContainsFunc(shared, func(s resource.Terms) bool { return s.Name == t.Name }) {
			return nil, &resource.Invalid{Field: "budget_id", Reason: fmt.Sprintf("budgets has terms named %q too", t.Name)}
		}
	}
	return append(slices.Clip(inline), shared...), nil
}

// dropAccounts deletes all accounts of a holder that is deleted.
func (tx *Tx) dropAccounts(kind, id string) {
	prefix := kind + "/" + id + "/"
	for _, k := range tx.scan(store.Accounts, []byte(prefix)) {
		if account, _, ok := money.SplitKey(k); ok && !strings.Contains(string(account[len(prefix):]), "/") {
			tx.delete(store.Accounts, k)
			tx.dropMarks(k)
		}
	}
}

// ofCustomers names who names a shared budget, by id or name, for end users without budgets: the setting, or a record; "" if
// nobody does.
func (tx *Tx) ofCustomers(budget string) string {
	b, _, ok := load[resource.Budget](tx, store.Budgets, budget)
	if !ok {
		return ""
	}
	if by := tx.givenAs(budget); by != "" {
		return by
	}
	return tx.givenByName(b.Name)
}

// givenByName is givenAs for the name of a shared budget, which nobody uses if another's id is the same.
func (tx *Tx) givenByName(name string) string {
	if tx.has(store.Budgets, name) {
		return ""
	}
	return tx.givenAs(name)
}

// givenAs names who says ref where he names the shared budget of end users.
func (tx *Tx) givenAs(ref string) string {
	settings := resource.DefaultSettings()
	if s, _, ok := load[resource.Setting](tx, store.Settings, resource.SettingCustomerBudget); ok {
		_ = settings.Set(s.ID, s.Value) // one that does not hold names none
	}
	switch ref {
	case "":
		return ""
	case settings.CustomerBudget:
		return "the settings"
	}
	return tx.referrer(store.Budgets, relation.Customers(ref))
}
