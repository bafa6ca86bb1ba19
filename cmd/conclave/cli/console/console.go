// Package console is what all verbs of the command line share: how a node is asked, and how what it
// says is written, for people on a terminal and as JSON for programs.
package console

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/conclave-llm/conclave/adminapi/client"
)

// Console is one command line: its input and output, and its flags. It is for one command at a time.
type Console struct {
	Version        string
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	Server, Key, Output string // flags
	Timeout             time.Duration
	Started             bool // a command has begun: what fails now is not the command line
	api                 *client.Client
}

// Flags are the flags that all verbs have.
func (c *Console) Flags(f *pflag.FlagSet) {
	f.StringVar(&c.Server, "server", "", "admin API of any node (CONCLAVE_SERVER, default http://127.0.0.1:4000)")
	f.StringVar(&c.Key, "key", "", "master key or a key with a role (CONCLAVE_ADMIN_KEY or CONCLAVE_MASTER_KEY)")
	f.StringVarP(&c.Output, "output", "o", "", "table or json (default: table on a terminal, else json)")
	f.DurationVar(&c.Timeout, "timeout", 30*time.Second, "how long one call may take")
}

// Client makes the client that the flags and the environment describe.
func (c *Console) Client() *client.Client {
	if c.api == nil {
		c.api = c.within(c.Timeout)
	}
	return c.api
}

// PatientClient is a client whose calls may take as long as they do: files are large.
func (c *Console) PatientClient() *client.Client { return c.within(0) }

// within makes a client each of whose calls may take so long; 0: for ever.
func (c *Console) within(timeout time.Duration) *client.Client {
	return client.New(client.Config{
		Server: cmp.Or(c.Server, os.Getenv("CONCLAVE_SERVER")),
		Key:    cmp.Or(c.Key, os.Getenv("CONCLAVE_ADMIN_KEY"), os.Getenv("CONCLAVE_MASTER_KEY")),
		HTTP:   &http.Client{Timeout: timeout},
	})
}

// Report writes an error for people and gives the exit status.
func (c *Console) Report(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return 130
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		fmt.Fprintf(c.Stderr, "conclave: %s", p.Title)
		if p.Code != "" {
			fmt.Fprintf(c.Stderr, " (%s)", p.Code)
		}
		if p.Detail != "" {
			fmt.Fprintf(c.Stderr, ": %s", p.Detail)
		}
		fmt.Fprintln(c.Stderr)
		for _, f := range p.Fields {
			if !strings.Contains(p.Detail, f.Reason) {
				fmt.Fprintf(c.Stderr, "  %s: %s\n", f.Name, f.Reason)
			}
		}
		if p.Hint != "" {
			fmt.Fprintf(c.Stderr, "  hint: %s\n", p.Hint)
		}
		return 1
	}
	e, ok := errors.AsType[*ExitError](err)
	if ok && e.Err == nil {
		return e.Code // what there is to say is said
	}
	fmt.Fprintf(c.Stderr, "conclave: %v\n", err)
	if ok {
		return e.Code
	}
	if !c.Started {
		return 2
	}
	return 1
}

// WarnPending names the members that have not heard of the last write yet, and says how long they may go on without it.
func (c *Console) WarnPending() {
	r := c.Client().Receipt()
	if len(r.Pending) == 0 {
		return
	}
	fmt.Fprintf(c.Stderr, "applied by: %s\nnot yet applied by: %s\n", strings.Join(r.EnforcedBy, ", "), strings.Join(r.Pending, ", "))
	switch {
	case r.Forever:
		fmt.Fprintln(c.Stderr, "without a leader they may go on as before for ever (serve_stale)")
	case !r.Until.IsZero():
		fmt.Fprintf(c.Stderr, "without a leader they serve no inference after %s\n", r.Deadline())
	}
}

// Confirm asks on the terminal; everything but yes is an error.
func (c *Console) Confirm(question string) error {
	fmt.Fprintf(c.Stderr, "%s Only yes is accepted: ", question)
	line, err := bufio.NewReader(c.Stdin).ReadString('\n')
	if strings.TrimSpace(line) == "yes" {
		return nil
	}
	if err != nil {
		fmt.Fprintln(c.Stderr)
		return errors.New("nobody answered; nothing was changed (--yes does not ask)")
	}
	return errors.New("nothing was changed")
}

// SaySo tells what was done, or would be.
func (c *Console) SaySo(dry bool, format string, args ...any) {
	if dry {
		format = "nothing was changed; otherwise: " + format
	}
	fmt.Fprintf(c.Stderr, format+"\n", args...)
}
