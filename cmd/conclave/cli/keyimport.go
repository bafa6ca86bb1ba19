package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/keyimport"
)

func (a *app) keyImport(fields []field) *cobra.Command {
	var f keyimport.Flags
	var results string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Create the keys of a file of JSON lines or CSV",
		Long: `Create the keys of a file: one JSON object a line, as "key create -f" takes it, or CSV whose
first line names the columns as the flags of "key create" (lists have ; between their items).
FILE may be - for standard input.

The ids and secrets of the keys are written as JSON lines to standard output, or to the file of
--results, as soon as the keys are there. Keys are created in batches, all of one or none.
An import that stops says at which line; --from-line goes on there.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importKeys(cmd.Context(), args[0], results, fields, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Format, "format", "", "jsonl or csv (default: by the file's name)")
	fl.StringVar(&results, "results", "", "write ids and secrets to this new file instead of standard output")
	fl.IntVar(&f.Batch, "batch", 1000, "keys that are created at once, up to 10000")
	fl.IntVar(&f.FromLine, "from-line", 1, "begin with this line of the file")
	fl.BoolVar(&f.How.SkipExisting, "skip-existing", false, "pass over keys whose name is there already")
	fl.BoolVar(&f.How.DryRun, "dry-run", false, "check all keys and create none")
	return cmd
}

func (a *app) importKeys(ctx context.Context, path, results string, fields []field, f keyimport.Flags) (err error) {
	if f.Batch < 1 || f.Batch > keyimport.MaxBatch {
		return &console.ExitError{Code: 2, Err: fmt.Errorf("--batch %d is not between 1 and %d", f.Batch, keyimport.MaxBatch)}
	}
	in, size, err := a.openInput(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	records, err := keyimport.Open(in, path, f.Format, keyimport.Table{Columns: csvColumns(fields), Finish: budgetFlags})
	if err != nil {
		return err
	}
	out, err := a.openResults(results)
	if err != nil {
		return err
	}
	err = keyimport.Run(ctx, a.Client(), f, records, size, out, a.Stderr)
	return errors.Join(err, out.Close())
}

// openInput opens a file; size is -1 if nobody knows it.
func (a *app) openInput(path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(a.Stdin), -1, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return f, -1, err
	}
	return f, info.Size(), nil
}

func (a *app) openResults(path string) (io.WriteCloser, error) {
	if path == "" {
		return keepOpen{a.Stdout}, nil
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // it holds secrets
}

// keepOpen is standard output, which is not ours to close.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// csvColumns are the columns of a CSV file by the flags or the members that they set.
func csvColumns(fields []field) map[string]keyimport.Column {
	known := map[string]field{"name": {path: "name"}, "id": {path: "id"}, "expires_at": {path: "expires_at"}, "blocked": {path: "blocked", form: asJSON}}
	for _, fd := range fields {
		if fd.form == asSecret { // a file:PATH in a file of others would read a file of ours
			fd.form = asText
		}
		if fd.form != asExpiry { // which has a path that is taken as it is
			known[fd.path] = fd
		}
		known[fd.flag] = fd
	}
	columns := make(map[string]keyimport.Column, len(known))
	for name, fd := range known {
		columns[name] = func(doc map[string]any, cell string) error {
			v, err := cellValue(fd, cell)
			if err != nil {
				return err
			}
			put(doc, fd.path, v)
			return nil
		}
	}
	return columns
}

// cellValue reads a cell as the flag would be.
func cellValue(fd field, cell string) (any, error) {
	switch fd.form {
	case asNumber:
		return json.Number(cell), checkNumber(cell)
	case asList:
		return console.SplitAll([]string{strings.ReplaceAll(cell, ";", ",")}), nil
	case asJSON, asBool:
		if !json.Valid([]byte(cell)) {
			return nil, fmt.Errorf("%q is not JSON", cell)
		}
		return json.RawMessage(cell), nil
	case asExpiry:
		return expiry(cell)
	default:
		return cell, nil
	}
}
