package money

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// Totals are a fold of spend deltas.
type Totals struct {
	Cost       resource.Money `json:"cost"`
	Requests   int64          `json:"requests"`
	Failures   int64          `json:"failures"`
	Prompt     int64          `json:"prompt_tokens"`
	Completion int64          `json:"completion_tokens"`
}

// Plus adds up.
func (t Totals) Plus(o Totals) Totals {
	return Totals{
		Cost: add(t.Cost, o.Cost), Requests: t.Requests + o.Requests, Failures: t.Failures + o.Failures,
		Prompt: t.Prompt + o.Prompt, Completion: t.Completion + o.Completion,
	}
}

const totalsSize = 5 * 8

// Encode gives the row's bytes.
func (t Totals) Encode() []byte {
	b := make([]byte, 0, totalsSize)
	for _, v := range []int64{int64(t.Cost), t.Requests, t.Failures, t.Prompt, t.Completion} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// ParseTotals reads what Encode gave.
func ParseTotals(b []byte) (Totals, error) {
	if len(b) != totalsSize {
		return Totals{}, fmt.Errorf("totals of %d bytes, want %d: %w", len(b), totalsSize, frame.ErrDamaged)
	}
	u := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return Totals{Cost: resource.Money(u(0)), Requests: u(1), Failures: u(2), Prompt: u(3), Completion: u(4)}, nil
}

// TotalsKey is the key of the totals of all time of a holder. Clients choose some ids: one
// that is too long for a key is cut, and zeros are left out.
func TotalsKey(kind, id string) []byte {
	if strings.IndexByte(id, 0) >= 0 {
		id = strings.ReplaceAll(id, "\x00", "")
	}
	id = id[:min(len(id), maxTotalsID)]
	return []byte(kind + "/" + id + "\x00")
}

const maxTotalsID = 512

// DayKey is the key of the totals of one day; the days of a holder are one range, in order.
func DayKey(kind, id string, day int32) []byte {
	return binary.BigEndian.AppendUint32(TotalsKey(kind, id), uint32(day)^1<<31)
}

// Day reads the day from what DayKey gave; false for the totals of all time.
func Day(key []byte) (day int32, ok bool) {
	i := len(key) - 5
	if i < 0 || key[i] != 0 { // a day's key may have a zero further left, but names have none
		return 0, false
	}
	return int32(binary.BigEndian.Uint32(key[i+1:]) ^ 1<<31), true
}

// The kinds of totals that are not holders of budgets.
const (
	TotalKind    = "total" // of everything; its id is ""
	ProviderKind = "provider"
)

// KeepDays is for how many days the totals of a day are kept.
const KeepDays = 400

// OldestDay is the first day whose totals are kept.
func OldestDay(now resource.Time) int32 {
	return int32(int64(now)/(24*3600*1_000_000_000)) - KeepDays
}

// Sweep is where the search for old rows stands.
type Sweep struct {
	At       resource.Time // of the last step
	Totals   []byte        // keys that it has come to; nil: at the start
	Accounts []byte
}

// Encode gives the row's bytes.
func (s *Sweep) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(s.At))
	for _, k := range [][]byte{s.Totals, s.Accounts} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(k))), k...)
	}
	return b
}

// ParseSweep reads what Encode gave.
func ParseSweep(b []byte) (Sweep, error) {
	var s Sweep
	if len(b) < 8 {
		return s, fmt.Errorf("sweep of %d bytes: %w", len(b), frame.ErrDamaged)
	}
	s.At = resource.Time(binary.BigEndian.Uint64(b))
	rest := b[8:]
	for _, k := range []*[]byte{&s.Totals, &s.Accounts} {
		if len(rest) < 2 || len(rest) < 2+int(binary.BigEndian.Uint16(rest)) {
			return s, fmt.Errorf("sweep of %d bytes: %w", len(b), frame.ErrDamaged)
		}
		n := 2 + int(binary.BigEndian.Uint16(rest))
		*k = rest[2:n]
		rest = rest[n:]
	}
	return s, nil
}

// SplitDayKey takes apart what DayKey gave; false: it is a key of TotalsKey.
func SplitDayKey(key []byte) (kind, id string, day int32, ok bool) {
	holder, rest, found := bytes.Cut(key, []byte{0})
	if !found || len(rest) != 4 {
		return "", "", 0, false
	}
	kind, id, ok = strings.Cut(string(holder), "/")
	day, _ = Day(key)
	return kind, id, day, ok
}
