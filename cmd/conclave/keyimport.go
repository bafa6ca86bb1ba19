package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

const (
	maxBatch      = 10_000  // keys of one call
	maxBatchBytes = 6 << 20 // of its body
	importTries   = 5
)

// importFlags are the flags of key import.
type importFlags struct {
	format   string
	results  string
	batch    int
	fromLine int
	how      client.Bulk
}

func (a *app) keyImport(fields []field) *cobra.Command {
	var f importFlags
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
		RunE: func(cmd *cobra.Command, args []string) error { return a.importKeys(cmd.Context(), args[0], fields, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "jsonl or csv (default: by the file's name)")
	fl.StringVar(&f.results, "results", "", "write ids and secrets to this new file instead of standard output")
	fl.IntVar(&f.batch, "batch", 1000, "keys that are created at once, up to 10000")
	fl.IntVar(&f.fromLine, "from-line", 1, "begin with this line of the file")
	fl.BoolVar(&f.how.SkipExisting, "skip-existing", false, "pass over keys whose name is there already")
	fl.BoolVar(&f.how.DryRun, "dry-run", false, "check all keys and create none")
	return cmd
}

func (a *app) importKeys(ctx context.Context, path string, fields []field, f importFlags) (err error) {
	if f.batch < 1 || f.batch > maxBatch {
		return &exitError{code: 2, err: fmt.Errorf("--batch %d is not between 1 and %d", f.batch, maxBatch)}
	}
	in, size, err := a.openInput(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	records, err := openRecords(in, path, f.format, fields)
	if err != nil {
		return err
	}
	out, err := a.openResults(f.results)
	if err != nil {
		return err
	}
	im := &importer{api: a.client(), flags: f, records: records, size: size, out: bufio.NewWriter(out), bar: newProgressBar(a.stderr)}
	err = im.run(ctx)
	im.bar.clear()
	im.tell(a.stderr, err)
	return errors.Join(err, out.Close())
}

// openInput opens a file; size is -1 if nobody knows it.
func (a *app) openInput(path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(a.stdin), -1, nil
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
		return keepOpen{a.stdout}, nil
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // it holds secrets
}

// keepOpen is standard output, which is not ours to close.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// importer reads a file and creates its keys batch by batch.
type importer struct {
	api     *client.Client
	flags   importFlags
	records recordFile
	size    int64
	out     *bufio.Writer
	bar     *progressBar

	batch   []json.RawMessage
	secrets []string // of the batch's keys
	lines   []int    // of the batch's keys
	bytes   int      // of the batch
	created int
	skipped int
	resume  int // the line to go on with
}

func (im *importer) run(ctx context.Context) error {
	im.resume = im.flags.fromLine
	for {
		doc, line, err := im.records.next()
		if errors.Is(err, io.EOF) {
			return im.send(ctx)
		}
		if err != nil {
			return errors.Join(im.send(ctx), fmt.Errorf("line %d: %w", line, err))
		}
		if line < im.flags.fromLine {
			continue
		}
		if err := im.add(doc, line); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if len(im.batch) < im.flags.batch && im.bytes < maxBatchBytes {
			continue
		}
		if err := im.send(ctx); err != nil {
			return err
		}
	}
}

// add puts a document into the batch. It has its secret from here on: a batch whose answer is
// lost can be sent again.
func (im *importer) add(doc map[string]any, line int) error {
	secret, err := secretOf(doc)
	if err != nil {
		return err
	}
	doc["secret"] = secret
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	im.batch, im.secrets, im.lines = append(im.batch, b), append(im.secrets, secret), append(im.lines, line)
	im.bytes += len(b) + 1
	return nil
}

func secretOf(doc map[string]any) (string, error) {
	var secret string
	switch v := doc["secret"].(type) {
	case nil:
	case string:
		secret = v
	case json.RawMessage:
		if err := json.Unmarshal(v, &secret); err != nil {
			return "", errors.New("secret is not a string")
		}
	default:
		return "", errors.New("secret is not a string")
	}
	if secret == "" {
		return resource.NewSecret(), nil
	}
	return secret, resource.CheckSecret(secret)
}

// send creates the batch's keys and writes what came of them.
func (im *importer) send(ctx context.Context) error {
	if len(im.batch) == 0 {
		return nil
	}
	made, err := im.try(ctx)
	if err != nil {
		im.resume = im.lines[0]
		return im.atLine(err)
	}
	enc := json.NewEncoder(im.out)
	for _, m := range made.Items {
		if im.flags.how.DryRun || m.Skipped {
			continue
		}
		if err := enc.Encode(m); err != nil { //nolint:gosec // the secrets are what was asked for
			return fmt.Errorf("write results: %w", err)
		}
	}
	if err := im.out.Flush(); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	im.created += made.Created
	im.skipped += made.Skipped
	im.resume = im.lines[len(im.lines)-1] + 1
	im.batch, im.secrets, im.lines, im.bytes = im.batch[:0], im.secrets[:0], im.lines[:0], 0
	im.show()
	return nil
}

// try sends the batch until its outcome is known. When it is sent again, keys that are there
// with the secrets of the batch are those of the try before.
func (im *importer) try(ctx context.Context) (client.MadeKeys, error) {
	made, err := im.api.CreateKeys(ctx, im.batch, im.flags.how)
	for try := 1; err != nil && try < importTries && passes(ctx, err); try++ {
		if err := pause(ctx, time.Second<<(try-1)); err != nil {
			return made, err
		}
		how := im.flags.how
		how.SkipExisting = true
		if made, err = im.api.CreateKeys(ctx, im.batch, how); err == nil {
			err = im.own(&made)
		}
	}
	return made, err
}

// own counts the keys of an earlier try as created.
func (im *importer) own(made *client.MadeKeys) error {
	for i := range made.Items {
		m := &made.Items[i]
		switch {
		case !m.Skipped:
		case m.Hash == resource.HashSecret(im.secrets[i]):
			m.Skipped, m.Secret = false, im.secrets[i]
			made.Skipped--
			made.Created++
		case !im.flags.how.SkipExisting:
			return fmt.Errorf("line %d: a key named %q exists already", im.lines[i], m.Name)
		}
	}
	return nil
}

// passes says whether a call that failed so may succeed later.
func passes(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	p, ok := errors.AsType[*client.Problem](err)
	return !ok || p.Status == http.StatusServiceUnavailable || p.Status == http.StatusBadGateway || p.Status == http.StatusGatewayTimeout
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// atLine turns the index of a key in the batch into the line of the file.
func (im *importer) atLine(err error) error {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || len(p.Fields) == 0 {
		return err
	}
	text, rest, ok := strings.Cut(strings.TrimPrefix(p.Fields[0].Name, "["), "]")
	i, bad := strconv.Atoi(text)
	if !ok || bad != nil || i < 0 || i >= len(im.lines) {
		return err
	}
	if rest = strings.TrimPrefix(rest, "."); rest != "" {
		rest += ": "
	}
	return fmt.Errorf("line %d: %s%s", im.lines[i], rest, p.Fields[0].Reason)
}

func (im *importer) show() {
	part := -1.0
	if im.size > 0 {
		part = float64(im.records.read()) / float64(im.size)
	}
	im.bar.show(part, im.counts())
}

func (im *importer) counts() string {
	verb := "created"
	if im.flags.how.DryRun {
		verb = "checked"
	}
	text := fmt.Sprintf("%d keys %s", im.created, verb)
	if im.skipped > 0 {
		text += fmt.Sprintf(", %d there already", im.skipped)
	}
	return text
}

// tell says what came of the whole.
func (im *importer) tell(w io.Writer, err error) {
	took := im.bar.now().Sub(im.bar.start)
	fmt.Fprintf(w, "%s in %s\n", im.counts(), took.Round(time.Millisecond))
	if err != nil && !im.flags.how.DryRun {
		fmt.Fprintf(w, "stopped: nothing of line %d and after it was imported; go on with --from-line %d\n", im.resume, im.resume)
	}
}
