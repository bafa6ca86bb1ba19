package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// noun is one kind of record on the command line.
type noun struct {
	name    string // "key"; the path is its plural
	path    string // of the list, if it is another
	short   string
	columns []console.Column
	fields  []field
	filters map[string]string // flags of list and the query parameters they set
	named   string            // member that the argument of create sets; default: name
	// create turns the flags into the document, if a field for each flag is not enough.
	create func(doc map[string]any) error
	more   func(a *app) []*cobra.Command // further verbs
}

func (n noun) plural() string { return cmp.Or(n.path, n.name+"s") }

func (a *app) nounCommand(n noun) *cobra.Command {
	cmd := &cobra.Command{Use: n.name, Aliases: []string{n.name + "s"}, Short: n.short, Args: cobra.NoArgs}
	cmd.AddCommand(a.listCommand(n), a.getCommand(n), a.createCommand(n), a.updateCommand(n), a.deleteCommand(n))
	if n.more != nil {
		cmd.AddCommand(n.more(a)...)
	}
	return cmd
}

func (a *app) listCommand(n noun) *cobra.Command {
	var q client.Query
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List " + n.name + "s",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q.More = url.Values{}
			for flag, param := range n.filters {
				if v, _ := cmd.Flags().GetString(flag); v != "" {
					q.More.Set(param, v)
				}
			}
			page, err := a.list(cmd.Context(), n, q, all)
			if err != nil {
				return err
			}
			if err := a.PrintList(page, console.LooseAll(page.Items), n.columns); err != nil {
				return err
			}
			if table, _ := a.Tables(); table && page.NextCursor != "" {
				fmt.Fprintf(a.Stderr, "%d of %d; go on with --cursor %s, or --all\n", len(page.Items), page.Total, page.NextCursor)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&q.Limit, "limit", 50, "records a page")
	f.StringVar(&q.Cursor, "cursor", "", "next_cursor of the page before")
	f.StringVar(&q.Sort, "sort", "", "name, id, created_at or updated_at; -name turns it")
	f.StringVarP(&q.Q, "query", "q", "", "part of the name or id")
	f.BoolVar(&all, "all", false, "every page")
	for flag := range n.filters {
		f.String(flag, "", "only those of this "+flag)
	}
	return cmd
}

func (a *app) list(ctx context.Context, n noun, q client.Query, all bool) (client.Page[json.RawMessage], error) {
	raw := a.Client().Raw(n.plural())
	if !all {
		return raw.List(ctx, q)
	}
	q.Limit = 500
	items, err := raw.All(ctx, q)
	return client.Page[json.RawMessage]{Items: items, Total: len(items)}, err
}

func (a *app) getCommand(n noun) *cobra.Command {
	return &cobra.Command{
		Use:   "get NAME",
		Short: "Show one " + n.name + " by name or id",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.Client().Raw(n.plural()).One(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.PrintOne(v)
		},
	}
}

func (a *app) createCommand(n noun) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Create a " + n.name,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, err := a.document(cmd, n.fields)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				doc[cmp.Or(n.named, "name")] = args[0]
			}
			if n.create != nil {
				if err := n.create(doc); err != nil {
					return err
				}
			}
			v, err := a.Client().Raw(n.plural()).Create(cmd.Context(), doc)
			if err != nil {
				return err
			}
			a.WarnPending()
			return a.PrintOne(v)
		},
	}
	fieldFlags(cmd, n.fields)
	return cmd
}

func (a *app) updateCommand(n noun) *cobra.Command {
	fields := slices.DeleteFunc(slices.Clone(n.fields), func(f field) bool { return strings.HasPrefix(f.path, firstPrefix) })
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Change some fields of a " + n.name,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			patch, err := a.document(cmd, fields)
			if err != nil {
				return err
			}
			if len(patch) == 0 {
				return &console.ExitError{Code: 2, Err: errors.New("nothing to change; see --help for the flags")}
			}
			if err := budgetFlags(patch); err != nil {
				return err
			}
			v, err := a.Client().Raw(n.plural()).Patch(cmd.Context(), args[0], patch)
			if err != nil {
				return err
			}
			a.WarnPending()
			return a.PrintOne(v)
		},
	}
	fieldFlags(cmd, fields)
	return cmd
}

func (a *app) deleteCommand(n noun) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME…",
		Short: "Delete " + n.name + "s for ever",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, ref := range args {
				if err := a.Client().Raw(n.plural()).Delete(cmd.Context(), ref); err != nil {
					return err
				}
				fmt.Fprintf(a.Stderr, "deleted %s %s\n", n.name, console.Printable(ref))
			}
			a.WarnPending()
			return nil
		},
	}
}

// budgetFlags turns --budget and --per into the list that a record has.
func budgetFlags(doc map[string]any) error {
	usd, hasUSD := doc["budget"]
	per, hasPer := doc["per"]
	delete(doc, "budget")
	delete(doc, "per")
	if !hasUSD && !hasPer {
		return nil
	}
	if !hasUSD {
		return errors.New("--per needs --budget")
	}
	terms := map[string]any{"usd": usd}
	if hasPer {
		terms["per"] = per
	}
	doc["budgets"] = []any{terms}
	return nil
}
