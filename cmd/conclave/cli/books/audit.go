package books

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/fsm/audit"
)

func (a *app) auditCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Who changed what: list, show, verify and export the audit log", Args: cobra.NoArgs}
	cmd.AddCommand(a.auditList(), a.auditShow(), a.auditVerify(), a.auditExport())
	return cmd
}

// auditFilters are the flags that select entries, by the parameter that each sets.
var auditFilters = []struct{ name, usage string }{
	{"actor", "master, key/ID, file or node/ID"},
	{"kind", "of the record: key, team, …"},
	{"id", "of the record"},
	{"action", "put_key, block_key, sign_in, export, …"},
	{"address", "that the request came from"},
	{"from", "entries since then: 2026-01-31, UTC, or a time in RFC 3339"},
	{"to", "entries before then; a day counts whole"},
	{"q", "part of the actor, id, name, address or action"},
}

func addAuditFilters(cmd *cobra.Command) {
	for _, f := range auditFilters {
		cmd.Flags().String(f.name, "", f.usage)
	}
}

func auditQuery(cmd *cobra.Command) url.Values {
	q := url.Values{}
	for _, f := range auditFilters {
		if v, err := cmd.Flags().GetString(f.name); err == nil && v != "" {
			q.Set(f.name, v)
		}
	}
	return q
}

func (a *app) auditList() *cobra.Command {
	var limit int
	var cursor string
	var oldest bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := auditQuery(cmd)
			q.Set("limit", strconv.Itoa(limit))
			if cursor != "" {
				q.Set("cursor", cursor)
			}
			if oldest {
				q.Set("sort", "number")
			}
			page, err := a.Client().Audit(cmd.Context(), q)
			if err != nil {
				return err
			}
			if err := a.PrintList(page, console.LooseAll(page.Items), []console.Column{
				{"NUMBER", "number"},
				{"AT", "at"},
				{"ACTOR", "actor"},
				{"ADDRESS", "address"},
				{"ACTION", "action"},
				{"KIND", "kind"},
				{"ID", "id"},
				{"FIELDS", "fields"},
				{"OUTCOME", "outcome"},
				{"COUNT", "count"},
				{"INDEX", "index"},
			}); err != nil {
				return err
			}
			if table, _ := a.Tables(); table && page.NextCursor != "" {
				fmt.Fprintf(a.Stderr, "there are more; go on with --cursor %s\n", page.NextCursor)
			}
			return nil
		},
	}
	addAuditFilters(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "entries a page")
	cmd.Flags().StringVar(&cursor, "cursor", "", "next_cursor of the page before")
	cmd.Flags().BoolVar(&oldest, "oldest-first", false, "the oldest first")
	return cmd
}

func (a *app) auditShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show NUMBER",
		Short: "Show one entry, with what was before and after",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return fmt.Errorf("%q is not the number of an entry", args[0])
			}
			e, err := a.Client().AuditEntry(cmd.Context(), number)
			if err != nil {
				return err
			}
			return a.PrintOne(e)
		},
	}
}

func (a *app) auditExport() *cobra.Command {
	var format, path string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write entries with what it takes to verify them, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := auditQuery(cmd)
			q.Set("format", format)
			return a.WriteTo(path, func(w io.Writer) error { return a.Client().ExportAudit(cmd.Context(), q, w) })
		},
	}
	addAuditFilters(cmd)
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	cmd.Flags().StringVar(&path, "file", "", "file to write (default: standard output)")
	return cmd
}

func (a *app) auditVerify() *cobra.Command {
	var ca string
	var partial bool
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Verify the chain of an export (- is standard input), or of the node that answers",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				v, err := a.Client().VerifyAudit(cmd.Context())
				if err != nil {
					return err
				}
				return a.printVerdict(v)
			}
			v := &audit.Verifier{Gaps: partial}
			if ca != "" {
				var err error
				if v.CA, err = readCertificate(ca); err != nil {
					return err
				}
			}
			return a.verifyFile(args[0], v)
		},
	}
	cmd.Flags().StringVar(&ca, "ca", "", "file with the cluster CA's certificate, PEM or DER (default: the export's own)")
	cmd.Flags().BoolVar(&partial, "partial", false, "entries may be missing: verify each by itself")
	return cmd
}

func (a *app) verifyFile(path string, v *audit.Verifier) error {
	in := a.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("open export: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	got, err := v.Verify(in)
	out := client.AuditVerdict{
		Verified: err == nil, Entries: got.Entries, First: got.First, Last: got.Last, Head: got.Head, Anchor: got.Anchor,
		CA: got.Fingerprint, Cluster: got.Cluster,
	}
	if b, ok := errors.AsType[*audit.Broken](err); ok {
		out.Broken, out.Reason = b.Number, b.Error()
	} else if err != nil {
		return err
	}
	if got.Unanchored {
		fmt.Fprintln(a.Stderr, "there is no header: nothing says where the chain begins and ends")
	}
	return a.printVerdict(out)
}

// printVerdict prints what was found, and fails if the chain is broken.
func (a *app) printVerdict(v client.AuditVerdict) error {
	if table, _ := a.Tables(); !table {
		if err := a.PrintJSON(v); err != nil {
			return err
		}
	} else if v.Verified {
		fmt.Fprintf(a.Stdout, "verified %d entries, %d to %d\nhead\t%s\n", v.Entries, v.First, v.Last, v.Head)
		if v.Anchor != nil {
			fmt.Fprintf(a.Stdout, "anchor\tentry %d, signed %s\nca\tSHA-256 %s\n", v.Anchor.Number, v.Anchor.SignedAt.Std(), v.CA)
		}
	}
	if !v.Verified {
		return errors.New(v.Reason)
	}
	return nil
}

// readCertificate reads a certificate in PEM or DER.
func readCertificate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open CA certificate: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	if block, _ := pem.Decode(b); block != nil {
		return block.Bytes, nil
	}
	return b, nil
}
