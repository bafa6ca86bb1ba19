package books

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/ledger/reconcile"
	"github.com/conclave-llm/conclave/resource"
)

// longTimeout is how long commands wait that read all that is kept.
const longTimeout = 10 * time.Minute

// filters are flags that say whose requests are meant.
type filters struct{ flags map[string]*string }

var filterFlags = []struct{ name, usage string }{
	{"from", "a day (UTC), a time, or a duration such as 24h or 7d ago"},
	{"to", "likewise; a day is the end of it"},
	{"key", "ids or names, with commas"},
	{"team", "ids or names, with commas"},
	{"organization", "ids, with commas"},
	{"project", "ids, with commas"},
	{"user", "ids of the keys' users, with commas"},
	{"customer", "end users, as requests name them"},
	{"tag", "tags, with commas"},
	{"model", "names, with commas"},
	{"deployment", "ids, with commas"},
	{"provider", "names, with commas"},
	{"endpoint", "chat, completions, embeddings, …"},
}

// addFilters gives the command the flags. The global --key is the caller's own, so that whose
// requests are meant is --for-key.
func addFilters(cmd *cobra.Command) filters {
	f := filters{map[string]*string{}}
	for _, flag := range filterFlags {
		name := flag.name
		if name == "key" {
			name = "for-key"
		}
		f.flags[flag.name] = cmd.Flags().String(name, "", flag.usage)
	}
	return f
}

func (f filters) values() url.Values {
	q := url.Values{}
	for name, v := range f.flags {
		if *v != "" {
			q.Set(name, *v)
		}
	}
	return q
}

func (a *app) usageCommand() *cobra.Command {
	var groupBy, granularity, export string
	cmd := &cobra.Command{
		Use:   "usage [total|key|team|model] [NAME]",
		Short: "Show what was spent",
		Long: "Show what was spent: in all, or with --group-by, --granularity or a filter as the nodes recorded it.\n\n" +
			"  conclave usage team research\n" +
			"  conclave usage --group-by team,model --from 7d\n" +
			"  conclave usage --granularity day --provider openai --export csv",
		Args:      cobra.MaximumNArgs(2),
		ValidArgs: []string{"total", "key", "team", "model"},
	}
	f := addFilters(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q := f.values()
		for name, v := range map[string]string{"group_by": groupBy, "granularity": granularity} {
			if v != "" {
				q.Set(name, v)
			}
		}
		if len(args) > 0 {
			q.Set("kind", args[0])
		}
		if len(args) > 1 {
			q.Set("id", args[1])
		}
		if export != "" {
			if len(args) > 0 {
				return errors.New("an export takes filters, not a kind: --team NAME")
			}
			q.Set("format", export)
			return a.Client().Export(cmd.Context(), "usage", q, a.Stdout)
		}
		out, err := a.Client().Spend(cmd.Context(), q)
		if err != nil {
			return err
		}
		a.tellMissing(out.MissingNodes)
		return a.PrintList(out, console.LooseAll(out.Items), usageColumns(groupBy, granularity))
	}
	cmd.Flags().StringVar(&groupBy, "group-by", "", "key, team, organization, project, user, customer, tag, model, deployment, provider or endpoint, with commas")
	cmd.Flags().StringVar(&granularity, "granularity", "", "one line for each minute, hour, day or month")
	cmd.Flags().StringVar(&export, "export", "", "write csv or json with all columns")
	return cmd
}

func usageColumns(groupBy, granularity string) []console.Column {
	columns := []console.Column{{"KIND", "kind"}, {"ID", "id"}, {"DAY", "day"}}
	if groupBy != "" || granularity != "" {
		columns = nil
		if granularity != "" && granularity != "total" {
			columns = append(columns, console.Column{"START", "start"})
		}
		for word := range strings.SplitSeq(groupBy, ",") {
			if word = strings.TrimSpace(word); word != "" {
				columns = append(columns, console.Column{strings.ToUpper(word), "by." + word})
			}
		}
	}
	return append(columns, console.Column{"USD", "cost"}, console.Column{"REQUESTS", "requests"}, console.Column{"FAILURES", "failures"},
		console.Column{"PROMPT", "prompt_tokens"}, console.Column{"COMPLETION", "completion_tokens"})
}

