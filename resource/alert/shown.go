package alert

import (
	"github.com/conclave-llm/conclave/resource"
)

// Shown is a budget's window for people: amounts are numbers in the budget's unit, so dollars,
// tokens, requests or GPU-seconds.
type Shown struct {
	Budget      string        `json:"budget"` // the name of the terms
	Unit        string        `json:"unit"`
	WindowStart resource.Time `json:"window_start,omitzero"`
	WindowEnd   resource.Time `json:"window_end,omitzero"` // none: it never ends
	Threshold   int64         `json:"threshold,omitempty"` // per cent
	Percent     int64         `json:"percent"`             // spent of the limit
	Limit       float64       `json:"limit"`
	Spent       float64       `json:"spent"`
	Soft        float64       `json:"soft,omitempty"`
	Refused     float64       `json:"refused,omitempty"` // the hold of a request that did not fit
}

// Show writes the window for people. Nil shows nil.
func (b *BudgetWindow) Show() *Shown {
	if b == nil {
		return nil
	}
	_, _, name, _ := b.Account.Split()
	unit, part := string(b.Unit), float64(resource.Dollar)
	switch b.Unit {
	case resource.UnitUSD:
		unit = "usd"
	case resource.UnitTokens, resource.UnitRequests:
		part = 1
	}
	amount := func(m resource.Money) float64 { return float64(m) / part }
	return &Shown{
		Budget: name, Unit: unit, WindowStart: b.Window.Start, WindowEnd: b.Window.End, Threshold: b.Threshold, Percent: b.Percent(),
		Limit: amount(b.Limit), Spent: amount(b.Settled), Soft: amount(b.Soft), Refused: amount(b.Refused),
	}
}
