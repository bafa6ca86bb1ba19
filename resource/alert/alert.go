// Package alert is what the cluster tells people: a record of each alert, once for the cluster,
// and what became of it on each channel.
package alert

import (
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/channel"
)

// The bounds of an alert.
const (
	maxText  = 2000
	maxNames = 128
)

// State is what became of an alert on a channel.
type State string

// The states of a delivery. One that is not noted yet is Pending.
const (
	Pending   State = "pending" // it is tried, and has failed so far
	Delivered State = "delivered"
	Dead      State = "dead" // given up; it can be sent again
)

// Alert is one thing that people are told, once.
type Alert struct {
	ID      string        `json:"id"`
	Kind    string        `json:"kind"` // a kind of package channel
	At      resource.Time `json:"at"`
	Subject string        `json:"subject"`        // kind and id of what it is about: "key/key_1", "node/n1"
	Name    string        `json:"name,omitempty"` // of the subject, where the raiser knows it
	Text    string        `json:"text,omitempty"` // a sentence; of an alert about a budget Sentence makes it
	Budget  *BudgetWindow `json:"budget,omitempty"`
	Key     string        `json:"key,omitempty"`      // names the occasion: two alerts of one key are one
	Lasting bool          `json:"lasting,omitempty"`  // it is about a state that ends
	EndedAt resource.Time `json:"ended_at,omitempty"` // when that ended
	// Channels replace those that take the kind, and Emails come beside; of a budget's own alerts.
	Channels   []string      `json:"channels,omitempty"`
	Emails     []string      `json:"emails,omitempty"`
	RetryAt    resource.Time `json:"retry_at,omitempty"` // when it was last sent again; the deadline counts from there
	Deliveries []Delivery    `json:"deliveries,omitempty"`
	Done       bool          `json:"done,omitempty"` // nothing of it is pending
}

// BudgetWindow is the window that an alert is about. Amounts are in the budget's unit.
type BudgetWindow struct {
	Account   resource.AccountID `json:"account"`
	Window    resource.Window    `json:"window,omitzero"`
	Unit      resource.Unit      `json:"unit,omitempty"`
	Threshold int64              `json:"threshold,omitempty"` // per cent
	Soft      resource.Money     `json:"soft,omitempty"`
	Limit     resource.Money     `json:"limit"`
	Settled   resource.Money     `json:"settled"`
	Refused   resource.Money     `json:"refused,omitempty"` // the hold of a request that was refused
}

// Delivery is what became of an alert on one channel.
type Delivery struct {
	Channel string        `json:"channel"` // its name, or an e-mail address
	State   State         `json:"state"`
	At      resource.Time `json:"at,omitempty"` // of the state
	Tries   int64         `json:"tries,omitempty"`
	Error   string        `json:"error,omitempty"`
}

// Holder splits the subject into a kind and an id.
func (a *Alert) Holder() (kind, id string) {
	kind, id, _ = strings.Cut(a.Subject, "/")
	return kind, id
}

// On finds the delivery on a channel; nil: nothing is noted of it.
func (a *Alert) On(name string) *Delivery {
	for i := range a.Deliveries {
		if a.Deliveries[i].Channel == name {
			return &a.Deliveries[i]
		}
	}
	return nil
}

// Note replaces what is known of the delivery on a channel. What was delivered stays delivered.
func (a *Alert) Note(d Delivery) {
	if now := a.On(d.Channel); now == nil {
		a.Deliveries = append(a.Deliveries, d)
	} else if now.State != Delivered {
		*now = d
	}
}

// Retry makes what is dead pending again at a time. It returns false if nothing is.
func (a *Alert) Retry(at resource.Time) bool {
	again := false
	for i := range a.Deliveries {
		if d := &a.Deliveries[i]; d.State == Dead {
			*d, again = Delivery{Channel: d.Channel, State: Pending, At: at}, true
		}
	}
	if again {
		a.RetryAt, a.Done = at, false
	}
	return again
}

// IsDead says whether a channel did not get it.
func (a *Alert) IsDead() bool {
	for i := range a.Deliveries {
		if a.Deliveries[i].State == Dead {
			return true
		}
	}
	return false
}

// Validate returns a *resource.Invalid for an alert that cannot be.
func (a *Alert) Validate() error {
	bad := func(field, format string, args ...any) error {
		return &resource.Invalid{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case !channel.IsKind(a.Kind):
		return bad("kind", "%.60q is no kind of alerts", a.Kind)
	case a.Subject == "" || len(a.Subject) > 600 || strings.Contains(a.Subject, "\x00"):
		return bad("subject", "is missing or too long")
	case a.Key == "" || len(a.Key) > 1000 || strings.Contains(a.Key, "\x00"):
		return bad("key", "is missing or too long")
	case len(a.Text) > maxText || len(a.Name) > maxText:
		return bad("text", "is longer than %d bytes", maxText)
	case len(a.Channels) > maxNames || len(a.Emails) > maxNames:
		return bad("channels", "are more than %d", maxNames)
	}
	return nil
}

// Percent is how much of the limit is spent, rounded down; 0 without a limit.
func (b *BudgetWindow) Percent() int64 { return Percent(b.Settled, b.Limit) }

// amount writes an amount of a budget for people.
func (b *BudgetWindow) amount(m resource.Money) string {
	switch b.Unit {
	case resource.UnitTokens, resource.UnitRequests:
		return fmt.Sprintf("%d %s", int64(m), b.Unit)
	case resource.UnitGPUSeconds:
		return m.String() + " GPU-seconds"
	}
	return "$" + m.String()
}

// Sentence says what has happened.
func (a *Alert) Sentence() string {
	b := a.Budget
	if b == nil {
		return a.Text
	}
	kind, id, name, _ := b.Account.Split()
	who := kind + " " + id
	if a.Name != "" && a.Name != id {
		who = fmt.Sprintf("%s %q (%s)", kind, a.Name, id)
	}
	of := fmt.Sprintf("budget %q of %s", name, who)
	spent := fmt.Sprintf("%s of %s are spent (%d %%)", b.amount(b.Settled), b.amount(b.Limit), b.Percent())
	switch a.Kind {
	case channel.BudgetThreshold:
		return fmt.Sprintf("The %s has reached %d %%: %s.", of, b.Threshold, spent)
	case channel.BudgetSoftLimit:
		return fmt.Sprintf("The %s has reached its soft limit of %s: %s.", of, b.amount(b.Soft), spent)
	case channel.BudgetExhausted:
		if b.Refused > 0 {
			return fmt.Sprintf("The %s refuses requests: %s, and a request of %s does not fit.", of, spent, b.amount(b.Refused))
		}
		return fmt.Sprintf("The %s is spent up: %s.", of, spent)
	case channel.BudgetIncreaseEnded:
		return fmt.Sprintf("The increase of the %s has ended: %s.", of, spent)
	}
	return fmt.Sprintf("The %s: %s.", of, spent)
}