// tellMissing warns of nodes whose numbers an answer lacks.
func (a *app) tellMissing(nodes []string) {
	if len(nodes) > 0 {
		fmt.Fprintf(a.Stderr, "conclave: these nodes gave no answer, and what they recorded is not in it: %s\n", strings.Join(nodes, ", "))
	}
}

func (a *app) ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "What was recorded of every request", Args: cobra.NoArgs}
	cmd.AddCommand(a.ledgerVerify(), a.ledgerExport(), a.ledgerReprice(), a.ledgerReconcile())
	for _, c := range cmd.Commands() {
		c.PreRun = func(cmd *cobra.Command, _ []string) {
			if !cmd.Flags().Changed("timeout") {
				a.Timeout = longTimeout
			}
		}
	}
	return cmd
}

func (a *app) ledgerVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Fold what all nodes recorded and compare it with every replicated total",
		Long:  "Fold the journals, rows and segments of all nodes and compare them with every replicated total. Each difference is named, and the exit status is 1 if there is one or if a node gives no answer.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.Client().VerifyLedger(cmd.Context())
			if err != nil {
				return err
			}
			table, err := a.Tables()
			if err != nil {
				return err
			}
			if !table {
				if err := a.PrintJSON(v.Raw); err != nil {
					return err
				}
			} else {
				for _, d := range v.Differences {
					fmt.Fprintln(a.Stdout, console.Printable(d))
				}
				fmt.Fprintf(a.Stdout, "%d totals compared at index %d, %d differences\n", v.Compared, v.Index, len(v.Differences))
			}
			a.tellMissing(v.Missing)
			if len(v.Differences)+len(v.Missing) > 0 {
				return errors.New("the ledger does not add up")
			}
			return nil
		},
	}
}

func (a *app) ledgerExport() *cobra.Command {
	var format, file string
	var partial bool
	cmd := &cobra.Command{Use: "export", Short: "Write all requests that are kept, the oldest first", Args: cobra.NoArgs}
	f := addFilters(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q := f.values()
		q.Set("format", format)
		if partial {
			q.Set("partial", "true")
		}
		return a.WriteTo(file, func(w io.Writer) error { return a.Client().Export(cmd.Context(), "requests", q, w) })
	}
	cmd.Flags().StringVar(&format, "format", "csv", "csv, or json with one object a line")
	cmd.Flags().StringVarP(&file, "file", "f", "", "file to write (default: standard output)")
	cmd.Flags().BoolVar(&partial, "partial", false, "go on without nodes that give no answer")
	return cmd
}

// exported is what reconcile reads of an exported request.
type exported struct {
	RequestID  string         `json:"request_id"`
	Time       resource.Time  `json:"time"`
	Model      string         `json:"model"`
	Count      int64          `json:"count"`
	Input      int64          `json:"input_tokens"`
	CacheRead  int64          `json:"cache_read_tokens"`
	CacheWrite int64          `json:"cache_write_tokens"`
	Output     int64          `json:"output_tokens"`
	Reasoning  int64          `json:"reasoning_tokens"`
	Cost       resource.Money `json:"cost"`
}

// eachExported calls visit for all requests that q selects.
func (a *app) eachExported(cmd *cobra.Command, q url.Values, visit func(e *exported)) error {
	q.Set("format", "json")
	r, w := io.Pipe()
	go func() { w.CloseWithError(a.Client().Export(cmd.Context(), "requests", q, w)) }()
	defer r.Close() //nolint:errcheck // ends the export too
	dec := json.NewDecoder(r)
	for {
		var e exported
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		visit(&e)
	}
}

