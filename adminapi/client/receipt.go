package client

import (
	"net/http"
	"strings"
	"time"
)

// Receipt says where a write that takes something away (a block, a deletion, a lower budget) holds already, and
// when it does everywhere. Its zero value is that of a write which nobody waits for.
type Receipt struct {
	EnforcedBy []string  // names of the members that have applied it, sorted
	Pending    []string  // of those that have not, sorted
	Until      time.Time // from then on none of Pending serves inference, unless it has applied the write; zero: nobody is pending, or Forever
	Forever    bool      // one of Pending may serve without a leader for ever: its serve_stale says so, or it may not have heard of a change of that
}

// Deadline is Until as text: RFC 3339 in whole seconds, "forever", or "" if nobody is pending.
func (r Receipt) Deadline() string {
	switch {
	case len(r.Pending) == 0:
		return ""
	case r.Forever:
		return "forever"
	}
	return r.Until.Add(time.Second - 1).UTC().Truncate(time.Second).Format(time.RFC3339)
}

// Put sets the headers of an answer.
func (r Receipt) Put(h http.Header) {
	for name, v := range map[string]string{HeaderEnforced: strings.Join(r.EnforcedBy, ", "), HeaderPending: strings.Join(r.Pending, ", "), HeaderUntil: r.Deadline()} {
		if v != "" {
			h.Set(name, v)
		}
	}
}

// receiptOf reads what Put wrote.
func receiptOf(h http.Header) Receipt {
	names := func(name string) []string {
		return strings.FieldsFunc(h.Get(name), func(r rune) bool { return r == ',' || r == ' ' })
	}
	r := Receipt{EnforcedBy: names(HeaderEnforced), Pending: names(HeaderPending), Forever: h.Get(HeaderUntil) == "forever"}
	r.Until, _ = time.Parse(time.RFC3339, h.Get(HeaderUntil)) // an older server names no time
	return r
}
