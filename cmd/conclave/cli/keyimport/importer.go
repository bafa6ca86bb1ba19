package keyimport

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// MaxBatch bounds the keys of one call.
const MaxBatch = 10_000

const (
	maxBatchBytes = 6 << 20 // of a call's body
	importTries   = 5
)

// Flags say how keys are imported.
type Flags struct {
	Format   string // of the file, as Open takes it
	Batch    int    // keys that are created at once, up to MaxBatch
	FromLine int    // of the file, the first to be read
	How      client.Bulk
}

// Run creates the keys of records and writes their ids and secrets to out, as soon as they
// are there. It tells people on progress how far it is. Size is that of the whole file in
// bytes, -1 if nobody knows it.
func Run(ctx context.Context, api *client.Client, f Flags, records Records, size int64, out, progress io.Writer) error {
	im := &importer{api: api, flags: f, records: records, size: size, out: bufio.NewWriter(out), bar: newProgressBar(progress)}
	err := im.run(ctx)
	im.bar.clear()
	im.tell(progress, err)
	return err
}

// importer reads a file and creates its keys batch by batch.
type importer struct {
	api     *client.Client
	flags   Flags
	records Records
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
	im.resume = im.flags.FromLine
	for {
		doc, line, err := im.records.Next()
		if errors.Is(err, io.EOF) {
			return im.send(ctx)
		}
		if err != nil {
			return errors.Join(im.send(ctx), fmt.Errorf("line %d: %w", line, err))
		}
		if line < im.flags.FromLine {
			continue
		}
		if err := im.add(doc, line); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if len(im.batch) < im.flags.Batch && im.bytes < maxBatchBytes {
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
		if im.flags.How.DryRun || m.Skipped {
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
	made, err := im.api.CreateKeys(ctx, im.batch, im.flags.How)
	for try := 1; err != nil && try < importTries && passes(ctx, err); try++ {
		if err := pause(ctx, time.Second<<(try-1)); err != nil {
			return made, err
		}
		how := im.flags.How
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
		case !im.flags.How.SkipExisting:
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
		part = float64(im.records.Taken()) / float64(im.size)
	}
	im.bar.show(part, im.counts())
}

func (im *importer) counts() string {
	verb := "created"
	if im.flags.How.DryRun {
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
	if err != nil && !im.flags.How.DryRun {
		fmt.Fprintf(w, "stopped: nothing of line %d and after it was imported; go on with --from-line %d\n", im.resume, im.resume)
	}
}