func (a *app) ledgerReprice() *cobra.Command {
	var text string
	var apply bool
	cmd := &cobra.Command{
		Use:   "reprice --price JSON [--apply]",
		Short: "Show what requests would have cost at another price; with --apply, book the differences",
		Long: "Show what requests would have cost at another price, in US dollars per million tokens. With --apply the difference of each " +
			"request is booked as an adjustment, once: the same price again books nothing.\n\n" +
			`  conclave ledger reprice --model demo --from 30d --price '{"input": 0.2, "output": 0.8}'`,
		Args: cobra.NoArgs,
	}
	f := addFilters(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var price resource.Price
		if err := json.Unmarshal([]byte(text), &price); err != nil {
			return fmt.Errorf("--price: %w", err)
		}
		call := a.Client().PreviewReprice
		if apply {
			call = a.Client().Reprice
		}
		out, err := call(cmd.Context(), json.RawMessage(text), f.values())
		if err != nil {
			return err
		}
		err = a.PrintList(out.Items, console.LooseAll(out.Items), []console.Column{
			{"MODEL", "model"},
			{"REQUESTS", "requests"},
			{"USD", "cost"},
			{"REPRICED", "repriced"},
			{"CHANGE", "change"},
			{"BOOKED", "booked"},
			{"SKIPPED", "skipped"},
		})
		if len(out.MissingNodes) > 0 {
			return errors.Join(err, fmt.Errorf("these nodes gave no answer, and nothing of theirs is priced anew; do it again when they are back: %s",
				strings.Join(out.MissingNodes, ", ")))
		}
		return err
	}
	cmd.Flags().StringVar(&text, "price", "", `the price: {"input": 0.2, "output": 0.8, …}`)
	cmd.Flags().BoolVar(&apply, "apply", false, "book the difference of each request as an adjustment")
	_ = cmd.MarkFlagRequired("price") // the flag is there
	return cmd
}

func (a *app) ledgerReconcile() *cobra.Command {
	var tolerance string
	cmd := &cobra.Command{
		Use:   "reconcile BILL.csv",
		Short: "Compare what was recorded with a provider's bill",
		Long: "Compare what was recorded with a provider's bill in CSV, by request if the bill names requests, else by day and model. " +
			"Each difference is named; together they are the whole of it. The exit status is 1 if there is one beyond the tolerance.",
		Args: cobra.ExactArgs(1),
	}
	f := addFilters(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		most, err := resource.ParseMoney(tolerance)
		if err != nil || most < 0 {
			return fmt.Errorf("--tolerance: %q is not an amount", tolerance)
		}
		file, err := os.Open(args[0])
		if err != nil {
			return err
		}
		bill, err := reconcile.Parse(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("read bill %s: %w", args[0], err)
		}
		q := f.values()
		if q.Get("from") == "" && bill.First != "" {
			q.Set("from", bill.First)
		}
		if q.Get("to") == "" && bill.Last != "" {
			q.Set("to", bill.Last)
		}
		ours, err := a.recorded(cmd, bill, q)
		if err != nil {
			return err
		}
		return a.printReport(bill.Compare(ours, most))
	}
	cmd.Flags().StringVar(&tolerance, "tolerance", "0.01", "US dollars by which a line may differ")
	return cmd
}

// recorded is what the nodes recorded of what the bill tells.
func (a *app) recorded(cmd *cobra.Command, bill *reconcile.Bill, q url.Values) (ours []reconcile.Entry, err error) {
	if bill.ByRequest {
		err = a.eachExported(cmd, q, func(e *exported) {
			ours = append(ours, reconcile.Entry{
				RequestID: e.RequestID, Day: e.Time.Std().Format(time.DateOnly), Model: e.Model, Cost: e.Cost, Requests: e.Count,
				Input: e.Input + e.CacheRead + e.CacheWrite, Output: e.Output + e.Reasoning,
			})
		})
		return ours, err
	}
	q.Set("granularity", "day")
	q.Set("group_by", "model")
	out, err := a.Client().Spend(cmd.Context(), q)
	if err != nil {
		return nil, err
	}
	if len(out.MissingNodes) > 0 {
		return nil, fmt.Errorf("these nodes gave no answer: %s", strings.Join(out.MissingNodes, ", "))
	}
	for _, u := range out.Items {
		ours = append(ours, entryOf(&u))
	}
	return ours, nil
}

func entryOf(u *client.Usage) reconcile.Entry {
	return reconcile.Entry{Day: u.Day, Model: u.By["model"], Cost: u.Cost, Requests: u.Requests, Input: u.PromptTokens, Output: u.CompletionTokens}
}

func (a *app) printReport(rep *reconcile.Report) error {
	err := a.PrintList(rep, console.LooseAll(rep.Differences), []console.Column{
		{"DAY", "entry.day"}, {"MODEL", "entry.model"}, {"REQUEST", "entry.request_id"}, {"BILLED", "billed"}, {"OURS", "ours"}, {"WHY", "why"},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "billed %s, recorded %s, %d lines agree, %d differ\n", rep.Billed, rep.Ours, rep.Matched, len(rep.Differences))
	if rep.Beyond() > 0 {
		return errors.New("the bill and the records differ")
	}
	return nil
}
