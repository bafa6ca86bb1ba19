package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// keyVerbs are what can be done with keys beside what can be with every record.
func keyVerbs(a *app) []*cobra.Command {
	return append(a.blockVerbs("key"), a.keyRotate(), a.keyPickUp(), a.keyRaise(), a.keyExplain(), a.keyImport(keyFields))
}

func (a *app) keyRotate() *cobra.Command {
	var r client.Rotate
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give a key a new secret, which is shown once",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Secret, err = a.Secret(r.Secret); err != nil {
				return fmt.Errorf("--secret: %w", err)
			}
			if r.Change, err = a.document(cmd, nil); err != nil {
				return err
			}
			k, err := a.Client().RotateKey(cmd.Context(), args[0], r)
			if err != nil {
				return err
			}
			a.WarnPending()
			return a.PrintOne(k)
		},
	}
	fieldFlags(cmd, nil)
	cmd.Flags().StringVar(&r.Grace, "grace", "", "how long the old secret stays valid: 24h (default: not at all)")
	cmd.Flags().StringVar(&r.Secret, "secret", "", "take this secret: env:VAR, file:PATH or - (default: made)")
	cmd.Flags().StringVar(&r.IdempotencyKey, "idempotency-key", "", "name the rotation: asking again with it answers the same secret")
	return cmd
}

func (a *app) keyPickUp() *cobra.Command {
	return &cobra.Command{
		Use:   "pickup NAME",
		Short: "Fetch the secret that a scheduled rotation made, which is shown once",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := a.Client().PickUpKey(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a.WarnPending()
			return a.PrintOne(k)
		},
	}
}

func (a *app) keyRaise() *cobra.Command {
	return raiseCommand("raise NAME", "Raise a budget of a key for a time; --by 0 ends that", 1, func(cmd *cobra.Command, args []string, r client.Raise) error {
		k, err := a.Client().RaiseKey(cmd.Context(), args[0], r)
		if err != nil {
			return err
		}
		a.WarnPending()
		return a.PrintOne(k)
	})
}

func (a *app) memberRaise() *cobra.Command {
	return raiseCommand("raise TEAM USER", "Raise a budget of a member for a time; --by 0 ends that", 2, func(cmd *cobra.Command, args []string, r client.Raise) error {
		m, err := a.Client().RaiseMember(cmd.Context(), args[0], args[1], r)
		if err != nil {
			return err
		}
		a.WarnPending()
		return a.PrintOne(m)
	})
}

func raiseCommand(use, short string, args int, do func(*cobra.Command, []string, client.Raise) error) *cobra.Command {
	var r client.Raise
	var amount string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(args),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Amount, err = resource.ParseMoney(amount); err != nil {
				return fmt.Errorf("--by: %w", err)
			}
			return do(cmd, args, r)
		},
	}
	cmd.Flags().StringVar(&amount, "by", "", "so much more: 50")
	cmd.Flags().StringVar(&r.For, "for", "", "for how long: 24h, 7d")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why")
	cmd.Flags().StringVar(&r.Budget, "budget", "", "name of the budget, if there are several")
	if err := cmd.MarkFlagRequired("by"); err != nil {
		panic("conclave: no flag --by: " + err.Error()) // it is declared above
	}
	return cmd
}
