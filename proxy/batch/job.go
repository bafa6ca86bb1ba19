package batch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/resource"
)

// errLost says that another node runs the batch, or that it is gone.
var errLost = errors.New("the batch is another node's now, or gone")

// Between two tries of a write that the cluster did not take.
const pause = time.Second

// job is a batch that runs here.
type job struct {
	r     *Runner
	id    string
	lines []line
	wake  chan struct{} // the record may say that it is to be cancelled

	mu      sync.Mutex // guards rec, version
	rec     *resource.Artifact
	version uint64
}

// hurry wakes a job that waits.
func (j *job) hurry() {
	select {
	case j.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (j *job) now() resource.Time { return resource.At(j.r.cfg.Now()) }

// batch is what the job knows of itself.
func (j *job) batch() resource.BatchJob {
	j.mu.Lock()
	defer j.mu.Unlock()
	return *j.rec.Batch
}

// run runs the batch to its end, or until the runner stops.
func (j *job) run(ctx context.Context) error {
	a, version, err := j.r.cfg.Store.Get(ctx, j.id)
	if err != nil {
		return err
	}
	if a.Kind != resource.ArtifactBatch || a.Batch.Over() || !j.r.free(a, j.now()) {
		return nil
	}
	j.rec, j.version = a, version
	if err := j.claim(ctx); err != nil {
		if errors.Is(err, errLost) {
			return nil // another was faster
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var renewing sync.WaitGroup
	defer renewing.Wait()
	renewing.Go(func() { j.renew(ctx, cancel) })
	defer cancel()
	if err := j.open(ctx); err != nil || j.over() {
		return err
	}
	if err := j.work(ctx); err != nil {
		return err
	}
	if j.r.stopping() && !j.ends() {
		return j.update(ctx, func(b *resource.BatchJob) { b.LeaseUntil = 0 })
	}
	return j.finish(ctx)
}

// claim makes this process the batch's runner: once, for another may be faster.
func (j *job) claim(ctx context.Context) error {
	next := clone(j.rec)
	next.Batch.Runner, next.Batch.LeaseUntil = j.r.name, j.now()+resource.Time(lease)
	version, err := j.r.cfg.Store.Put(ctx, next, j.version)
	if errors.Is(err, resource.ErrConflict) || errors.Is(err, resource.ErrNotFound) {
		return errLost
	}
	j.rec, j.version = next, version
	return err
}

// renew keeps the lease, and ends the job when it is lost.
func (j *job) renew(ctx context.Context, cancel func()) {
	tick := time.NewTicker(renewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := j.update(ctx, func(*resource.BatchJob) {}); err != nil {
			cancel()
			return
		}
	}
}

// update changes the record, as this process's own, until that is written. change may be called
// more than once, also upon what it has changed already.
func (j *job) update(ctx context.Context, change func(*resource.BatchJob), bodies ...[]byte) error {
	for {
		why, err := j.write(ctx, change, bodies)
		if why == nil || err != nil {
			return err
		}
		if errors.Is(why, resource.ErrConflict) {
			continue
		}
		if errors.Is(why, resource.ErrFull) && j.batch().Moments.Ends <= j.now() {
			return why
		}
		j.r.cfg.Logger.Info("batch waits for the cluster", "batch", j.id, "error", why)
		select { // the lease is renewed meanwhile
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// write is one try of update. why says that another try may do; err that none does.
func (j *job) write(ctx context.Context, change func(*resource.BatchJob), bodies [][]byte) (why, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := clone(j.rec)
	next.Batch.LeaseUntil = j.now() + resource.Time(lease)
	change(next.Batch)
	version, why := j.r.cfg.Store.Put(ctx, next, j.version, bodies...)
	if why == nil {
		j.rec, j.version = next, version
		return nil, nil
	}
	if ctx.Err() != nil {
		return why, ctx.Err()
	}
	return why, j.rereadLocked(ctx)
}

// rereadLocked takes in what another has written, after a write that was not taken.
func (j *job) rereadLocked(ctx context.Context) error {
	a, version, err := j.r.cfg.Store.Get(ctx, j.id)
	switch {
	case errors.Is(err, resource.ErrNotFound):
		return errLost
	case err != nil:
		return nil // nobody can tell: the next write may
	case a.Batch == nil || a.Batch.Runner != j.r.name:
		return errLost
	}
	j.rec, j.version = a, version
	return nil
}

// open reads the file, and decides with the first runner whether it is a batch's.
func (j *job) open(ctx context.Context) error {
	b := j.batch()
	body, err := j.input(ctx, b.InputFile)
	if err != nil && !errors.Is(err, resource.ErrNotFound) {
		return err // another try of this node or another
	}
	var wrong []resource.BatchProblem
	if err != nil {
		wrong = []resource.BatchProblem{{Code: "input_file_not_found", Param: "input_file_id", Message: "The file was deleted before the batch had read it."}}
	} else {
		j.lines, wrong = readLines(body, b.Endpoint, j.r.cfg.Settings().BatchLines)
	}
	if b.Status != resource.BatchValidating && b.Status != resource.BatchCancelling || b.Total > 0 {
		if len(wrong) > 0 {
			return j.fail(ctx, wrong)
		}
		return nil
	}
	if len(wrong) > 0 {
		return j.fail(ctx, wrong)
	}
	return j.update(ctx, func(b *resource.BatchJob) {
		b.Total = int64(len(j.lines))
		if b.Status == resource.BatchValidating {
			b.Status, b.Moments.InProgress = resource.BatchInProgress, j.now()
		}
	})
}

func (j *job) input(ctx context.Context, id string) ([]byte, error) {
	a, _, err := j.r.cfg.Store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if a.File == nil {
		return nil, resource.ErrNotFound
	}
	whole := make([]byte, 0, a.File.Bytes)
	for _, p := range a.File.Parts {
		body, err := j.r.cfg.Store.Body(ctx, p.Blob)
		if err != nil {
			return nil, fmt.Errorf("read the file of batch %s: %w", j.id, err)
		}
		whole = append(whole, body...)
	}
	return whole, nil
}

// fail ends the batch for what is wrong with its file. What it has made so far becomes files.
func (j *job) fail(ctx context.Context, wrong []resource.BatchProblem) error {
	return j.update(ctx, func(b *resource.BatchJob) {
		b.Problems = wrong
		if b.Status == resource.BatchValidating {
			b.Status, b.Moments.Failed = resource.BatchFailed, j.now()
		}
	})
}

func (j *job) over() bool {
	b := j.batch()
	return b.Over()
}

// ends says whether no further line is to be sent.
func (j *job) ends() bool {
	b := j.batch()
	left := b.Next < b.Total || len(b.Again) > 0
	return b.Over() || !left || len(b.Problems) > 0 || b.Status == resource.BatchCancelling || b.Moments.Ends <= j.now()
}

// work sends line after line, some at once, and keeps the answers before it sends the next.
func (j *job) work(ctx context.Context) error {
	got := &gathered{}
	for _, n := range j.batch().Asked { // of a runner that died
		got.lost(j.lineAt(n))
	}
	var wait time.Duration
	for {
		var next []int64
		if !j.ends() && !j.r.stopping() && wait == 0 {
			next = j.pick(got)
		}
		if err := j.keep(ctx, got, next); err != nil {
			return err
		}
		if len(next) == 0 {
			if wait == 0 || j.ends() || j.r.stopping() {
				return nil
			}
			if err := j.sleep(ctx, wait); err != nil {
				return err
			}
			got, wait = &gathered{}, 0
			continue
		}
		got, wait = j.send(ctx, next)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// pick chooses the lines that are sent next: first those that were not taken.
func (j *job) pick(got *gathered) []int64 {
	b := j.batch()
	most := int(j.r.cfg.Settings().BatchParallel)
	again := slices.Concat(b.Again, got.again)
	next := slices.Clone(again[:min(most, len(again))])
	for n := b.Next; n < b.Total && len(next) < most; n++ {
		next = append(next, n)
	}
	return next
}

// sleep waits before lines are sent again that were not taken.
func (j *job) sleep(ctx context.Context, wait time.Duration) error {
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-j.r.stop:
			return nil
		case <-j.wake:
			return j.update(ctx, func(*resource.BatchJob) {})
		case <-t.C:
			return nil
		}
	}
}

func (j *job) lineAt(n int64) *line {
	if n < 0 || n >= int64(len(j.lines)) {
		return &line{CustomID: "line " + strconv.FormatInt(n+1, 10)}
	}
	return &j.lines[n]
}

// send puts lines through the gateway, all at once. wait is how long those that were not taken
// should wait.
func (j *job) send(ctx context.Context, all []int64) (got *gathered, wait time.Duration) {
	answers := make([]Answer, len(all))
	ids := make([]string, len(all))
	j.mu.Lock()
	of := j.rec
	j.mu.Unlock()
	var sent sync.WaitGroup
	for i, n := range all {
		ids[i] = files.NewID("batch_req_")
		sent.Go(func() { answers[i] = j.r.cfg.Ask(ctx, of, ids[i], j.lineAt(n).Body) })
	}
	sent.Wait()
	got = &gathered{}
	for i, n := range all {
		if after, ok := notTaken(&answers[i]); ok {
			got.again = append(got.again, n)
			wait = max(wait, after)
			continue
		}
		got.add(ids[i], j.lineAt(n), &answers[i])
	}
	return got, wait
}

// The longest and the shortest wait before a line is sent again.
const minWait, maxWait = time.Second, time.Minute

// notTaken says whether a line met a limit, or nobody who could answer, so that it may be sent again
// without being charged twice, and when.
func notTaken(a *Answer) (after time.Duration, ok bool) {
	if a.Status != http.StatusTooManyRequests && a.Status != http.StatusServiceUnavailable || a.Header.Get("X-Should-Retry") == "false" {
		return 0, false
	}
	seconds, err := strconv.ParseInt(a.Header.Get("Retry-After"), 10, 32)
	if err != nil {
		seconds = 0
	}
	return min(max(time.Duration(seconds)*time.Second, minWait), maxWait), true
}

// gathered is what lines came to.
type gathered struct {
	output, errors    []byte
	completed, failed int64
	again             []int64
}

func (g *gathered) add(id string, l *line, a *Answer) {
	out := &answer{ID: id, CustomID: l.CustomID, Response: &response{Status: a.Status, RequestID: id, Body: a.Body}}
	if a.Status == http.StatusOK {
		g.output = appendLine(g.output, out)
		g.completed++
		return
	}
	g.errors = appendLine(g.errors, out)
	g.failed++
}

func (g *gathered) fail(l *line, code, message string) {
	g.errors = appendLine(g.errors, &answer{ID: files.NewID("batch_req_"), CustomID: l.CustomID, Error: &failure{code, message}})
	g.failed++
}

func (g *gathered) lost(l *line) {
	g.fail(l, "line_interrupted", "The node that sent this request stopped before it had kept the answer. The request may have been charged, and is not sent again.")
}

// keep writes what lines came to, and which ones are sent next.
func (j *job) keep(ctx context.Context, got *gathered, next []int64) error {
	b := j.batch()
	output, first, err := j.merge(ctx, b.Output, got.output, got.completed)
	if err != nil {
		return err
	}
	failed, second, err := j.merge(ctx, b.Errors, got.errors, got.failed)
	if err != nil {
		return err
	}
	over := len(output) > resource.MaxParts || len(failed) > resource.MaxParts
	if over {
		return j.fail(ctx, []resource.BatchProblem{{Code: "output_too_large", Message: "The answers are more than the gateway keeps of a batch."}})
	}
	var bodies [][]byte
	for _, body := range [][]byte{first, second} {
		if len(body) > 0 {
			bodies = append(bodies, body)
		}
	}
	want := b // what the record is to be made of: another try finds it made
	return j.update(ctx, func(now *resource.BatchJob) {
		now.Output, now.Errors = output, failed
		now.Completed, now.Failed = want.Completed+got.completed, want.Failed+got.failed
		now.Asked, now.Next, now.Again = next, want.Next, nil
		for _, n := range slices.Concat(want.Again, got.again) {
			if !slices.Contains(next, n) {
				now.Again = append(now.Again, n)
			}
		}
		for _, n := range next {
			now.Next = max(now.Next, n+1)
		}
	}, bodies...)
}

// merge adds what was gathered to the parts: together with the last ones that are no larger, so that
// there are few parts and a byte is written few times.
func (j *job) merge(ctx context.Context, parts []resource.Part, body []byte, lines int64) ([]resource.Part, []byte, error) {
	if lines == 0 {
		return parts, nil, nil
	}
	parts = slices.Clone(parts)
	for n := len(parts); n > 0; n-- {
		last := parts[n-1]
		if last.Lines > lines || last.Bytes+int64(len(body)) > resource.PartBytes {
			break
		}
		before, err := j.r.cfg.Store.Body(ctx, last.Blob)
		if err != nil {
			return nil, nil, fmt.Errorf("read output of batch %s: %w", j.id, err)
		}
		body = append(slices.Clone(before), body...)
		lines += last.Lines
		parts = parts[:n-1]
	}
	return append(parts, resource.PartOf(body, lines)), body, nil
}

// finish gives the lines that were never sent their errors, makes the files, and ends the batch.
func (j *job) finish(ctx context.Context) error {
	b := j.batch()
	if b.Over() {
		return nil
	}
	end := func(b *resource.BatchJob) { b.Status, b.Moments.Completed = resource.BatchCompleted, j.now() }
	switch {
	case len(b.Problems) > 0:
		end = func(b *resource.BatchJob) { b.Status, b.Moments.Failed = resource.BatchFailed, j.now() }
	case b.Status == resource.BatchCancelling:
		end = func(b *resource.BatchJob) { b.Status, b.Moments.Cancelled = resource.BatchCancelled, j.now() }
	case b.Moments.Expired != 0 || b.Next < b.Total || len(b.Again) > 0:
		if err := j.expire(ctx); err != nil {
			return err
		}
		end = func(b *resource.BatchJob) { b.Status, b.Moments.Expired = resource.BatchExpired, j.now() }
	}
	if err := j.update(ctx, func(b *resource.BatchJob) {
		if b.Status == resource.BatchInProgress {
			b.Status = resource.BatchFinalizing
		}
		if b.Moments.Finalizing == 0 {
			b.Moments.Finalizing = j.now()
		}
	}); err != nil {
		return err
	}
	b = j.batch()
	output, err := j.file(ctx, "output", b.Output)
	if err != nil {
		return err
	}
	failed, err := j.file(ctx, "error", b.Errors)
	if err != nil {
		return err
	}
	err = j.update(ctx, func(b *resource.BatchJob) {
		b.OutputFile, b.ErrorFile, b.Output, b.Errors, b.Runner, b.LeaseUntil = output, failed, nil, nil, "", 0
		end(b)
	})
	if errors.Is(err, errLost) {
		j.disown(ctx, output, failed)
	}
	return err
}

// disown deletes the files of a batch that was erased meanwhile.
func (j *job) disown(ctx context.Context, ids ...string) {
	if _, _, err := j.r.cfg.Store.Get(ctx, j.id); !errors.Is(err, resource.ErrNotFound) {
		return
	}
	for _, id := range ids {
		if err := j.r.cfg.Store.Delete(ctx, id); err != nil && !errors.Is(err, resource.ErrNotFound) {
			j.r.cfg.Logger.Warn("a file of an erased batch stays until it expires", "file", id, "error", err)
		}
	}
}

// expire gives every line that was never sent the error that OpenAI gives it.
func (j *job) expire(ctx context.Context) error {
	b := j.batch()
	got := &gathered{}
	left := slices.Clone(b.Again) // none, if another runner has been here
	for n := b.Next; n < b.Total; n++ {
		left = append(left, n)
	}
	for _, n := range left {
		got.fail(j.lineAt(n), "batch_expired", "This request could not be executed before the completion window expired.")
	}
	output, body, err := j.merge(ctx, b.Errors, got.errors, got.failed)
	if err != nil {
		return err
	}
	failed := b.Failed + got.failed
	var bodies [][]byte
	if got.failed > 0 {
		bodies = append(bodies, body)
	}
	return j.update(ctx, func(b *resource.BatchJob) {
		b.Errors, b.Failed, b.Again, b.Next = output, failed, nil, b.Total
		b.Status = resource.BatchFinalizing
		b.Moments.Expired = j.now()
	}, bodies...)
}

// file makes the file of parts, "" for none. Doing it again finds it made.
func (j *job) file(ctx context.Context, what string, parts []resource.Part) (id string, err error) {
	if len(parts) == 0 {
		return "", nil
	}
	sum := sha256.Sum256([]byte(j.id + "/" + what))
	id = "file-" + hex.EncodeToString(sum[:24])
	j.mu.Lock()
	a := &resource.Artifact{
		ID: id, Kind: resource.ArtifactFile, Owners: j.rec.Owners, CreatedAt: j.now(), ExpiresAt: j.rec.ExpiresAt,
		File: &resource.FileFacts{Name: j.id + "_" + what + ".jsonl", Purpose: files.PurposeBatchOutput, Parts: parts},
	}
	if n := j.rec.Batch.OutputSeconds; n > 0 {
		a.ExpiresAt = min(a.ExpiresAt, a.CreatedAt+resource.Time(time.Duration(n)*time.Second))
	}
	j.mu.Unlock()
	for _, p := range parts {
		a.File.Bytes += p.Bytes
	}
	if _, err = j.r.cfg.Store.Put(ctx, a, 0); errors.Is(err, resource.ErrExists) {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("make the %s file of batch %s: %w", what, j.id, err)
	}
	return id, nil
}
