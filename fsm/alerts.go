package fsm

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// What the keys of the bucket of alerts begin with.
const (
	alertRow     = "a/" // id: the alert; ids sort by time
	alertPending = "p/" // id: it is not delivered everywhere
	alertMark    = "m/" // window's key, what: it was told of that window, and is not told again
	alertOnce    = "k/" // key of the occasion: it was told
	alertOpen    = "o/" // key of the occasion: the state lasts; the payload is the alert's id
	increaseDue  = "d/" // time, account: an increase ends then
)

// MaxAlerts is how many alerts one command names at most.
const MaxAlerts = 256

// Commands on alerts. Those about budgets are raised by the entries that change the budgets' windows.
type (
	// RaiseAlerts raises alerts about other things. One whose key was told already, or whose
	// lasting state has not ended, is passed over: who sees the same twice may say so twice.
	RaiseAlerts struct {
		Alerts []alert.Alert `json:"alerts"`
	}
	// EndAlerts tells that lasting states have ended, by the keys of their alerts.
	EndAlerts struct {
		Keys []string `json:"keys"`
	}
	// NoteAlerts notes what became of alerts on channels.
	NoteAlerts struct {
		Notes []AlertNote `json:"notes"`
	}
	// RetryAlerts makes dead deliveries pending again.
	RetryAlerts struct {
		IDs []string `json:"ids"`
	}
	// DeleteAlerts forgets alerts that are done. Others are passed over.
	DeleteAlerts struct {
		IDs []string `json:"ids"`
	}
)

// AlertNote is what became of one alert. Done says that nothing of it is pending.
type AlertNote struct {
	ID         string           `json:"id"`
	Deliveries []alert.Delivery `json:"deliveries,omitempty"`
	Done       bool             `json:"done,omitempty"`
}

func countAlerts(field string, n int) error {
	if n == 0 || n > MaxAlerts {
		return &resource.Invalid{Field: field, Reason: "are none, or too many for one command"}
	}
	return nil
}

// Apply implements Command.
func (c RaiseAlerts) Apply(tx *Tx) error {
	if err := countAlerts("alerts", len(c.Alerts)); err != nil {
		return err
	}
	for i := range c.Alerts {
		if err := c.Alerts[i].Validate(); err != nil {
			return err
		}
	}
	for _, a := range c.Alerts {
		mark := alertOnce
		if a.Lasting {
			mark = alertOpen
		}
		a.EndedAt, a.RetryAt, a.Deliveries, a.Done = 0, 0, nil, false
		tx.raise([]byte(mark+a.Key), a)
	}
	return nil
}

// Apply implements Command. A state that nobody was told of is passed over.
func (c EndAlerts) Apply(tx *Tx) error {
	if err := countAlerts("keys", len(c.Keys)); err != nil {
		return err
	}
	for _, key := range c.Keys {
		f, ok := tx.get(store.Alerts, []byte(alertOpen+key))
		if !ok {
			continue
		}
		id := string(f.Payload)
		tx.delete(store.Alerts, []byte(alertOpen+key))
		if a, ok := tx.alert(id); ok {
			a.EndedAt = tx.Now
			tx.putAlert(a)
		}
	}
	return nil
}

// Apply implements Command.
func (c NoteAlerts) Apply(tx *Tx) error {
	if err := countAlerts("notes", len(c.Notes)); err != nil {
		return err
	}
	for _, n := range c.Notes {
		a, ok := tx.alert(n.ID)
		if !ok {
			continue // it was deleted with the person it was about
		}
		for _, d := range n.Deliveries {
			d.At = tx.Now
			a.Note(d)
		}
		if a.Done = n.Done; a.Done {
			tx.delete(store.Alerts, []byte(alertPending+a.ID))
		}
		tx.putAlert(a)
	}
	return nil
}

// Apply implements Command.
func (c RetryAlerts) Apply(tx *Tx) error {
	if err := countAlerts("ids", len(c.IDs)); err != nil {
		return err
	}
	for _, id := range c.IDs {
		a, ok := tx.alert(id)
		if !ok {
			return fmt.Errorf("alert %q: %w", id, resource.ErrNotFound)
		}
		if !a.Retry(tx.Now) {
			continue
		}
		tx.putAlert(a)
		tx.put(store.Alerts, []byte(alertPending+a.ID), nil)
		tx.note(store.Alerts.Kind(), a.ID, a.Kind, 0, nil, nil)
		tx.wrote = true
	}
	return nil
}

