package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// guardrailTry asks a guardrail about a text.
func (a *app) guardrailTry() *cobra.Command {
	var q client.GuardrailTry
	cmd := &cobra.Command{
		Use:   "try NAME [TEXT]",
		Short: "Ask a guardrail about a text, without a request to a model",
		Long: "Ask a guardrail about a text, without a request to a model. The node that answers asks its own process. " +
			"Without TEXT, or with -, standard input is read.",
		Example: "  conclave guardrail try words 'this is about the secret project'\n  conclave guardrail try pii --hook after < answer.txt",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && args[1] != "-" {
				q.Text = args[1]
			} else {
				text, err := io.ReadAll(a.Stdin)
				if err != nil {
					return fmt.Errorf("read the text: %w", err)
				}
				q.Text = string(text)
			}
			said, err := a.Client().TryGuardrail(cmd.Context(), args[0], q)
			if err != nil {
				return err
			}
			return a.printTried(&said)
		},
	}
	cmd.Flags().StringVar(&q.Hook, "hook", "", "before, after or during (default: the first of them that it has)")
	cmd.Flags().StringVar(&q.Role, "role", "", "of who says the text (default user)")
	cmd.Flags().StringVar(&q.User, "user", "", "the end user for whom it is")
	return cmd
}

func (a *app) printTried(said *client.GuardrailTried) error {
	table, err := a.Tables()
	if err != nil {
		return err
	}
	if !table {
		return a.PrintJSON(said)
	}
	fmt.Fprintf(a.Stdout, "%s (%s, %s): %s", said.Guardrail, said.Hook, time.Duration(said.Duration).Round(time.Microsecond), said.Status)
	for _, more := range []string{said.Found, said.Message, said.Error} {
		if more != "" {
			fmt.Fprintf(a.Stdout, "; %s", console.Printable(more))
		}
	}
	fmt.Fprintln(a.Stdout)
	if said.Text != "" {
		fmt.Fprintln(a.Stdout, console.Printable(said.Text))
	}
	return nil
}
