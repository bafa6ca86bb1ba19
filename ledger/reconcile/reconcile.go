// Package reconcile compares what was recorded with what a provider bills, and says what
// another price would have cost. Both only read: nothing is booked.
package reconcile

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// Entry is one line of a bill, or what was recorded of the same thing. Bills name requests,
// or else sum days and models; an amount that a bill does not give is -1.
type Entry struct {
	RequestID string         `json:"request_id,omitempty"`
	Day       string         `json:"day,omitempty"` // 2026-01-31
	Model     string         `json:"model,omitempty"`
	Cost      resource.Money `json:"cost"`
	Requests  int64          `json:"requests"`
	Input     int64          `json:"input_tokens"`
	Output    int64          `json:"output_tokens"`
}

// unknown is an amount that the bill does not give.
const (
	unknown         = -1
	withinTolerance = "within the tolerance"
)

// columns are the names under which bills give a field, in small letters.
var columns = map[string][]string{
	"request_id": {"request_id", "requestid", "response_id", "id"},
	"day":        {"day", "date", "usage_date", "usage_date_utc", "start_time", "start_time_iso", "bucket_start"},
	"model":      {"model", "model_id", "model_name", "snapshot_id", "sku"},
	"cost":       {"cost", "cost_usd", "amount", "amount_value", "amount_usd", "spend", "total_cost", "usd"},
	"requests":   {"requests", "num_requests", "num_model_requests", "n_requests", "request_count"},
	"input":      {"input_tokens", "prompt_tokens", "n_context_tokens_total", "usage_input_tokens", "context_tokens"},
	"output":     {"output_tokens", "completion_tokens", "n_generated_tokens_total", "usage_output_tokens", "generated_tokens"},
}

// Bill is what a provider charges.
type Bill struct {
	ByRequest bool // it names requests
	Entries   []Entry
	First     string // day; "" if it gives none
	Last      string
}

// Parse reads a bill in CSV with a heading. It needs the cost, and the request's id or the
// day.
func Parse(r io.Reader) (*Bill, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord, in.TrimLeadingSpace = -1, true
	head, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("read heading: %w", err)
	}
	at := map[string]int{}
	for field, names := range columns {
		at[field] = slices.IndexFunc(head, func(h string) bool {
			h = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(strings.TrimPrefix(h, "\ufeff"))), " ", "_")
			return slices.Contains(names, h)
		})
	}
	if at["cost"] < 0 || at["request_id"] < 0 && at["day"] < 0 {
		return nil, fmt.Errorf("the bill needs a column for the cost (%s), and one for the request (%s) or the day (%s)",
			strings.Join(columns["cost"], ", "), strings.Join(columns["request_id"], ", "), strings.Join(columns["day"], ", "))
	}
	b := &Bill{ByRequest: at["request_id"] >= 0}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := in.FieldPos(0)
		e, err := entryOf(row, at)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		b.add(e)
	}
}

func (b *Bill) add(e Entry) {
	if e.Day != "" && (b.First == "" || e.Day < b.First) {
		b.First = e.Day
	}
	b.Last = max(b.Last, e.Day)
	b.Entries = append(b.Entries, e)
}

