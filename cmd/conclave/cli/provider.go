package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

func (a *app) providerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "provider", Short: "Providers: what each serves, which models it has, and sign-ins of people", Args: cobra.NoArgs}
	cmd.AddCommand(a.providerList(), a.providerGet(), a.providerDiscover(), a.providerSignIn())
	return cmd
}

// providerColumns are the columns of the table of providers.
var providerColumns = []console.Column{
	{"PROVIDER", "name"},
	{"ENDPOINTS", "endpoints"},
	{"BASE URL", "base_url"},
	{"KEY", "key_variables"},
	{"NEEDS", "options"},
}

func (a *app) providerList() *cobra.Command {
	return &cobra.Command{
		Use:   "list [TEXT]",
		Short: "List the providers that this program knows, those with TEXT in their name; asks no node",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			rows := providers.List(strings.Join(args, ""))
			return a.PrintList(client.Page[client.Provider]{Items: rows, Total: len(rows)}, console.LooseAll(rows), providerColumns)
		},
	}
}

func (a *app) providerGet() *cobra.Command {
	return &cobra.Command{
		Use:   "get NAME",
		Short: "Show one provider; asks no node",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			row, err := providers.Get(args[0])
			if err != nil {
				return err
			}
			return a.PrintOne(row)
		},
	}
}

func (a *app) providerDiscover() *cobra.Command {
	var q client.Discover
	var prefix string
	cmd := &cobra.Command{
		Use:   "discover NAME",
		Short: "Ask a provider which models it has, and with --apply make deployments of them",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("prefix") {
				q.Prefix = &prefix
			}
			found, err := a.Client().Discover(cmd.Context(), args[0], q)
			if err != nil {
				return err
			}
			return a.PrintList(found, console.LooseAll(found.Models), []console.Column{{"MODEL", "model"}, {"NAME", "name"}, {"ACTION", "action"}})
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Credential, "credential", "", "id or name of the credential to ask with (default: no key)")
	f.StringVar(&q.APIBase, "api-base", "", "base URL in the place of the provider's own, without a credential")
	f.StringVar(&q.Match, "match", "", "only models that fit, such as gpt-*")
	f.StringVar(&prefix, "prefix", "", "of the models' names here (default NAME/)")
	f.BoolVar(&q.Apply, "apply", false, "make models and deployments of those that nothing serves")
	return cmd
}
