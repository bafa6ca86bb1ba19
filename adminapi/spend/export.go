package spend

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// exportRows is how many rows of an export are asked for at once.
const exportRows = 2000

// rowColumns are the columns of an export of requests, in their order.
var rowColumns = []struct {
	name string
	of   func(r *requestlog.Row) string
}{
	{"time", func(r *requestlog.Row) string { return r.Time.Std().Format("2006-01-02T15:04:05.000000000Z07:00") }},
	{"request_id", func(r *requestlog.Row) string { return r.RequestID }},
	{"node", func(r *requestlog.Row) string { return r.Node }},
	{"number", func(r *requestlog.Row) string { return strconv.FormatUint(r.Number, 10) }},
	{"count", func(r *requestlog.Row) string { return strconv.FormatInt(r.Count, 10) }},
	{"key_id", func(r *requestlog.Row) string { return r.KeyID }},
	{"team_id", func(r *requestlog.Row) string { return r.TeamID }},
	{"organization_id", func(r *requestlog.Row) string { return r.Organization }},
	{"project_id", func(r *requestlog.Row) string { return r.ProjectID }},
	{"user_id", func(r *requestlog.Row) string { return r.UserID }},
	{"customer_id", func(r *requestlog.Row) string { return r.Customer }},
	{"session_id", func(r *requestlog.Row) string { return r.Session }},
	{"model", func(r *requestlog.Row) string { return r.Model }},
	{"deployment_id", func(r *requestlog.Row) string { return r.DeploymentID }},
	{"provider", func(r *requestlog.Row) string { return r.Provider }},
	{"endpoint", func(r *requestlog.Row) string { return r.Endpoint }},
	{"status", func(r *requestlog.Row) string { return strconv.Itoa(int(r.Status)) }},
	{"error_kind", func(r *requestlog.Row) string { return r.ErrorKind }},
	{"error_code", func(r *requestlog.Row) string { return r.ErrorCode }},
	{"attempts", func(r *requestlog.Row) string { return strconv.Itoa(int(r.Attempts)) }},
	{"input_tokens", func(r *requestlog.Row) string { return strconv.FormatInt(r.Input, 10) }},
	{"cache_read_tokens", func(r *requestlog.Row) string { return strconv.FormatInt(r.CacheRead, 10) }},
	{"cache_write_tokens", func(r *requestlog.Row) string { return strconv.FormatInt(r.CacheWrite, 10) }},
	{"output_tokens", func(r *requestlog.Row) string { return strconv.FormatInt(r.Output, 10) }},
	{"reasoning_tokens", func(r *requestlog.Row) string { return strconv.FormatInt(r.Reasoning, 10) }},
	{"usage_source", func(r *requestlog.Row) string { return r.UsageSource }},
	{"cost", func(r *requestlog.Row) string { return r.Cost.String() }},
	{"duration_ms", func(r *requestlog.Row) string { return strconv.FormatInt(r.Duration/1e6, 10) }},
	{"ttft_ms", func(r *requestlog.Row) string { return strconv.FormatInt(r.TTFT/1e6, 10) }},
	{"adjusts", func(r *requestlog.Row) string {
		if r.Adjusts == 0 {
			return ""
		}
		return strconv.FormatUint(r.Adjusts, 10)
	}},
	{"prompt", func(r *requestlog.Row) string { return r.PromptName }},
	{"prompt_version", func(r *requestlog.Row) string {
		if r.PromptVer == 0 {
			return ""
		}
		return strconv.FormatInt(r.PromptVer, 10)
	}},
	{"tags", func(r *requestlog.Row) string { return strings.Join(r.Tags, " ") }},
}