// Apply implements Command.
func (c DeleteAlerts) Apply(tx *Tx) error {
	if err := countAlerts("ids", len(c.IDs)); err != nil {
		return err
	}
	for _, id := range c.IDs {
		if a, ok := tx.alert(id); ok && a.Done && (!a.Lasting || a.EndedAt != 0) {
			tx.dropAlert(a)
		}
	}
	return nil
}

// raise stores an alert, once for a mark.
func (tx *Tx) raise(mark []byte, a alert.Alert) {
	if tx.raw(store.Alerts, mark) != nil {
		return
	}
	sum := sha256.Sum256(mark)
	a.At = tx.Now
	a.ID = fmt.Sprintf("alrt_%016x%x", uint64(tx.Now), sum[:6])
	tx.put(store.Alerts, mark, []byte(a.ID))
	tx.putAlert(&a)
	tx.put(store.Alerts, []byte(alertPending+a.ID), nil)
}

func (tx *Tx) alert(id string) (*alert.Alert, bool) {
	a, _, ok := filed[alert.Alert](tx, store.Alerts, alertRow+id)
	return a, ok
}

func (tx *Tx) putAlert(a *alert.Alert) { tx.put(store.Alerts, []byte(alertRow+a.ID), marshal(a)) }

// dropAlert forgets an alert. That of a budget's window was told is remembered as long as the window.
func (tx *Tx) dropAlert(a *alert.Alert) {
	tx.delete(store.Alerts, []byte(alertRow+a.ID))
	tx.delete(store.Alerts, []byte(alertPending+a.ID))
	if a.Budget != nil {
		return
	}
	tx.delete(store.Alerts, []byte(alertOnce+a.Key))
	open := []byte(alertOpen + a.Key)
	if f, ok := tx.get(store.Alerts, open); ok && string(f.Payload) == a.ID {
		tx.delete(store.Alerts, open)
	}
}

// forgetAlerts deletes the alerts about a person.
func (tx *Tx) forgetAlerts(kind, id string) {
	for _, k := range tx.scan(store.Alerts, []byte(alertRow)) {
		a, ok := tx.alert(string(k[len(alertRow):]))
		if !ok {
			continue
		}
		of, subject := a.Holder()
		_, user, _ := strings.Cut(subject, "/")
		if of == kind && subject == id || kind == resource.HolderUser && of == resource.HolderMember && user == id {
			tx.dropAlert(a)
		}
	}
}

// thresholds are what a budget, or else the setting, says of alerts. They are read leniently:
// nodes of different versions must take the same from a value that only the newer ones know whole.
func (tx *Tx) thresholds(id resource.AccountID) (at []int64, own channel.BudgetAlerts, ok bool) {
	t, ok := tx.terms(id)
	if !ok || resource.IsSession(t.Name) {
		return nil, own, false
	}
	if t.Alerts != nil {
		own = *t.Alerts
	}
	if at = own.At; len(at) > 0 {
		return at, own, true
	}
	if s, _, ok := load[resource.Setting](tx, store.Settings, resource.SettingAlerts); ok {
		var in struct {
			BudgetThresholds []int64 `json:"budget_thresholds"`
		}
		if json.Unmarshal(s.Value, &in) == nil {
			at = in.BudgetThresholds
		}
	}
	return at, own, true
}

// warn tells of a window of which the part was reached that before was not yet, in per cent: by
// spend, or by a limit that was lowered.
func (tx *Tx) warn(id resource.AccountID, start resource.Time, a *money.Account, before int64) {
	now := alert.Percent(a.Settled, a.Limit)
	if now <= before || money.IsSession(money.Key(id, start)) { // as nearly always: the holder's record need not be read
		return
	}
	at, own, ok := tx.thresholds(id)
	if !ok || len(at) == 0 {
		return
	}
	for _, p := range alert.Crossed(at, before, now) {
		tx.raiseBudget(channel.BudgetThreshold, id, start, a, own, alert.BudgetWindow{Threshold: p})
	}
	if now >= 100 {
		tx.raiseBudget(channel.BudgetExhausted, id, start, a, own, alert.BudgetWindow{})
	}
}

