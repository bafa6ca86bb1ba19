// Package facts holds what was known of a request when the gateway decided about it, apart from
// the records that decided: enough to decide again, offline, and no prompt and no secret.
package facts

import (
	"encoding/binary"
	"errors"

	"github.com/conclave-llm/conclave/ledger/fields"
	"github.com/conclave-llm/conclave/llm"
)

// Bounds on what a client may make the facts hold.
const (
	maxText = 1 << 10
	maxList = 64
)

// Facts are what a request was, as far as policies ask. What the record of the request says itself
// (its key, session, tags, verdicts of guardrails and attempts) is not here again.
type Facts struct {
	Index     uint64     `json:"index"`               // of the state that decided
	Path      string     `json:"path,omitempty"`      // that was asked
	Route     string     `json:"route,omitempty"`     // of which the path is another spelling; "": it is none
	Apart     bool       `json:"apart,omitempty"`     // the route finds its model in a way of its own
	Upload    bool       `json:"upload,omitempty"`    // the body is a file
	Address   string     `json:"address,omitempty"`   // of the client, where a policy asks for it
	Size      int64      `json:"size,omitempty"`      // bytes of the body
	Asked     string     `json:"asked,omitempty"`     // name of the model that the client asked for
	Spent     string     `json:"spent,omitempty"`     // name of the model in whose place the record's was asked, for the budget of it was spent
	Customer  string     `json:"customer,omitempty"`  // end user of a request that was not admitted
	Fallbacks []string   `json:"fallbacks,omitempty"` // that the client named
	Stays     bool       `json:"stays,omitempty"`     // the client wants no fallbacks
	Absent    []string   `json:"absent,omitempty"`    // enforced parameters that the body lacks
	Guards    []string   `json:"guards,omitempty"`    // guardrails that the client named
	Resting   []string   `json:"resting,omitempty"`   // deployments that could not be asked
	Count     *llm.Count `json:"count,omitempty"`     // of what refused it
}

// Clear drops what may name a person.
func (f *Facts) Clear() { f.Address, f.Customer = "", "" }

// errFacts is damage.
var errFacts = errors.New("facts are damaged")

// The flags at the head of the binary form.
const (
	flagApart = 1 << iota
	flagUpload
	flagStays
	flagCount
	flagLate
	flagLists
	flagName
	flagSpent
)

// Append appends the binary form, without its length: flags, numbers, texts, lists, count.
func (f *Facts) Append(b []byte) []byte {
	lists := f.lists()
	flags := f.flags()
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, f.Index)
	b = binary.AppendVarint(b, f.Size)
	for _, s := range [...]string{f.Path, f.Route, f.Address, f.Asked, f.Customer} {
		b = putText(b, s)
	}
	if flags&flagLists != 0 {
		for _, l := range lists {
			list := (*l)[:min(len(*l), maxList)]
			b = binary.AppendUvarint(b, uint64(len(list)))
			for _, s := range list {
				b = putText(b, s)
			}
		}
	}
	if c := f.Count; c != nil {
		for _, s := range [...]string{c.Of, c.Part, c.Unit} {
			b = putText(b, s)
		}
		for _, v := range [...]int64{c.Limit, c.Left, c.Asked} {
			b = binary.AppendVarint(b, v)
		}
		if c.Name != "" {
			b = putText(b, c.Name)
		}
	}
	if f.Spent != "" {
		b = putText(b, f.Spent)
	}
	return b
}

func (f *Facts) flags() (flags uint64) {
	for _, x := range [...]struct {
		is   bool
		flag uint64
	}{
		{f.Apart, flagApart},
		{f.Upload, flagUpload},
		{f.Stays, flagStays},
		{f.Count != nil, flagCount},
		{f.Count != nil && f.Count.Late, flagLate},
		{f.Spent != "", flagSpent},
		{f.Count != nil && f.Count.Name != "", flagName},
		{len(f.Fallbacks)+len(f.Absent)+len(f.Guards)+len(f.Resting) > 0, flagLists},
	} {
		if x.is {
			flags |= x.flag
		}
	}
	return flags
}

func (f *Facts) lists() [4]*[]string {
	return [...]*[]string{&f.Fallbacks, &f.Absent, &f.Guards, &f.Resting}
}

func putText(b []byte, s string) []byte { return fields.AppendText(b, s, maxText) }

// Parse reads what Append wrote.
func Parse(b []byte) (Facts, error) {
	var f Facts
	r := reader{fields.Reader{B: b}}
	flags := r.Uint()
	f.Apart, f.Upload, f.Stays = flags&flagApart != 0, flags&flagUpload != 0, flags&flagStays != 0
	f.Index, f.Size = r.Uint(), r.Int()
	for _, s := range [...]*string{&f.Path, &f.Route, &f.Address, &f.Asked, &f.Customer} {
		*s = r.text()
	}
	if flags&flagLists != 0 {
		for _, l := range f.lists() {
			*l = r.texts()
		}
	}
	if flags&flagCount != 0 {
		c := &llm.Count{Late: flags&flagLate != 0}
		for _, s := range [...]*string{&c.Of, &c.Part, &c.Unit} {
			*s = r.text()
		}
		for _, v := range [...]*int64{&c.Limit, &c.Left, &c.Asked} {
			*v = r.Int()
		}
		if flags&flagName != 0 {
			c.Name = r.text()
		}
		f.Count = c
	}
	if flags&flagSpent != 0 {
		f.Spent = r.text()
	}
	if r.Done() != nil {
		return Facts{}, errFacts
	}
	return f, nil
}

// reader takes fields off, within the bounds of what Append writes.
type reader struct{ fields.Reader }

func (r *reader) text() string {
	b := r.Bytes()
	if len(b) > maxText {
		r.Fail(errFacts)
		return ""
	}
	return fields.Valid(string(b))
}

func (r *reader) texts() []string {
	n := r.Count()
	if n > maxList {
		r.Fail(errFacts)
		return nil
	}
	var out []string
	for range n {
		out = append(out, r.text())
		if r.Err != nil {
			return nil
		}
	}
	return out
}