// ExportRows writes all requests that the parameters select, in the order of their time, as
// CSV, or with format=json as one JSON object a line. If a node gives no answer it stops, so
// that nobody takes a part for the whole.
func (a *API) ExportRows(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	format, err := formatOf(v)
	if err != nil {
		return err
	}
	q, err := a.Rows(by, RowParams{
		From: v.Get("from"), To: v.Get("to"), Status: v.Get("status"), ErrorCode: v.Get("code"), Session: v.Get("session"),
		Sort: "time", Limit: exportRows, Names: v,
	})
	if err != nil {
		return err
	}
	if err := a.cfg.Exports(r.Context(), by, "requests", format); err != nil {
		return err
	}
	var out rowWriter
	for first := true; ; first = false {
		page, missing, err := a.cfg.Requests.Rows(r.Context(), q)
		if err == nil && len(missing) > 0 && v.Get("partial") != "true" {
			err = fmt.Errorf("export: %w", &resource.Invalid{
				Field: "partial", Reason: "is needed for an export without the requests of these nodes, which gave no answer: " + strings.Join(missing, ", "),
			})
		}
		if err != nil && first {
			return err
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the answer is not whole, and must not look so
		}
		if first {
			setMissing(w, missing)
			out = startRows(w, format)
		}
		if out.write(page.Rows) != nil || !page.More || len(page.Rows) == 0 {
			return nil // also if nobody listens any more
		}
		last := &page.Rows[len(page.Rows)-1]
		q.After = &requestlog.Cursor{Time: last.Time, Number: last.Number, Node: last.Node}
	}
}

// rowWriter writes rows in one of the formats.
type rowWriter struct {
	csv  *csv.Writer
	json *json.Encoder
}

func startRows(w http.ResponseWriter, format string) rowWriter {
	if format == "json" {
		w.Header().Set("Content-Type", "application/x-ndjson")
		return rowWriter{json: json.NewEncoder(w)}
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="requests.csv"`)
	out := csv.NewWriter(w)
	head := make([]string, 0, len(rowColumns))
	for _, c := range rowColumns {
		head = append(head, c.name)
	}
	_ = out.Write(head) // Flush tells
	return rowWriter{csv: out}
}

func (o rowWriter) write(rows []requestlog.Row) error {
	for i := range rows {
		if o.json != nil {
			if err := o.json.Encode(&rows[i]); err != nil {
				return err
			}
			continue
		}
		cells := make([]string, 0, len(rowColumns))
		for _, c := range rowColumns {
			cells = append(cells, c.of(&rows[i]))
		}
		if err := o.csv.Write(safe(cells)); err != nil {
			return err
		}
	}
	if o.csv != nil {
		o.csv.Flush()
		return o.csv.Error()
	}
	return nil
}

// ExportUsage writes the answer to a question about spend as CSV or JSON.
func (a *API) ExportUsage(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	format, err := formatOf(v)
	if err != nil {
		return err
	}
	q, err := a.Usage(by, UsageParams{From: v.Get("from"), To: v.Get("to"), Granularity: v.Get("granularity"), GroupBy: v.Get("group_by"), Names: v})
	if err != nil {
		return err
	}
	if err := a.cfg.Exports(r.Context(), by, "usage", format); err != nil {
		return err
	}
	lines, missing, err := a.cfg.Requests.Usage(r.Context(), q)
	if err != nil {
		return err
	}
	setMissing(w, missing)
	return writeTable(w, format, "usage", usageTable(&q, lines))
}

func usageTable(q *rollup.Query, lines []rollup.Line) [][]string {
	head := []string{"start"}
	for _, d := range q.GroupBy {
		head = append(head, d.String())
	}
	table := [][]string{append(head, "cost", "requests", "failures", "prompt_tokens", "completion_tokens",
		"cache_read_tokens", "cache_write_tokens", "reasoning_tokens")}
	for i := range lines {
		s, start := &lines[i].Sums, ""
		if q.Granularity != "total" {
			start = resource.Time(lines[i].Start * 1e9).Std().Format("2006-01-02T15:04:05Z07:00")
		}
		row := append([]string{start}, lines[i].Names...)
		row = append(row, resource.Money(s.Cost).String())
		table = append(table, append(row, numbers(s.Requests, s.Failures, s.Prompt, s.Completion, s.CacheRead, s.CacheWrite, s.Reasoning)...))
	}
	return table
}
