package ledger

import (
	"slices"

	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/ledger/fields"
	"github.com/conclave-llm/conclave/resource"
)

// appendRecord appends the body of a SETTLE, and returns the record as it stands there: of one that no frame
// can hold, what can be done without is left out, and what it cost stays.
func appendRecord(b []byte, r *Record) ([]byte, *Record) {
	at := len(b)
	b = putRecord(b, r)
	if len(b)-at <= maxBody {
		return b, r
	}
	short := *r
	for _, shorten := range [...]func(r *Record){withoutStory, shortTags, func(r *Record) { r.Tags = nil }} {
		shorten(&short)
		if b = putRecord(b[:at], &short); len(b)-at <= maxBody {
			return b, &short
		}
	}
	for len(b)-at > maxBody { // the accounts of a thousand budgets fit
		short.Charges = short.Charges[:len(short.Charges)/2]
		b = putRecord(b[:at], &short)
	}
	return b, &short
}

// withoutStory drops how a request was served. Who chose callbacks is told of by none, rather than by one that
// must not hear of it.
func withoutStory(r *Record) {
	r.Guardrails, r.Receipt.Tries, r.Receipt.Facts = nil, nil, facts.Facts{}
	if len(r.Callbacks) > 0 {
		r.Callbacks = []string{resource.NoCallbacks}
	}
}

// shortTags cuts tags to what totals know of them.
func shortTags(r *Record) { r.Tags = cutTags(r.Tags) }

func cutTags(tags []string) []string {
	tags = slices.Clone(tags[:min(len(tags), maxList)])
	for i, tag := range tags {
		tags[i] = fields.Cut(tag, maxName)
	}
	return tags
}

// appendReservation is appendRecord for the body of a RESERVE.
func appendReservation(b []byte, r *Reservation) []byte {
	at := len(b)
	b = putReservation(b, r)
	if len(b)-at <= maxBody {
		return b
	}
	short := *r
	short.Tags = cutTags(r.Tags)
	if b = putReservation(b[:at], &short); len(b)-at <= maxBody {
		return b
	}
	short.Tags = nil
	b = putReservation(b[:at], &short)
	for len(b)-at > maxBody {
		short.Holds = short.Holds[:len(short.Holds)/2]
		b = putReservation(b[:at], &short)
	}
	return b
}

// appendAmendment is appendRecord for the body of an AMEND.
func appendAmendment(b []byte, reserved uint64, holds []AccountCharge) []byte {
	at := len(b)
	b = putAmendment(b, reserved, holds)
	for len(b)-at > maxBody {
		holds = holds[:min(len(holds), maxList)/2]
		b = putAmendment(b[:at], reserved, holds)
	}
	return b
}
