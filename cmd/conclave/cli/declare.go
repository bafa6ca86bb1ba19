package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
)

// exitChanges is the status of a plan that has something to do.
const exitChanges = 2

// fileFlags are the flags of plan and apply.
type fileFlags struct {
	path          string
	how           client.ConfigOptions
	ignoreUnknown bool
}

func (f *fileFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.path, "file", "f", "", "configuration file: HCL, or LiteLLM's config.yaml")
	cmd.Flags().BoolVar(&f.how.Prune, "prune", false, "delete what a file declared and this one does not name")
	cmd.Flags().BoolVar(&f.how.TakeOver, "take-over", false, "make records that the API owns and the file names the file's")
	cmd.Flags().BoolVar(&f.ignoreUnknown, "ignore-unknown", false, "leave out keys of a config.yaml that are not known here, and say which")
	_ = cmd.MarkFlagRequired("file") // the flag is there
}

// load reads the file, and the files that it names with blob(PATH).
func (a *app) load(ctx context.Context, f *fileFlags) (*declare.File, []config.Blob, error) {
	file, err := load.With(f.path, os.LookupEnv, config.Options{IgnoreUnknown: f.ignoreUnknown, Known: a.variables(ctx)})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range file.Ignored {
		fmt.Fprintf(a.Stderr, "conclave: %s: ignored: %s\n", p.Position, p.Detail)
	}
	if a.openSecrets != nil {
		if err := a.openSecrets(ctx, f.path, &file.Resources); err != nil {
			return nil, nil, err
		}
	}
	d := declare.FromConfig(&file.Resources)
	return &d, file.Blobs, nil
}

// variables says which variables the cluster has, or the processes of its nodes. It asks when the file first names one
// that this machine lacks, or refers to one; of a cluster that does not answer nothing is known, and the plan says more.
func (a *app) variables(ctx context.Context) func(name string) bool {
	names := sync.OnceValue(func() map[string]bool {
		all, err := a.Client().Environment().All(ctx, client.Query{})
		if err != nil {
			fmt.Fprintf(a.Stderr, "conclave: the cluster's variables are not known: %s\n", err)
		}
		names := map[string]bool{}
		for _, v := range all {
			names[v.ID] = true
		}
		return names
	})
	processes := map[string]bool{}
	return func(name string) bool {
		if names()[name] {
			return true
		}
		has, asked := processes[name]
		if !asked {
			has = a.onNodes(ctx, name)
			processes[name] = has
		}
		return has
	}
}

// onNodes says whether the process of a node has a variable in its environment, and warns of one that only some have.
func (a *app) onNodes(ctx context.Context, name string) bool {
	tests, err := a.Client().TestSecret(ctx, "env://"+name)
	if err != nil {
		return true // nobody knows; the plan says what is wrong with the cluster
	}
	var with, without []string
	for _, t := range tests.Items {
		if t.OK {
			with = append(with, t.Node)
		} else {
			without = append(without, t.Node)
		}
	}
	if len(with) > 0 && len(without) > 0 {
		fmt.Fprintf(a.Stderr, "conclave: warning: the variable %s is set on %s and not on %s\n", console.Printable(name), console.Printable(strings.Join(with, ", ")), console.Printable(strings.Join(without, ", ")))
	}
	return len(with) > 0
}

