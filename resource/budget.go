package resource

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/resource/channel"
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
	UnpricedAllow    Unpriced = ""         // it costs nothing
	UnpricedDeny     Unpriced = "deny"     // it is refused
	UnpricedEstimate Unpriced = "estimate" // it costs what the setting unknown_price says
)

func (u Unpriced) validate(field string) error {
	switch u {
	case UnpricedAllow, UnpricedDeny, UnpricedEstimate, "allow":
		return nil
	}
	return invalidf(field, "%q is not one of allow, deny, estimate", u)
}

// Unit is what a budget counts. Each budget counts one; units are never mixed.
type Unit string

// The units of a budget. The zero value is UnitUSD. An amount of a budget is an int64 of the
// unit's smallest part, which is what Money holds: nanodollars, tokens, requests,
// GPU-nanoseconds.
const (
	UnitUSD        Unit = ""
	UnitTokens     Unit = "tokens"
	UnitRequests   Unit = "requests"
	UnitGPUSeconds Unit = "gpu_seconds"
)

// Terms are money, or another unit, in a window, held by one level (Level).
type Terms struct {
	Name       string        `json:"name,omitempty"`        // unique in its holder; default: Per
	USD        Money         `json:"usd"`                   // the limit of one window; 0 allows only free models
	Tokens     *int64        `json:"tokens,omitempty"`      // the limit instead of USD
	Requests   *int64        `json:"requests,omitempty"`    // the limit instead of USD
	GPUSeconds *Money        `json:"gpu_seconds,omitempty"` // the limit instead of USD, in nanoseconds
	Soft       Money         `json:"soft,omitempty"`        // in whole units: passing it alerts, and refuses nothing
	Models     []string      `json:"models,omitempty"`      // names or "prefix*" that count; empty: all
	Per        Per           `json:"per,omitempty"`         // default: total
	Every      int64         `json:"every,omitempty"`       // a window is so many periods long; default 1
	Zone       string        `json:"zone,omitempty"`        // IANA name; default: UTC
	Strict     bool          `json:"strict,omitempty"`      // hold one token for every byte of the prompt
	Clamp      bool          `json:"clamp,omitempty"`       // lower a request's maximum to what is left
	Overdraft  Money         `json:"overdraft,omitempty"`   // in whole units: what each node may go over its lease
	NoQuorum   NoQuorum      `json:"no_quorum,omitempty"`
	Unpriced   Unpriced      `json:"unpriced,omitempty"`
	Increase   *TempIncrease `json:"increase,omitempty"`

	Alerts *channel.BudgetAlerts `json:"alerts,omitempty"` // nil: the setting's
}

// TempIncrease raises a limit until a moment, by whole units of its budget. On every node
// the lease that came of it ends with it.
type TempIncrease struct {
	Amount Money  `json:"amount"`
	Until  Time   `json:"until"`
	By     string `json:"by,omitempty"` // who approved it, as in audit entries
	Reason string `json:"reason,omitempty"`
}

// Unit tells what the budget counts.
func (t *Terms) Unit() Unit {
	switch {
	case t.Tokens != nil:
		return UnitTokens
	case t.Requests != nil:
		return UnitRequests
	case t.GPUSeconds != nil:
		return UnitGPUSeconds
	}
	return UnitUSD
}

// Limit is the amount of one window at the time, in the unit, with an increase that has not
// ended.
func (t *Terms) Limit(at Time) Money {
	limit := t.USD
	switch t.Unit() {
	case UnitTokens:
		limit = Money(*t.Tokens)
	case UnitRequests:
		limit = Money(*t.Requests)
	case UnitGPUSeconds:
		limit = *t.GPUSeconds
	}
	if t.Increase != nil && at < t.Increase.Until {
		limit += t.parts(t.Increase.Amount)
	}
	return limit
}

// Raise is what an increase adds to the limit at the time, and when it ends; 0, 0 without.
func (t *Terms) Raise(at Time) (amount Money, until Time) {
	if t.Increase == nil || at >= t.Increase.Until || t.Increase.Amount == 0 {
		return 0, 0
	}
	return t.parts(t.Increase.Amount), t.Increase.Until
}

// SoftLimit is the amount that alerts when it is passed; 0: none does.
func (t *Terms) SoftLimit() Money { return t.parts(t.Soft) }

// Over is the amount that each node may go over its lease.
func (t *Terms) Over() Money { return t.parts(t.Overdraft) }

// parts turns whole units, written as decimals, into the smallest parts that the budget
// counts: tokens and requests have none smaller than one.
func (t *Terms) parts(m Money) Money {
	if u := t.Unit(); u == UnitTokens || u == UnitRequests {
		return m / Dollar
	}
	return m
}

// Counts says whether requests for the model count in the budget.
func (t *Terms) Counts(model string) bool { return AllowsModel(t.Models, model) }

func (t *Terms) canonicalize() {
	if t.Per == "" {
		t.Per = PerTotal
	}
	if t.Every == 1 {
		t.Every = 0
	}
	if t.Name == "" {
		t.Name = t.defaultName()
	}
}

// defaultName is the period, with the unit and the number of periods if they are not the
// usual: "day", "30day", "tokens_month".
func (t *Terms) defaultName() string {
	name := string(t.Per)
	if t.Every > 1 {
		name = strconv.FormatInt(t.Every, 10) + name
	}
	if u := t.Unit(); u != UnitUSD {
		name = string(u) + "_" + name
	}
	return name
}