// exhausted tells of a budget that refuses requests because its last tenth does not hold them.
func (tx *Tx) exhausted(id resource.AccountID, start resource.Time, a *money.Account, refused resource.Money) {
	left := a.Limit - a.Settled
	if refused <= left || left > a.Limit/10 || a.Limit <= 0 {
		return
	}
	if at, own, ok := tx.thresholds(id); ok && len(at) > 0 {
		tx.raiseBudget(channel.BudgetExhausted, id, start, a, own, alert.BudgetWindow{Refused: refused})
	}
}

// softPassed tells of a soft limit.
func (tx *Tx) softPassed(id resource.AccountID, start resource.Time, a *money.Account) {
	tx.passed = append(tx.passed, SoftLimit{
		Account: id, Window: resource.Window{Start: start, End: a.End}, Unit: a.Unit, Soft: a.Soft, Limit: a.Limit, Settled: a.Settled,
	})
	if _, own, ok := tx.thresholds(id); ok {
		tx.raiseBudget(channel.BudgetSoftLimit, id, start, a, own, alert.BudgetWindow{Soft: a.Soft})
	}
}

// raiseBudget raises an alert about a window, once for what it says: a threshold of another limit
// is another threshold.
func (tx *Tx) raiseBudget(kind string, id resource.AccountID, start resource.Time, a *money.Account, own channel.BudgetAlerts, b alert.BudgetWindow) {
	what := strings.Join([]string{
		kind, strconv.FormatInt(b.Threshold, 10), strconv.FormatInt(int64(b.Soft), 10), strconv.FormatInt(int64(a.Limit), 10),
	}, "/")
	holder, of, _, _ := id.Split()
	b.Account, b.Window, b.Unit, b.Limit, b.Settled = id, resource.Window{Start: start, End: a.End}, a.Unit, a.Limit, a.Settled
	tx.raise(markOf(money.Key(id, start), what), alert.Alert{
		Kind: kind, Subject: holder + "/" + of, Budget: &b, Channels: own.Channels, Emails: own.Emails,
		Key: fmt.Sprintf("%s/%d/%s", id, start, what),
	})
}

func markOf(window []byte, what string) []byte {
	return append(append([]byte(alertMark), window...), "/"+what...)
}

// dropMarks forgets what was told of a window that is gone.
func (tx *Tx) dropMarks(window []byte) {
	for _, k := range tx.scan(store.Alerts, append([]byte(alertMark), window...)) {
		tx.delete(store.Alerts, k)
	}
}

// noteIncrease remembers when the increase of an account's limit ends.
func (tx *Tx) noteIncrease(id resource.AccountID, a *money.Account) {
	if a.Until != 0 {
		k := binary.BigEndian.AppendUint64([]byte(increaseDue), uint64(a.Until))
		tx.put(store.Alerts, append(k, id...), nil)
	}
}

// endIncreases tells of increases that have ended, and of what the lower limit has reached by that.
func (tx *Tx) endIncreases() {
	c := tx.b.base.Bucket(store.Alerts).Cursor()
	prefix := []byte(increaseDue)
	k, _ := c.Seek(prefix)
	for n := 0; n < sweepRows && len(k) > len(prefix)+8 && bytes.HasPrefix(k, prefix); n++ {
		until := resource.Time(binary.BigEndian.Uint64(k[len(prefix):]))
		if until > tx.Now {
			return
		}
		tx.delete(store.Alerts, bytes.Clone(k))
		tx.endIncrease(resource.AccountID(k[len(prefix)+8:]), until)
		k, _ = c.Next()
	}
}

func (tx *Tx) endIncrease(id resource.AccountID, until resource.Time) {
	t, ok := tx.terms(id)
	if !ok || t.Increase == nil || t.Increase.Until != until {
		return // it was changed, or ended by somebody
	}
	raised, _ := t.Raise(until - 1)
	for _, k := range tx.scan(store.Accounts, money.Prefix(id)) {
		a, ok := tx.account(k)
		_, start, split := money.SplitKey(k)
		if !ok || !split || a.Ended(tx.Now) {
			continue
		}
		_, own, _ := tx.thresholds(id)
		tx.raiseBudget(channel.BudgetIncreaseEnded, id, start, a, own, alert.BudgetWindow{})
		tx.warn(id, start, a, alert.Percent(a.Settled, cmp.Or(a.Limit, 1)+raised))
	}
}