func (a *app) planCommand() *cobra.Command {
	var f fileFlags
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Show what a configuration file would change",
		Long: "Show what a configuration file would create, change and (with --prune) delete, field by field; nothing is written. " +
			"Secrets are shown as fingerprints. The exit status is 0 if there is nothing to do, 2 if there are changes, 1 for an error.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, _, err := a.load(cmd.Context(), &f)
			if err != nil {
				return err
			}
			plan, err := a.Client().PlanConfig(cmd.Context(), d, f.how)
			if err != nil {
				return err
			}
			if err := a.printPlan(&plan); err != nil {
				return err
			}
			if len(plan.Changes) > 0 {
				return &console.ExitError{Code: exitChanges}
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) applyCommand() *cobra.Command {
	var f fileFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Bring a configuration file into the cluster, all of it or nothing",
		Long: "Show the plan, ask, and bring the file into the cluster in one entry: all of it or nothing. Applied again it changes nothing. " +
			"What is applied is the plan that was shown; if the cluster has changed since, nothing is. Files that the configuration names with blob(PATH) are uploaded first.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, blobs, err := a.load(cmd.Context(), &f)
			if err != nil {
				return err
			}
			plan, err := a.Client().PlanConfig(cmd.Context(), d, f.how)
			if err != nil {
				return err
			}
			if err := a.printPlan(&plan); err != nil || len(plan.Changes) == 0 {
				return err
			}
			if !yes {
				if err := a.Confirm("Apply these changes?"); err != nil {
					return err
				}
			}
			if err := a.upload(cmd.Context(), blobs); err != nil {
				return err
			}
			f.how.Expect = plan.Digest
			if _, err := a.Client().ApplyConfig(cmd.Context(), d, f.how); err != nil {
				return err
			}
			fmt.Fprintf(a.Stderr, "applied %d changes\n", len(plan.Changes))
			a.WarnPending()
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) exportCommand() *cobra.Command {
	var path, format string
	cmd := &cobra.Command{
		Use:   "export [-f FILE]",
		Short: "Write the running configuration as a file that changes nothing",
		Long: "Write the running configuration, whoever owns it, as HCL or JSON. No secret is in it: sealed(…) stands for the stored ones, " +
			"and a plan takes them for unchanged. A new cluster needs provider secrets in their place, such as env(\"OPENAI_API_KEY\").",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := a.Client().ExportConfig(cmd.Context(), format)
			if err != nil {
				return err
			}
			text := []byte(out.HCL)
			if format == "json" {
				if text, err = json.MarshalIndent(out.File, "", "  "); err != nil {
					return err
				}
				text = append(text, '\n')
			}
			if path != "" {
				return os.WriteFile(path, text, 0o600)
			}
			_, err = a.Stdout.Write(text)
			return err
		},
	}
	cmd.Flags().StringVarP(&path, "file", "f", "", "file to write (default: standard output)")
	cmd.Flags().StringVar(&format, "format", "hcl", "hcl or json")
	return cmd
}

func (a *app) ownCommand() *cobra.Command {
	var take bool
	cmd := &cobra.Command{
		Use:   "own --take-over KIND NAME",
		Short: "Make a record the API's that belongs to the configuration file",
		Long: "Make a record the API's that belongs to the configuration file, so that it can be changed here. " +
			"Take it out of the file, too: else the next apply refuses, or takes it back with --take-over.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !take {
				return errors.New("say --take-over: the configuration file can then no longer write the record")
			}
			return a.Client().OwnConfig(cmd.Context(), args[0], args[1])
		},
	}
	cmd.Flags().BoolVar(&take, "take-over", false, "it is meant")
	return cmd
}

// marks begin the lines of a plan.
var marks = map[string]string{"create": "+", "update": "~", "delete": "-"}

// printPlan shows a plan for people or as JSON.
func (a *app) printPlan(plan *client.ConfigPlan) error {
	table, err := a.Tables()
	if err != nil {
		return err
	}
	if !table {
		return a.PrintJSON(plan)
	}
	count := map[string]int{}
	for i := range plan.Changes {
		c := &plan.Changes[i]
		count[c.Action]++
		fmt.Fprintf(a.Stdout, "%s %s %q%s\n", marks[c.Action], c.Kind, console.Printable(c.Name), takenOver(c))
		for _, f := range c.Fields {
			fmt.Fprintf(a.Stdout, "    %s\n", fieldLine(c.Action, f))
		}
	}
	if len(plan.Changes) == 0 {
		fmt.Fprintln(a.Stdout, "nothing to do")
		return nil
	}
	fmt.Fprintf(a.Stdout, "%d to create, %d to change, %d to delete\n", count["create"], count["update"], count["delete"])
	return nil
}

func takenOver(c *client.ConfigChange) string {
	if c.TakeOver {
		return " (becomes the file's)"
	}
	return ""
}

func fieldLine(action string, f client.FieldChange) string {
	before, after := console.Printable(string(f.Before)), console.Printable(string(f.After))
	switch {
	case action == "create" || before == "" && after != "":
		return fmt.Sprintf("%s = %s", f.Field, after)
	case after == "":
		return fmt.Sprintf("%s = %s, to be removed", f.Field, before)
	default:
		return fmt.Sprintf("%s = %s, was %s", f.Field, after, before)
	}
}