func (t *Terms) validateAmounts(field string) error {
	units := 0
	for _, set := range []bool{t.USD != 0, t.Tokens != nil, t.Requests != nil, t.GPUSeconds != nil} {
		if set {
			units++
		}
	}
	if units > 1 {
		return invalidf(field, "a budget counts one of usd, tokens, requests, gpu_seconds")
	}
	if limit := t.Limit(math.MaxInt64); limit < 0 || limit > MaxMoney {
		return invalidf(field+"."+string(cmp.Or(t.Unit(), "usd")), "%d is not between 0 and %d", limit, MaxMoney)
	}
	if t.Soft < 0 || t.Soft > MaxMoney {
		return invalidf(field+".soft", "%s is not between 0 and %s", t.Soft, MaxMoney)
	}
	if t.Increase != nil && (t.Increase.Amount < 0 || t.Increase.Amount > MaxMoney) {
		return invalidf(field+".increase.amount", "%s is not between 0 and %s", t.Increase.Amount, MaxMoney)
	}
	if t.Increase != nil && t.Increase.Until == 0 {
		return invalidf(field+".increase.until", "an increase ends")
	}
	return nil
}

func (t *Terms) validate(field string) error {
	switch t.Per {
	case "", PerHour, PerDay, PerWeek, PerMonth, PerTotal:
	default:
		return invalidf(field+".per", "%q is not one of hour, day, week, month, total", t.Per)
	}
	if t.Every < 0 || t.Every > 1000 {
		return invalidf(field+".every", "%d is not between 1 and 1000", t.Every)
	}
	if len(t.Name) > 64 || strings.ContainsAny(t.Name, "/\x00") || strings.HasPrefix(t.Name, sessionMark) || strings.HasPrefix(t.Name, givenMark) {
		return invalidf(field+".name", "%q is longer than 64 bytes, has a slash or begins with %s or %s", t.Name, sessionMark, givenMark)
	}
	if err := t.validateAmounts(field); err != nil {
		return err
	}
	if err := validNames(field+".models", t.Models); err != nil {
		return err
	}
	if t.Overdraft < 0 || t.Overdraft > MaxMoney {
		return invalidf(field+".overdraft", "%s is not between 0 and %s", t.Overdraft, MaxMoney)
	}
	if _, err := t.location(); err != nil {
		return invalidf(field+".zone", "%q is not a time zone such as Europe/Paris", t.Zone)
	}
	if err := t.NoQuorum.validate(field + ".no_quorum"); err != nil {
		return err
	}
	if err := invalidChannel("", t.Alerts.Check(field+".alerts")); err != nil {
		return err
	}
	return t.Unpriced.validate(field + ".unpriced")
}

func (q NoQuorum) validate(field string) error {
	if q != NoQuorumBlock && q != NoQuorumShare && q != "block" {
		return invalidf(field, "%q is not one of block, share", q)
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

// zones are the locations that were read, by name: time.LoadLocation reads a file each time.
var zones sync.Map

func (t *Terms) location() (*time.Location, error) {
	if t.Zone == "" {
		return time.UTC, nil
	}
	if l, ok := zones.Load(t.Zone); ok {
		return l.(*time.Location), nil
	}
	l, err := time.LoadLocation(t.Zone)
	if err == nil {
		zones.Store(t.Zone, l)
	}
	return l, err
}

// Window is one run of a budget's period, from Start up to but not including End.
// End is 0 for a window that never ends.
type Window struct {
	Start Time `json:"start,omitempty"`
	End   Time `json:"end,omitempty"`
}

// Contains says whether at lies in the window.
func (w Window) Contains(at Time) bool { return at >= w.Start && (w.End == 0 || at < w.End) }

// Window returns the window of the terms that at lies in. Windows of several periods are
// counted from 1970, in the zone, weeks from its first Monday. Proposers and nodes call it,
// never Apply: it reads the time zone database.
func (t *Terms) Window(at time.Time) (Window, error) {
	loc, err := t.location()
	if err != nil {
		return Window{}, fmt.Errorf("zone %q: %w", t.Zone, err)
	}
	at, every := at.In(loc), max(t.Every, 1)
	y, m, d := at.Date()
	date := func(y int, m time.Month, d int) Time { return At(dayStart(y, m, d, loc)) }
	switch t.Per {
	case PerHour:
		hours := at.Unix() / 3600
		start := time.Unix((hours-hours%every)*3600, 0)
		return Window{At(start), At(start.Add(time.Duration(every) * time.Hour))}, nil
	case PerDay:
		back := int(daysSince(y, m, d) % every)
		return Window{date(y, m, d-back), date(y, m, d-back+int(every))}, nil
	case PerWeek:
		back := int((daysSince(y, m, d) + 3) % (7 * every)) // 1970-01-01 was a Thursday
		return Window{date(y, m, d-back), date(y, m, d-back+7*int(every))}, nil
	case PerMonth:
		back := time.Month((int64(y-1970)*12 + int64(m) - 1) % every)
		return Window{date(y, m-back, 1), date(y, m-back+time.Month(every), 1)}, nil
	default:
		return Window{}, nil
	}
}

// daysSince counts the days from 1970-01-01 to a date.
func daysSince(y int, m time.Month, d int) int64 {
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400
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

// Split takes an account's id apart. Only the name of the terms cannot have a slash.
func (a AccountID) Split() (kind, id, terms string, ok bool) {
	kind, rest, _ := strings.Cut(string(a), "/")
	i := strings.LastIndexByte(rest, '/')
	if i <= 0 {
		return "", "", "", false
	}
	return kind, rest[:i], rest[i+1:], true
}
