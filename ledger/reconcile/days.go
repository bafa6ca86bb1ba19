package reconcile

import (
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// Day is what was billed for a day in UTC, and what was recorded of it.
type Day struct {
	Date   string // 2026-01-31
	Billed resource.Money
	Ours   resource.Money
}

// Days sums the bill and what was recorded by day, each day from the first to the last once. What lies
// outside of them is left out. Over all days the sums are those of Compare.
func (b *Bill) Days(ours []Entry, first, last time.Time) []Day {
	byDay := &Bill{}
	billed, recorded := byDay.sum(withoutModels(b.Entries)), byDay.sum(withoutModels(ours))
	var out []Day
	for at := first.UTC(); !at.After(last); at = at.AddDate(0, 0, 1) {
		d := Day{Date: at.Format(time.DateOnly)}
		k := byDay.key(&Entry{Day: d.Date})
		if e := billed[k]; e != nil {
			d.Billed = e.Cost
		}
		if e := recorded[k]; e != nil {
			d.Ours = e.Cost
		}
		out = append(out, d)
	}
	return out
}

// Rate is the part of the bill that was recorded: 1 is all of it, and more is possible where prices
// are higher here than there. ok is false where nothing is billed.
func (d *Day) Rate() (rate float64, ok bool) {
	if d.Billed <= 0 {
		return 0, false
	}
	return float64(d.Ours) / float64(d.Billed), true
}
