package books

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

func (a *app) alertCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "alert", Short: "Alerts of the cluster: list, get, kinds, retry, test", Args: cobra.NoArgs}
	cmd.AddCommand(a.alertList(), a.alertGet(), a.alertKinds(), a.alertRetry(), a.alertTest())
	return cmd
}

func (a *app) alertList() *cobra.Command {
	var kind, state, subject string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List alerts, the newest first",
		Example: "  conclave alert list --state dead\n  conclave alert list --kind 'budget_*' --subject team/team_1",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, v := range map[string]string{"kind": kind, "state": state, "subject": subject} {
				if v != "" {
					filter.Set(name, v)
				}
			}
			all, err := a.Client().Alerts(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return a.PrintList(all, console.LooseAll(all.Items), []console.Column{{"AT", "at"}, {"ID", "id"}, {"KIND", "kind"}, {"STATE", "state"}, {"TEXT", "text"}})
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "a kind of alerts, or the beginning of one with * behind it")
	cmd.Flags().StringVar(&state, "state", "", "pending, delivered, dead (a channel did not get it) or open (about a state that lasts)")
	cmd.Flags().StringVar(&subject, "subject", "", "kind and id of what it is about, such as key/key_1")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many, 1 to 500")
	return cmd
}

func (a *app) alertGet() *cobra.Command {
	return &cobra.Command{
		Use:   "get ID",
		Short: "Show an alert, and what became of it on each channel",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			one, err := a.Client().Alert(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.PrintOne(one)
		},
	}
}

func (a *app) alertKinds() *cobra.Command {
	return &cobra.Command{
		Use:   "kinds",
		Short: "List the kinds of alerts, and when they are raised",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := a.Client().AlertKinds(cmd.Context())
			if err != nil {
				return err
			}
			return a.PrintList(all, console.LooseAll(all.Items), []console.Column{{"KIND", "name"}, {"RAISED WHEN", "help"}})
		},
	}
}

func (a *app) alertRetry() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "retry [ID]",
		Short: "Send an alert, or all, again to the channels that did not get it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return errors.New("name an alert, or say --all")
			}
			send := a.Client().RetryAlerts
			if !all {
				send = func(ctx context.Context) (client.AlertRetry, error) { return a.Client().RetryAlert(ctx, args[0]) }
			}
			done, err := send(cmd.Context())
			if err != nil {
				return err
			}
			return a.PrintOne(done)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all alerts that a channel did not get")
	return cmd
}

func (a *app) alertTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test CHANNEL",
		Short: "Send a test through a channel of the setting alerts, from the node that answers",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			said, err := a.Client().TestAlert(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !said.Delivered {
				return fmt.Errorf("the channel %s did not take the test: %s", console.Printable(said.Channel), console.Printable(said.Error))
			}
			return a.PrintOne(said)
		},
	}
}
