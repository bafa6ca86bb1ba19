package resource

import (
	"fmt"
	"time"
)

// Per is the period of a budget's window.
type Per string

// The periods of a budget. Days, weeks and months follow the budget's zone; "total" never ends.
const (
	PerHour  Per = "hour" // of UTC, for zones change their clocks by half hours too
	PerDay   Per = "day"
	PerWeek  Per = "week" // from Monday
	PerMonth Per = "month"
	PerTotal Per = "total"
)

// NoQuorum says what a node that is cut off from the leader does when its lease is spent.
type NoQuorum string

// The zero value of NoQuorum is NoQuorumBlock.
const (
	NoQuorumBlock NoQuorum = ""      // refuse
	NoQuorumShare NoQuorum = "share" // go on up to limit / nodes; the stated bound then includes it
)

// Unpriced says what a budget does with a deployment whose price is unknown.
type Unpriced string

// The zero value of Unpriced is UnpricedAllow.
const (
	UnpricedAllow Unpriced = ""
	UnpricedDeny  Unpriced = "deny"
)

// Terms are money in a window, held by a key or a team.
type Terms struct {
	Name      string   `json:"name,omitempty"`      // unique in its holder; default: Per
	USD       Money    `json:"usd"`                 // the limit of one window; 0 allows only free models
	Per       Per      `json:"per,omitempty"`       // default: total
	Zone      string   `json:"zone,omitempty"`      // IANA name; default: UTC
	Strict    bool     `json:"strict,omitempty"`    // hold one token for every byte of the prompt
	Clamp     bool     `json:"clamp,omitempty"`     // lower a request's maximum to what is left
	Overdraft Money    `json:"overdraft,omitempty"` // what each node may go over its lease
	NoQuorum  NoQuorum `json:"no_quorum,omitempty"`
	Unpriced  Unpriced `json:"unpriced,omitempty"`
}

// Budget is a shared set of terms. Each key or team that names it has an account of its
// own under the terms.
type Budget struct {
	Meta
	Name  string `json:"name,omitempty"`
	Terms Terms  `json:"terms,omitzero"`
}

// Label implements Record.
func (b *Budget) Label() string { return b.Name }

// Validate implements Record.
func (b *Budget) Validate() error {
	if err := validName("name", b.Name); err != nil {
		return err
	}
	return b.Terms.validate("terms")
}

// Canonicalize implements Record.
func (b *Budget) Canonicalize() { b.Terms.canonicalize() }

func (t *Terms) canonicalize() {
	if t.Per == "" {
		t.Per = PerTotal
	}
	if t.Name == "" {
		t.Name = string(t.Per)
	}
}

func (t *Terms) validate(field string) error {
	switch t.Per {
	case "", PerHour, PerDay, PerWeek, PerMonth, PerTotal:
	default:
		return invalidf(field+".per", "%q is not one of hour, day, week, month, total", t.Per)
	}
	if t.USD < 0 || t.USD > MaxMoney {
		return invalidf(field+".usd", "%s is not between 0 and %s", t.USD, MaxMoney)
	}
	if t.Overdraft < 0 || t.Overdraft > MaxMoney {
		return invalidf(field+".overdraft", "%s is not between 0 and %s", t.Overdraft, MaxMoney)
	}
	if _, err := t.location(); err != nil {
		return invalidf(field+".zone", "%q is not a time zone such as Europe/Paris", t.Zone)
	}
	if t.NoQuorum != NoQuorumBlock && t.NoQuorum != NoQuorumShare && t.NoQuorum != "block" {
		return invalidf(field+".no_quorum", "%q is not one of block, share", t.NoQuorum)
	}
	if t.Unpriced != UnpricedAllow && t.Unpriced != UnpricedDeny && t.Unpriced != "allow" {
		return invalidf(field+".unpriced", "%q is not one of allow, deny", t.Unpriced)
	}
	return nil
}

func validateTerms(field string, all []Terms) error {
	seen := map[string]bool{}
	for i := range all {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := all[i].validate(at); err != nil {
			return err
		}
		t := all[i]
		t.canonicalize()
		if seen[t.Name] {
			return invalidf(at+".name", "%q stands twice", t.Name)
		}
		seen[t.Name] = true
	}
	return nil
}

func (t *Terms) location() (*time.Location, error) {
	if t.Zone == "" {
		return time.UTC, nil
	}
	return time.LoadLocation(t.Zone)
}

// Window is one run of a budget's period, from Start up to but not including End.
// End is 0 for a window that never ends.
type Window struct {
	Start Time `json:"start,omitempty"`
	End   Time `json:"end,omitempty"`
}

// Contains says whether at lies in the window.
func (w Window) Contains(at Time) bool { return at >= w.Start && (w.End == 0 || at < w.End) }

// Window returns the window of the terms that at lies in. Proposers and nodes call it,
// never Apply: it reads the time zone database.
func (t *Terms) Window(at time.Time) (Window, error) {
	loc, err := t.location()
	if err != nil {
		return Window{}, fmt.Errorf("zone %q: %w", t.Zone, err)
	}
	at = at.In(loc)
	y, m, d := at.Date()
	date := func(y int, m time.Month, d int) Time { return At(dayStart(y, m, d, loc)) }
	switch t.Per {
	case PerHour:
		start := at.UTC().Truncate(time.Hour)
		return Window{At(start), At(start.Add(time.Hour))}, nil
	case PerDay:
		return Window{date(y, m, d), date(y, m, d+1)}, nil
	case PerWeek:
		back := (int(at.Weekday()) + 6) % 7
		return Window{date(y, m, d-back), date(y, m, d-back+7)}, nil
	case PerMonth:
		return Window{date(y, m, 1), date(y, m+1, 1)}, nil
	default:
		return Window{}, nil
	}
}

// dayStart is the first moment of a date. Where clocks change at midnight, 00:00 may be
// skipped, or come twice; time.Date then gives a moment near it.
func dayStart(y int, m time.Month, d int, loc *time.Location) time.Time {
	t := time.Date(y, m, d, 0, 0, 0, 0, loc)
	noon := time.Date(y, m, d, 12, 0, 0, 0, loc) // normalizes d, and is never skipped
	sameDay := func(t time.Time) bool { return t.YearDay() == noon.YearDay() && t.Year() == noon.Year() }
	changed, changes := t.ZoneBounds()
	switch {
	case !sameDay(t): // before the change that skips 00:00
		return changes
	case !changed.IsZero() && sameDay(changed.Add(-1)): // the second of two
		before := changed.Add(-1)
		return before.Add(-time.Duration(before.Hour())*time.Hour - time.Duration(before.Minute())*time.Minute - time.Duration(before.Second())*time.Second - time.Duration(before.Nanosecond()))
	case t.Hour() != 0 || t.Minute() != 0: // after it
		return changed
	default:
		return t
	}
}

// AccountID names one budget of one holder: "key/key_abc/day".
type AccountID string

// Account makes the id of the budget named terms of the holder of the kind ("key", "team").
func Account(kind, id, terms string) AccountID {
	return AccountID(kind + "/" + id + "/" + terms)
}
