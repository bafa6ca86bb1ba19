package cli

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/config/dotprompt"
)

// promptCommands are what is done with prompts beside reading and writing them whole.
func (a *app) promptCommands() []*cobra.Command {
	return []*cobra.Command{a.promptImport(), a.promptPromote()}
}

// promptImport makes a version of a .prompt file.
func (a *app) promptImport() *cobra.Command {
	var name, environment string
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Add a .prompt file (dotprompt) as the newest version of a prompt, which is made if it is not there", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readInput(args[0])
			if err != nil {
				return err
			}
			v, err := dotprompt.Parse(b)
			if err != nil {
				return fmt.Errorf("%s: %w", console.Printable(args[0]), err)
			}
			if name == "" {
				name = strings.TrimSuffix(filepath.Base(args[0]), ".prompt")
			}
			p, err := a.Client().AddPromptVersion(cmd.Context(), name, map[string]any{"dotprompt": string(b), "environment": environment})
			if missing(err) {
				doc := map[string]any{"name": name, "versions": []any{v}}
				if environment != "" {
					doc["environments"] = map[string]int64{environment: 1}
				}
				p, err = a.Client().Prompts().Create(cmd.Context(), doc)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stderr, "prompt %s has version %d\n", console.Printable(p.Name), p.Last)
			a.WarnPending()
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "of the prompt (default: the file's without .prompt)")
	cmd.Flags().StringVar(&environment, "environment", "", "gets the new version")
	return cmd
}

func missing(err error) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == http.StatusNotFound
}

// promptPromote gives a version to an environment.
func (a *app) promptPromote() *cobra.Command {
	var environment string
	var version int64
	cmd := &cobra.Command{
		Use: "promote NAME", Short: "Give a version of a prompt to an environment", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.Client().Prompts().One(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if version == 0 {
				version = p.Last
			}
			if _, err := a.Client().Prompts().Patch(cmd.Context(), args[0], map[string]any{"environments": map[string]int64{environment: version}}); err != nil {
				return err
			}
			fmt.Fprintf(a.Stderr, "%s of prompt %s is version %d\n", console.Printable(environment), console.Printable(p.Name), version)
			a.WarnPending()
			return nil
		},
	}
	cmd.Flags().StringVar(&environment, "environment", "production", "that gets the version")
	cmd.Flags().Int64Var(&version, "version", 0, "number (default: the newest)")
	return cmd
}