func entryOf(row []string, at map[string]int) (e Entry, err error) {
	field := func(name string) string {
		if i := at[name]; i >= 0 && i < len(row) {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	e.RequestID, e.Model = field("request_id"), field("model")
	if e.Day, err = dayOf(field("day")); err != nil {
		return e, err
	}
	if e.Cost, err = resource.ParseMoney(strings.TrimPrefix(field("cost"), "$")); err != nil {
		return e, fmt.Errorf("cost: %w", err)
	}
	for name, to := range map[string]*int64{"requests": &e.Requests, "input": &e.Input, "output": &e.Output} {
		*to = unknown
		if text := field(name); text != "" {
			if *to, err = strconv.ParseInt(text, 10, 64); err != nil {
				return e, fmt.Errorf("%s: %q is not a whole number", name, text)
			}
		}
	}
	return e, nil
}

// dayOf reads a day, or the day of a time, or of Unix seconds.
func dayOf(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if len(text) >= len(time.DateOnly) {
		if _, err := time.Parse(time.DateOnly, text[:len(time.DateOnly)]); err == nil {
			return text[:len(time.DateOnly)], nil
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 1e8 && n < 1e11 {
		return time.Unix(n, 0).UTC().Format(time.DateOnly), nil
	}
	return "", fmt.Errorf("day: %q is not a day such as 2026-01-31", text)
}

// Difference is a line where the bill and the records do not say the same.
type Difference struct {
	Entry  Entry          `json:"entry"` // the bill's, or ours if the bill has none
	Billed resource.Money `json:"billed"`
	Ours   resource.Money `json:"ours"`
	Why    string         `json:"why"`
}

// Report is what came of a comparison. The differences add up to Billed - Ours.
type Report struct {
	Matched     int            `json:"matched"`
	Billed      resource.Money `json:"billed"`
	Ours        resource.Money `json:"ours"`
	Differences []Difference   `json:"differences"`
}

// key is what entries are matched by.
func (b *Bill) key(e *Entry) string {
	if b.ByRequest {
		return e.RequestID
	}
	return e.Day + "\x00" + e.Model
}

// Compare matches the bill's lines with what was recorded: by request, or by day and model,
// or by day where the bill names no model. Costs that differ by at most the tolerance match.
func (b *Bill) Compare(ours []Entry, tolerance resource.Money) *Report {
	if !b.ByRequest && !slices.ContainsFunc(b.Entries, func(e Entry) bool { return e.Model != "" }) {
		ours = withoutModels(ours)
	}
	billed, recorded := b.sum(b.Entries), b.sum(ours)
	rep := &Report{Differences: []Difference{}}
	for k, e := range billed {
		rep.Billed += e.Cost
		mine := recorded[k]
		delete(recorded, k)
		d := Difference{Entry: *e, Billed: e.Cost}
		if mine != nil {
			rep.Ours += mine.Cost
			d.Ours = mine.Cost
		}
		if d.Why = why(e, mine, tolerance); d.Why == "" {
			rep.Matched++
			if d.Billed == d.Ours {
				continue
			}
			d.Why = withinTolerance
		}
		rep.Differences = append(rep.Differences, d)
	}
	for _, e := range recorded {
		rep.Ours += e.Cost
		if e.Cost != 0 {
			rep.Differences = append(rep.Differences, Difference{Entry: *e, Ours: e.Cost, Why: "is recorded and not billed"})
		}
	}
	slices.SortFunc(rep.Differences, func(x, y Difference) int {
		return cmp.Or(strings.Compare(x.Entry.Day, y.Entry.Day), strings.Compare(x.Entry.Model, y.Entry.Model), strings.Compare(x.Entry.RequestID, y.Entry.RequestID))
	})
	return rep
}

// withoutModels are the entries as those of a bill that names no model.
func withoutModels(list []Entry) []Entry {
	list = slices.Clone(list)
	for i := range list {
		list[i].Model = ""
	}
	return list
}

func (b *Bill) sum(list []Entry) map[string]*Entry {
	out := map[string]*Entry{}
	for i := range list {
		e := &list[i]
		k := b.key(e)
		if have, ok := out[k]; ok {
			have.Cost += e.Cost
			for _, f := range []struct{ to, from *int64 }{{&have.Requests, &e.Requests}, {&have.Input, &e.Input}, {&have.Output, &e.Output}} {
				if *f.to == unknown || *f.from == unknown {
					*f.to = unknown
				} else {
					*f.to += *f.from
				}
			}
			continue
		}
		mine := *e
		out[k] = &mine
	}
	return out
}

// why explains the difference between a line of the bill and ours, "" if there is none.
func why(billed, ours *Entry, tolerance resource.Money) string {
	if ours == nil {
		return "is billed and not recorded"
	}
	diff := billed.Cost - ours.Cost
	if diff <= tolerance && diff >= -tolerance {
		return ""
	}
	for _, f := range []struct {
		name         string
		billed, ours int64
	}{{"requests", billed.Requests, ours.Requests}, {"input tokens", billed.Input, ours.Input}, {"output tokens", billed.Output, ours.Output}} {
		if f.billed != unknown && f.billed != f.ours {
			return fmt.Sprintf("%d %s are billed and %d recorded", f.billed, f.name, f.ours)
		}
	}
	if billed.Input == unknown && billed.Output == unknown {
		return "the cost differs"
	}
	return "the amounts agree and the price differs"
}

// Beyond is how many lines differ by more than the tolerance.
func (r *Report) Beyond() (n int) {
	for i := range r.Differences {
		if r.Differences[i].Why != withinTolerance {
			n++
		}
	}
	return n
}
