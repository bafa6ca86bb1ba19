package resource

import "strings"

// Bounds of what is known of a batch that a provider runs.
const (
	// MaxModelNames is how many models' names an artifact may have.
	MaxModelNames    = 64
	maxBatchHolds    = 128
	maxBatchShares   = 64
	maxOrderAt       = 2048
	maxModelNameText = 512
)

// ModelName is a model's name as the client wrote it, and as the provider was sent it.
type ModelName struct {
	Asked string `json:"asked"`
	Sent  string `json:"sent"`
}

// BatchOrder is what is known of a batch that a provider runs: where to ask for it, what budgets were charged for it when it
// was ordered, and who books what it has used.
type BatchOrder struct {
	At    string      `json:"at"` // path and query of the provider's batches, below its address
	Holds []BatchHold `json:"holds,omitempty"`
	// Booker is the node that has begun to book: its journal alone has the records of that, with numbers above After. It
	// stays the booker, so that nothing is booked twice. "": nobody has begun.
	Booker string `json:"booker,omitempty"`
	After  uint64 `json:"after,omitempty"`
}

// BatchHold is what the budgets were charged ahead for the requests of a batch that one deployment answers.
type BatchHold struct {
	Model        string       `json:"model"` // the gateway's
	Sent         string       `json:"sent"`  // as the provider calls it
	DeploymentID string       `json:"deployment_id"`
	Cost         Money        `json:"cost"` // estimated
	Shares       []BatchShare `json:"shares,omitempty"`
}

// BatchShare is the part of a hold that one window of one budget has.
type BatchShare struct {
	Account  AccountID `json:"account"`
	Start    Time      `json:"start"` // of the window
	Amount   Money     `json:"amount"`
	Unit     Unit      `json:"unit"`
	Estimate bool      `json:"estimate,omitempty"` // what has no price counts at the setting's
}

// HoldOf is the place of the hold for a model as an answer names it: the one of that name, else of the longest name that it
// begins with, as dated versions do, else the first; -1: there are none.
func (o *BatchOrder) HoldOf(answered string) int {
	at, length := -1, -1
	for i := range o.Holds {
		if sent := o.Holds[i].Sent; strings.HasPrefix(answered, sent) && len(sent) > length {
			at, length = i, len(sent)
		}
	}
	if at < 0 && len(o.Holds) > 0 {
		return 0
	}
	return at
}

func (o *BatchOrder) validate() error {
	switch {
	case o.At == "" || len(o.At) > maxOrderAt:
		return invalidf("at", "must have 1 to %d bytes", maxOrderAt)
	case len(o.Holds) > maxBatchHolds:
		return invalidf("holds", "are %d, more than %d", len(o.Holds), maxBatchHolds)
	}
	for i := range o.Holds {
		h := &o.Holds[i]
		if h.Cost < 0 || len(h.Shares) > maxBatchShares || len(h.Model) > maxModelNameText || len(h.Sent) > maxModelNameText {
			return invalidf("holds", "of model %q are out of bounds", h.Model)
		}
		for _, s := range h.Shares {
			if _, _, _, ok := s.Account.Split(); !ok || s.Amount < 0 {
				return invalidf("holds", "has no account %q, or %d of it", s.Account, s.Amount)
			}
		}
	}
	return nil
}

func validModelNames(all []ModelName) error {
	if len(all) > MaxModelNames {
		return invalidf("names", "are %d, more than %d", len(all), MaxModelNames)
	}
	for _, n := range all {
		if n.Asked == "" || n.Sent == "" || len(n.Asked) > maxModelNameText || len(n.Sent) > maxModelNameText {
			return invalidf("names", "must have 1 to %d bytes", maxModelNameText)
		}
	}
	return nil
}
