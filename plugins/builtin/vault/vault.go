// Package vault remembers what guardrails have masked in requests, to put it back into their answers.
package vault

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
)

// Bounds of what is remembered for restoring.
const (
	vaultLife    = 15 * time.Minute // of a request that has not been heard of
	maxVaults    = 20_000
	maxPerVault  = 10_000
	placeholders = "[<" // each begins with the first of them two and ends with ">]"
)

// Vaults remember what stands for what, by request, until it is answered. They are safe for
// concurrent use, and nothing of them is written anywhere.
type Vaults struct {
	mu  sync.Mutex // guards all
	all map[string]*vault
	now func() time.Time
}

type vault struct {
	of    map[string]string // placeholders by value
	value map[string]string // values by placeholder
	count map[string]int    // by kind
	used  time.Time
}

// New makes vaults that remember nothing yet.
func New() *Vaults { return &Vaults{all: make(map[string]*vault), now: time.Now} }

// Put returns what stands for a value in the request: the same for the same value.
func (v *Vaults) Put(request, kind, value string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.all[request]
	if e == nil {
		v.sweepLocked()
		e = &vault{of: make(map[string]string), value: make(map[string]string), count: make(map[string]int)}
		v.all[request] = e
	}
	e.used = v.now()
	key := kind + "\x00" + value
	if p, ok := e.of[key]; ok {
		return p
	}
	if len(e.of) >= maxPerVault {
		return "[" + kind + "]" // cannot be restored
	}
	e.count[kind]++
	p := placeholders + kind + "_" + strconv.Itoa(e.count[kind]) + ">]"
	e.of[key], e.value[p] = p, value
	return p
}

// restore returns the value for which the placeholder stands in the request.
func (v *Vaults) restore(request, placeholder string) (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.all[request]
	if e == nil {
		return "", false
	}
	e.used = v.now()
	value, ok := e.value[placeholder]
	return value, ok
}

// sweepLocked forgets requests that nobody has asked about for long, and the oldest if there are too many.
func (v *Vaults) sweepLocked() {
	if len(v.all)%64 != 0 && len(v.all) < maxVaults {
		return
	}
	before := v.now().Add(-vaultLife)
	oldest, at := "", time.Time{}
	for id, e := range v.all {
		if e.used.Before(before) {
			delete(v.all, id)
			continue
		}
		if oldest == "" || e.used.Before(at) {
			oldest, at = id, e.used
		}
	}
	if len(v.all) >= maxVaults {
		delete(v.all, oldest)
	}
}

// Spans are what of the text of an answer to the request, from a place on, is put back. What may be the
// beginning of a placeholder is a span, too, of which nothing becomes.
func (v *Vaults) Spans(request, text string, from int) []scan.Span {
	var all []scan.Span
	for at := from; ; {
		start, end, ok := nextPlaceholder(text, at)
		if !ok {
			return all
		}
		at = end
		if value, ok := v.restore(request, text[start:end]); ok {
			all = append(all, scan.Span{Start: start, End: end, Action: scan.Mask, Text: value})
		} else if end == len(text) { // it may become one
			all = append(all, scan.Span{Start: start, End: end, Action: scan.Allow})
		}
	}
}

// nextPlaceholder is where what looks like a placeholder begins and ends in the text, from a place
// on. One whose end is not there ends with the text.
func nextPlaceholder(text string, from int) (start, end int, ok bool) {
	i := strings.Index(text[from:], placeholders)
	if i < 0 {
		if n := len(text); n > from && text[n-1] == placeholders[0] {
			return n - 1, n, true
		}
		return 0, 0, false
	}
	start = from + i
	for end = start + len(placeholders); end < len(text); end++ {
		c := text[end]
		if c == '>' && strings.HasPrefix(text[end:], ">]") {
			return start, end + 2, true
		}
		if c == '>' && end == len(text)-1 {
			return start, len(text), true
		}
		if c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return start, end, true
		}
	}
	return start, end, true
}
