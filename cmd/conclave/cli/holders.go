package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// holderNouns are the kinds of records that can be limited, beside keys and teams.
var holderNouns = []noun{
	{
		name: "organization", short: "Organizations of teams",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"MODELS", "models"}, {"SPEND", "spend"}, {"BLOCKED", "blocked"}},
		fields:  holderFields,
		create:  budgetFlags,
		more:    func(a *app) []*cobra.Command { return a.blockVerbs("organization") },
	},
	{
		name: "project", short: "Parts of a team's work",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"TEAM", "team_id"}, {"MODELS", "models"}, {"SPEND", "spend"}, {"BLOCKED", "blocked"}},
		fields: append([]field{
			{"team", "team_id", asText, "id or name of its team"},
			{"description", "description", asText, "what it is for"},
		}, holderFields...),
		filters: map[string]string{"team": "team_id"},
		create:  budgetFlags,
		more:    func(a *app) []*cobra.Command { return a.blockVerbs("project") },
	},
	{
		name: "user", short: "People with keys",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"EMAIL", "email"}, {"ROLE", "role"}, {"SPEND", "spend"}, {"BLOCKED", "blocked"}},
		fields: append([]field{
			{"id", "id", asText, "id, as an identity provider has it (default: made)"},
			{"email", "email", asText, "e-mail address"},
			{"role", "role", asText, "proxy_admin, proxy_admin_viewer, internal_user or internal_user_viewer"},
			{"organization", "organization_id", asText, "id or name of the organization"},
			{"service-account", "service_account", asBool, "no person"},
		}, holderFields...),
		filters: map[string]string{"organization": "organization_id", "role": "role", "status": "status"},
		create:  budgetFlags,
		more:    func(a *app) []*cobra.Command { return a.personVerbs("user") },
	},
	{
		name: "customer", short: "End users of applications that have limits of their own",
		columns: []console.Column{{"ID", "id"}, {"NAME", "name"}, {"REGION", "region"}, {"SPEND", "spend"}, {"BLOCKED", "blocked"}},
		fields: append([]field{
			{"alias", "name", asText, "name for people"},
			{"default-model", "default_model", asText, "model of requests that name none"},
			{"region", "region", asText, "region that may serve it: eu or us"},
		}, holderFields...),
		filters: map[string]string{"status": "status"},
		create:  budgetFlags,
		named:   "id",
		more:    func(a *app) []*cobra.Command { return append(a.personVerbs("customer"), a.customerExplain()) },
	},
	{
		name: "tag", short: "Tags of requests that have limits of their own",
		columns: []console.Column{{"ID", "id"}, {"DESCRIPTION", "description"}, {"MODELS", "models"}, {"SPEND", "spend"}},
		fields:  append([]field{{"description", "description", asText, "what it is for"}}, holderFields...),
		create:  budgetFlags,
		named:   "id",
	},
}

// memberFields are the flags of a member of a team.
var memberFields = append([]field{{"admin", "admin", asBool, "may write the team's keys and members"}}, holderFields...)

// memberCommand is the members of teams.
func (a *app) memberCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "member", Aliases: []string{"members"}, Short: "Members of a team", Args: cobra.NoArgs}
	columns := []console.Column{{"USER", "user_id"}, {"ADMIN", "admin"}, {"MODELS", "models"}, {"SPEND", "spend"}}
	list := &cobra.Command{
		Use: "list TEAM", Short: "List the members of a team", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			page, err := a.Client().Members(args[0]).List(cmd.Context(), client.Query{})
			if err != nil {
				return err
			}
			return a.PrintList(page, console.LooseAll(page.Items), columns)
		},
	}
	get := &cobra.Command{
		Use: "get TEAM USER", Short: "Show one member by the user's id or e-mail address", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.Client().Members(args[0]).One(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			return a.PrintOne(m)
		},
	}
	remove := &cobra.Command{
		Use: "remove TEAM USER", Short: "Take a member out of a team, with his keys of it", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.Client().Members(args[0]).Delete(cmd.Context(), args[1]); err != nil {
				return err
			}
			fmt.Fprintf(a.Stderr, "removed %s from team %s\n", console.Printable(args[1]), console.Printable(args[0]))
			a.WarnPending()
			return nil
		},
	}
	cmd.AddCommand(list, get, a.memberWrite("add"), a.memberWrite("update"), remove, a.memberRaise())
	return cmd
}

// teamAvailable lists what the key's user may join by himself, with member add.
func (a *app) teamAvailable() *cobra.Command {
	return &cobra.Command{
		Use: "available", Short: "List the teams that you may join by yourself", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			page, err := a.Client().AvailableTeams(cmd.Context())
			if err != nil {
				return err
			}
			return a.PrintList(page, console.LooseAll(page.Items), []console.Column{{"ID", "id"}, {"NAME", "name"}, {"ORGANIZATION", "organization_id"}, {"MODELS", "models"}})
		},
	}
}

// memberWrite adds a member or changes one.
func (a *app) memberWrite(verb string) *cobra.Command {
	short := map[string]string{"add": "Add a user to a team; one that has no record gets one", "update": "Change some fields of a member"}[verb]
	cmd := &cobra.Command{
		Use: verb + " TEAM USER", Short: short, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, err := a.document(cmd, memberFields)
			if err == nil {
				err = budgetFlags(doc)
			}
			if err != nil {
				return err
			}
			var m client.TeamMember
			if members := a.Client().Members(args[0]); verb == "add" {
				doc["user_id"] = args[1]
				m, err = members.Create(cmd.Context(), doc)
			} else {
				m, err = members.Patch(cmd.Context(), args[1], doc)
			}
			if err != nil {
				return err
			}
			a.WarnPending()
			return a.PrintOne(m)
		},
	}
	fieldFlags(cmd, memberFields)
	return cmd
}
