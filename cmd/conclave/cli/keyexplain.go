package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/resource"
)

// keyExplain shows what a key may do now and which level says so.
func (a *app) keyExplain() *cobra.Command {
	var customer string
	cmd := a.explainVerb("explain NAME", "Show what a key may do now, which level binds, and what refuses requests",
		func(ctx context.Context, ref string, more url.Values) (client.Effective, error) {
			if customer != "" {
				more.Set("customer", customer)
			}
			return a.Client().Effective(ctx, ref, more)
		})
	cmd.Flags().StringVar(&customer, "customer", "", "requests of this end user")
	return cmd
}

// customerExplain shows what an end user may do now, whoever's key his requests come with.
func (a *app) customerExplain() *cobra.Command {
	return a.explainVerb("explain ID", "Show what an end user, with a record or without, may do now, and what refuses his requests",
		func(ctx context.Context, id string, more url.Values) (client.Effective, error) {
			return a.Client().EffectiveCustomer(ctx, id, more)
		})
}

// explainVerb shows what ask says about the one that is named.
func (a *app) explainVerb(use, short string, ask func(ctx context.Context, ref string, more url.Values) (client.Effective, error)) *cobra.Command {
	var model string
	var tags []string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			more := url.Values{}
			for name, v := range map[string]string{"model": model, "tags": strings.Join(tags, ",")} {
				if v != "" {
					more.Set(name, v)
				}
			}
			e, err := ask(cmd.Context(), args[0], more)
			if err != nil {
				return err
			}
			table, err := a.Tables()
			if err != nil {
				return err
			}
			if !table {
				return a.PrintJSON(e)
			}
			return a.printEffective(args[0], &e)
		},
	}
	cmd.Flags().StringVar(&model, "model", "", "requests for this model")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "requests with this tag")
	return cmd
}

// printEffective writes what a key, or the end user who was named, may do.
func (a *app) printEffective(named string, e *client.Effective) error {
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	verdict := "allowed"
	if !e.Allowed {
		verdict = "REFUSED"
	}
	what := "KEY"
	if e.KeyID == "" {
		what = "END USER"
	}
	fmt.Fprintf(w, "%s\t%s\t%s\n", what, console.Printable(firstText(e.Name, firstText(e.KeyID, named))), verdict)
	for _, b := range e.Blocks {
		until := ""
		if b.Until != 0 {
			until = " until " + b.Until.Std().Format("2006-01-02T15:04:05Z")
		}
		fmt.Fprintf(w, "  %s\t%s\t%s%s\n", b.Code, levelText(b.Level), console.Printable(b.Reason), until)
	}
	fmt.Fprintln(w, "LEVELS")
	for _, l := range e.Levels {
		fmt.Fprintf(w, "  %s\t%s\n", l.Kind, console.Printable(firstText(l.Name, l.ID)))
	}
	fmt.Fprintf(w, "MODELS\t%s\t%s\n", listText(e.Models.Allowed, false), boundText(e.Models.Bound))
	for _, d := range e.Models.Denied {
		fmt.Fprintf(w, "  not %s\t%s\n", console.Printable(d.Model), levelText(d.Level))
	}
	for _, f := range e.Models.BudgetFallbacks {
		fmt.Fprintf(w, "  once spent, %s -> %s\t%s\n", console.Printable(f.Model), listText(f.Instead, false), levelText(f.Level))
	}
	for _, g := range e.Groups {
		servers := append(slices.Clone(g.MCPServers), slices.Sorted(maps.Keys(g.MCPTools))...)
		fmt.Fprintf(w, "ACCESS GROUP\t%s\tof %s\tmodels %s\tMCP servers %s\n", console.Printable(firstText(g.Name, g.ID)), levelText(g.Level), listText(g.Models, false), listText(servers, false))
	}
	fmt.Fprintf(w, "ROUTES\t%s\t%s\n", listText(e.Routes.Allowed, e.Routes.Any), boundText(e.Routes.Bound))
	for _, l := range []struct {
		name string
		list client.EffectiveList
	}{{"PASS-THROUGH ROUTES", e.Passes}, {"MCP SERVERS", e.Objects.MCPServers}, {"VECTOR STORES", e.Objects.VectorStores}, {"AGENTS", e.Objects.Agents}} {
		if !l.list.Any {
			fmt.Fprintf(w, "%s\t%s\t%s\n", l.name, listText(l.list.Allowed, false), boundText(l.list.Bound))
		}
	}
	if len(e.Objects.BlockedTools) > 0 {
		fmt.Fprintf(w, "BLOCKED TOOLS\t%s\n", listText(e.Objects.BlockedTools, false))
	}
	fmt.Fprintf(w, "ADDRESSES\t%s\t%s\n", listText(e.Addresses.Allowed, e.Addresses.Any), boundText(e.Addresses.Bound))
	fmt.Fprintln(w, "BUDGETS")
	for _, b := range e.Budgets {
		fmt.Fprintf(w, "  %s\t%s\t%s of %s %s left%s\n", console.Printable(b.Budget), levelText(b.Level), b.Left, b.Limit, unitText(b.Unit), mark(b.Tightest))
	}
	fmt.Fprintln(w, "LIMITS")
	for _, l := range e.Limits {
		fmt.Fprintf(w, "  %s %s\t%s\t%d\n", l.Limit, console.Printable(limitOf(l)), levelText(l.Level), l.Value)
	}
	printRules(w, e.Rules)
	return w.Flush()
}

// printRules writes what else counts of the levels.
func printRules(w io.Writer, rules []client.EffectiveRule) {
	if len(rules) == 0 {
		return
	}
	fmt.Fprintln(w, "RULES")
	for _, r := range rules {
		value, err := json.Marshal(r.Value)
		if err != nil {
			value = []byte(err.Error())
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", console.Printable(r.Field), levelText(r.Level), console.Printable(string(value)))
	}
}

// limitOf is what a limit is of: a model, a tag, an MCP server; "" for all requests.
func limitOf(l client.EffectiveLimit) string {
	switch {
	case l.Tag != "":
		return "tag " + l.Tag
	case l.MCPServer != "":
		return "MCP server " + l.MCPServer
	}
	return l.Model
}

func firstText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func levelText(l client.EffectiveLevel) string {
	return l.Kind + " " + console.Printable(firstText(l.Name, l.ID))
}

func listText(list []string, all bool) string {
	switch {
	case all:
		return "any"
	case len(list) == 0:
		return "none"
	}
	return console.Printable(strings.Join(list, ", "))
}

func boundText(levels []client.EffectiveLevel) string {
	if len(levels) == 0 {
		return ""
	}
	var names []string
	for _, l := range levels {
		names = append(names, levelText(l))
	}
	return "by " + strings.Join(names, ", ")
}

func unitText(u resource.Unit) string {
	if u == resource.UnitUSD {
		return "USD"
	}
	return string(u)
}

func mark(tightest bool) string {
	if tightest {
		return " <- binds"
	}
	return ""
}
