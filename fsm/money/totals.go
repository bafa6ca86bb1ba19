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

// TotalsKey is the key of the totals of all time of a holder.
func TotalsKey(kind, id string) []byte { return []byte(kind + "/" + id + "\x00") }

// DayKey is the key of the totals of one day; the days of a holder are one range, in order.
func DayKey(kind, id string, day int32) []byte {
	return binary.BigEndian.AppendUint32(TotalsKey(kind, id), uint32(day)^1<<31)
}

// Day reads the day from what DayKey gave.
func Day(key []byte) int32 { return int32(binary.BigEndian.Uint32(key[len(key)-4:]) ^ 1<<31) }

// SplitDayKey takes apart what DayKey gave; false: it is a key of TotalsKey.
func SplitDayKey(key []byte) (kind, id string, day int32, ok bool) {
	holder, rest, found := bytes.Cut(key, []byte{0})
	if !found || len(rest) != 4 {
		return "", "", 0, false
	}
	kind, id, ok = strings.Cut(string(holder), "/")
	return kind, id, Day(key), ok
}
