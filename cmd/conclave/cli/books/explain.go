package books

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/proxy/replay"
)

// explaining is what conclave explain is asked for.
type explaining struct {
	content, replay     bool
	file, state, export string
}

func (a *app) explainCommand() *cobra.Command {
	var x explaining
	cmd := &cobra.Command{
		Use:   "explain REQUEST_ID",
		Short: "Say why a request was served or refused",
		Long: `Says why a request was served or refused.

With --export the request's receipt and the state that decides about it are written to a file, which holds no
prompt and no secret. With --file such a file is read instead of asking a node, and --replay decides the request
again by it; --state takes the state from another such file.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case x.file != "" && len(args) > 0:
				return errors.New("a file says itself which request it is about: leave REQUEST_ID or --file out")
			case x.file != "":
				return a.explainFile(&x)
			case len(args) == 0:
				return errors.New("which request? Give its id, or a file with --file")
			case x.export != "":
				return a.exportCase(cmd, args[0], x.export)
			default:
				return a.explain(cmd, args[0], &x)
			}
		},
	}
	f := cmd.Flags()
	f.BoolVar(&x.content, "content", false, "show what the request and its answer said, if that was kept")
	f.BoolVar(&x.replay, "replay", false, "decide it again, without calling a provider, and say what would differ: against what is stored now, or by --file")
	f.StringVar(&x.file, "file", "", "read the request and the state from a file that --export wrote, and ask no node")
	f.StringVar(&x.state, "state", "", "with --file: take the state from this file instead")
	f.StringVar(&x.export, "export", "", "write the request's receipt and the state that decides about it to this file")
	return cmd
}

func (a *app) explain(cmd *cobra.Command, id string, x *explaining) error {
	q := url.Values{}
	if x.content {
		q.Set("content", "true")
	}
	if x.replay {
		q.Set("replay", "true")
	}
	out, err := a.Client().Explain(cmd.Context(), id, q)
	if err != nil {
		return err
	}
	a.tellMissing(out.MissingNodes)
	if table, err := a.Tables(); err != nil {
		return err
	} else if !table {
		return a.PrintJSON(out.Raw)
	}
	for i, item := range out.Items {
		if i > 0 {
			fmt.Fprintln(a.Stdout)
		}
		for _, line := range item.Explanation {
			fmt.Fprintln(a.Stdout, console.Printable(line))
		}
		a.printReplay(item.Replay)
	}
	if c := out.Content; c != nil {
		fmt.Fprintf(a.Stdout, "\nRequest:\n%s\n\nAnswer:\n%s\n", console.Printable(c.Request), console.Printable(c.Response))
	}
	return nil
}

// printReplay says how a request would be decided now.
func (a *app) printReplay(r *client.Replay) {
	if r == nil {
		return
	}
	fmt.Fprintf(a.Stdout, "\nNow: %s\n", console.Printable(strings.TrimSpace(r.Decision+" "+r.Reason)))
	for _, d := range r.Differences {
		fmt.Fprintf(a.Stdout, "- %s\n", console.Printable(d))
	}
	if len(r.Differences) == 0 {
		fmt.Fprintln(a.Stdout, "nothing would differ")
	}
	if !r.Judged && r.Decision == evidence.Refused {
		fmt.Fprintln(a.Stdout, "only the moment or the body could tell: the receipt was believed")
	}
	if len(r.Changed) > 0 {
		fmt.Fprintf(a.Stdout, "written since: %s\n", console.Printable(strings.Join(r.Changed, ", ")))
	}
}

// exportCase writes the file of a request, which only its owner may read.
func (a *app) exportCase(cmd *cobra.Command, id, name string) error {
	b, err := a.Client().Case(cmd.Context(), id)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		return fmt.Errorf("write case: %w", err)
	}
	fmt.Fprintf(a.Stderr, "wrote %s\n", console.Printable(name))
	return nil
}

// decided is a request of a file, as it was decided and as it would be.
type decided struct {
	RequestID string            `json:"request_id"`
	Why       []string          `json:"explanation"`
	Recorded  evidence.Verdict  `json:"recorded"`
	Replayed  *evidence.Verdict `json:"replayed,omitempty"`
	Changed   []string          `json:"changed,omitempty"` // records that were written after the decision
}

// explainFile does what can be done without a node.
func (a *app) explainFile(x *explaining) error {
	c, err := readCase(x.file)
	if err != nil {
		return err
	}
	state := &c.State
	if x.state != "" {
		other, err := readCase(x.state)
		if err != nil {
			return err
		}
		state = &other.State
	}
	all := make([]decided, 0, len(c.Requests))
	for i := range c.Requests {
		r := &c.Requests[i]
		d := decided{RequestID: r.RequestID, Why: r.Receipt.Words(&r.Row), Recorded: evidence.Recorded(r)}
		if x.replay {
			v := replay.Decide(state, r)
			d.Replayed, d.Changed = &v, state.Changed(r.Receipt.Facts.Index)
		}
		all = append(all, d)
	}
	if table, err := a.Tables(); err != nil {
		return err
	} else if !table {
		return a.PrintJSON(all)
	}
	for i := range all {
		a.printDecided(&all[i])
	}
	return nil
}

func readCase(name string) (*evidence.Case, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read case: %w", err)
	}
	defer func() { _ = f.Close() }()
	return evidence.Read(f)
}

func (a *app) printDecided(d *decided) {
	for _, line := range d.Why {
		fmt.Fprintln(a.Stdout, console.Printable(line))
	}
	if d.Replayed == nil {
		return
	}
	v := d.Replayed
	fmt.Fprintf(a.Stdout, "\nDecided again: %s\n", console.Printable(strings.Join(strings.Fields(strings.Join([]string{v.Decision, v.Step, v.Code, v.Scope, v.Entity}, " ")), " ")))
	if v.Reason != "" {
		fmt.Fprintln(a.Stdout, console.Printable(v.Reason))
	}
	switch {
	case v.Same(&d.Recorded):
		fmt.Fprintln(a.Stdout, "as it was")
	default:
		fmt.Fprintf(a.Stdout, "it was: %s\n", console.Printable(strings.TrimSpace(d.Recorded.Decision+" "+d.Recorded.Code)))
	}
	if !v.Judged && v.Decision == evidence.Refused {
		fmt.Fprintln(a.Stdout, "only the moment or the body could tell: the receipt was believed")
	}
	if len(d.Changed) > 0 {
		fmt.Fprintf(a.Stdout, "written since: %s\n", console.Printable(strings.Join(d.Changed, ", ")))
	}
}
