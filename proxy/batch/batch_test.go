package batch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/resource"
)

const endpoint = "/v1/embeddings"

var (
	owner = &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "k1"}}}
	other = &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "k2"}}}
)

// bench is a store, and runners over it that ask the test.
type bench struct {
	t     *testing.T
	shelf *filestest.Store
	desk  *batch.Desk
	set   resource.Settings

	mu   sync.Mutex
	sent map[string]int // by custom id
	ask  func(ctx context.Context, id string) batch.Answer
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, shelf: filestest.New(), set: resource.DefaultSettings(), sent: map[string]int{}}
	b.desk = batch.NewDesk(b.shelf, nil, func() {})
	b.ask = func(_ context.Context, id string) batch.Answer {
		return batch.Answer{Status: 200, Body: []byte(`{"ok":"` + id + `"}`)}
	}
	return b
}

func (b *bench) runner(node string) *batch.Runner {
	return batch.New(batch.Config{
		NodeID: node, Store: b.shelf, Settings: func() *resource.Settings { return &b.set }, Serving: func() error { return nil },
		Ask: func(ctx context.Context, of *resource.Artifact, _ string, body []byte) batch.Answer {
			if of.Owners.KeyID != "k1" {
				b.t.Errorf("asked for %+v", of.Owners)
			}
			var l struct{ Input string }
			if err := json.Unmarshal(body, &l); err != nil {
				b.t.Error(err)
			}
			b.mu.Lock()
			b.sent[l.Input]++
			b.mu.Unlock()
			return b.ask(ctx, l.Input)
		},
	})
}

// record is what the store has of a batch.
func (b *bench) record(id string) *resource.BatchJob {
	b.t.Helper()
	a, _, err := b.shelf.Get(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return a.Batch
}

func lines(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, `{"custom_id":"c%d","method":"POST","url":%q,"body":{"model":"m","input":"c%d"}}`+"\n", i, endpoint, i)
	}
	return all.String()
}

func (b *bench) upload(text string) string {
	b.t.Helper()
	f, err := files.New(b.shelf, nil).Create(b.t.Context(), &files.Upload{Name: "in.jsonl", Purpose: "batch", Body: []byte(text), Owners: resource.Owners{KeyID: "k1"}, Days: 7})
	if err != nil {
		b.t.Fatal(err)
	}
	return f.ID
}

func (b *bench) order(text string) string {
	b.t.Helper()
	made, err := b.desk.Create(b.t.Context(), owner, &batch.Request{InputFile: b.upload(text), Endpoint: endpoint, Window: "24h"}, resource.Owners{KeyID: "k1"}, "", 7)
	if err != nil {
		b.t.Fatal(err)
	}
	return made.ID
}

func (b *bench) show(id string) *batch.Batch {
	b.t.Helper()
	got, err := b.desk.Show(b.t.Context(), owner, id)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// read gives the lines of a file by their custom ids.
func (b *bench) read(id *string) map[string]string {
	b.t.Helper()
	all := map[string]string{}
	if id == nil {
		return all
	}
	_, next, err := files.New(b.shelf, nil).Content(b.t.Context(), owner, *id)
	if err != nil {
		b.t.Fatal(err)
	}
	var whole []byte
	for part, err := next(); len(part) > 0 || err != nil; part, err = next() {
		if err != nil {
			b.t.Fatal(err)
		}
		whole = append(whole, part...)
	}
	for raw := range bytes.Lines(whole) {
		var l struct {
			CustomID string `json:"custom_id"`
		}
		if err := json.Unmarshal(raw, &l); err != nil || all[l.CustomID] != "" {
			b.t.Errorf("line %s: %v", raw, err)
		}
		all[l.CustomID] = string(raw)
	}
	return all
}

// wait sleeps in the bubble until the batch has the status.
func (b *bench) wait(id, status string) *batch.Batch {
	b.t.Helper()
	for range 100_000 {
		if got := b.show(id); got.Status == status {
			return got
		}
		time.Sleep(time.Second)
	}
	b.t.Fatalf("the batch is %s, want %s", b.show(id).Status, status)
	return nil
}

// start runs a runner until the test ends or stop is called.
func start(t *testing.T, r *batch.Runner) (kill func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	kill = func() { cancel(); running.Wait() }
	return kill
}

func TestRunner_completes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.ask = func(_ context.Context, id string) batch.Answer {
			if id == "c7" {
				return batch.Answer{Status: 400, Body: []byte(`{"error":{"message":"bad"}}`)}
			}
			return batch.Answer{Status: 200, Body: []byte(`{"ok":"` + id + `"}`)}
		}
		id := b.order(lines(100))
		if got := b.show(id); got.Status != "validating" || got.Counts.Total != 0 {
			t.Errorf("got %+v", got)
		}
		r, err := batch.ReadRequest([]byte(`{"input_file_id":"` + b.record(id).InputFile + `","endpoint":"` + endpoint + `","completion_window":"24h","output_expires_after":{"anchor":"created_at","seconds":3600}}`))
		if err != nil {
			t.Fatal(err)
		}
		short, err := b.desk.Create(t.Context(), owner, r, resource.Owners{KeyID: "k1"}, "", 7)
		if err != nil {
			t.Fatal(err)
		}
		defer start(t, b.runner("n1"))()
		defer start(t, b.runner("n2"))()
		got := b.wait(id, "completed")
		for made, want := range map[*batch.Batch]time.Duration{got: 8 * 24 * time.Hour, b.wait(short.ID, "completed"): time.Hour} {
			a, _, err := b.shelf.Get(t.Context(), *made.OutputFile)
			if err != nil {
				t.Fatal(err)
			}
			if keep := a.ExpiresAt.Std().Sub(a.CreatedAt.Std()); keep > want || keep < want-time.Hour {
				t.Errorf("the answers are kept for %s, want %s", keep, want)
			}
		}
		if got.Counts.Total != 100 || got.Counts.Completed != 99 || got.Counts.Failed != 1 || got.InProgressAt == nil || got.CompletedAt == nil || got.FinalizingAt == nil {
			t.Errorf("got %+v", got)
		}
		out, failed := b.read(got.OutputFile), b.read(got.ErrorFile)
		if len(out) != 99 || !strings.Contains(out["c5"], `"response":{"status_code":200,"request_id":"batch_req_`) || !strings.Contains(out["c5"], `"body":{"ok":"c5"}},"error":null}`) {
			t.Errorf("%d lines, c5 is %s", len(out), out["c5"])
		}
		if len(failed) != 1 || !strings.Contains(failed["c7"], `"status_code":400`) {
			t.Errorf("errors %v", failed)
		}
		for id, n := range b.sent {
			if n != 2 { // once for each batch
				t.Errorf("%s was sent %d times", id, n)
			}
		}
		if rec := b.record(id); len(rec.Output)+len(rec.Errors) > 0 {
			t.Error("the parts stay in the batch")
		}
	})
}

func TestRunner_badFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer start(t, b.runner("n1"))()
		good := strings.TrimSpace(lines(1))
		for name, tt := range map[string]struct {
			text, code string
			line       int64
		}{
			"no JSON":       {good + "\n{", "invalid_json_line", 2},
			"no id":         {"\n\n" + strings.Replace(good, `"c0"`, `""`, 1), "missing_required_parameter", 3},
			"the id twice":  {good + "\n" + good, "duplicate_custom_id", 2},
			"method":        {strings.Replace(good, "POST", "GET", 1), "invalid_method", 1},
			"endpoint":      {strings.Replace(good, endpoint, "/v1/chat/completions", 1), "mismatched_endpoint", 1},
			"no body":       {strings.Replace(good, `{"model"`, `[{"model"`, 1), "invalid_json_line", 1},
			"no model":      {strings.Replace(good, `"m"`, `""`, 1), "missing_required_parameter", 1},
			"two models":    {strings.Replace(good, `"model":"m"`, `"model":"m","model":"n"`, 1), "invalid_request", 1},
			"a stream":      {strings.Replace(good, `"model"`, `"stream":true,"model"`, 1), "invalid_value", 1},
			"nothing":       {"\n \n", "empty_file", 0},
			"too many rows": {lines(int(b.set.BatchLines) + 1), "too_many_tasks", 0},
		} {
			got := b.wait(b.order(tt.text), "failed")
			if got.Errors == nil || len(got.Errors.Data) != 1 || got.FailedAt == nil {
				t.Errorf("%s: %+v", name, got)
				continue
			}
			p := got.Errors.Data[0]
			if p.Code != tt.code || tt.line == 0 != (p.Line == nil) || p.Line != nil && *p.Line != tt.line {
				t.Errorf("%s: got %s in line %v, want %s in %d", name, p.Code, p.Line, tt.code, tt.line)
			}
		}
		if len(b.sent) != 0 {
			t.Errorf("sent %v", b.sent)
		}
	})
}

// A runner that dies leaves the lines that it may have sent to nobody: all others are sent once.
func TestRunner_dies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stuck := make(chan struct{})
		b.ask = func(ctx context.Context, id string) batch.Answer {
			if id == "c20" {
				close(stuck)
				<-ctx.Done()
			}
			return batch.Answer{Status: 200, Body: []byte(`{}`)}
		}
		id := b.order(lines(60))
		kill := start(t, b.runner("n1"))
		<-stuck
		synctest.Wait()
		b.shelf.Before = func(a *resource.Artifact) error { // what a dead process writes
			if strings.HasPrefix(a.Batch.Runner, "n1/") {
				return resource.ErrNoLeader
			}
			return nil
		}
		kill()
		b.shelf.Before = nil
		defer start(t, b.runner("n2"))()
		got := b.wait(id, "completed")
		failed := b.read(got.ErrorFile)
		if got.Counts.Completed != 52 || got.Counts.Failed != 8 || len(failed) != 8 || !strings.Contains(failed["c20"], `"response":null,"error":{"code":"line_interrupted"`) {
			t.Errorf("got %+v, %v", got.Counts, failed)
		}
		for id, n := range b.sent {
			if n != 1 {
				t.Errorf("%s was sent %d times", id, n)
			}
		}
	})
}

// A runner that is stopped waits for what it has sent, and another goes on.
func TestRunner_stops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		begun := make(chan struct{})
		b.ask = func(_ context.Context, id string) batch.Answer {
			if id == "c20" {
				close(begun)
			}
			time.Sleep(time.Second)
			return batch.Answer{Status: 200, Body: []byte(`{}`)}
		}
		id := b.order(lines(60))
		first := b.runner("n1")
		kill := start(t, first)
		<-begun
		first.Stop(t.Context())
		kill()
		if b.show(id).Status != "in_progress" || b.record(id).Completed != 24 {
			t.Errorf("got %+v", b.show(id))
		}
		defer start(t, b.runner("n2"))()
		if got := b.wait(id, "completed"); got.Counts.Completed != 60 || got.ErrorFile != nil {
			t.Errorf("got %+v", got)
		}
	})
}

func TestRunner_cancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.ask = func(context.Context, string) batch.Answer {
			time.Sleep(time.Minute)
			return batch.Answer{Status: 200, Body: []byte(`{}`)}
		}
		id := b.order(lines(60))
		defer start(t, b.runner("n1"))()
		b.wait(id, "in_progress")
		if _, err := b.desk.Cancel(t.Context(), other, id); err == nil {
			t.Error("a stranger cancels")
		}
		got, err := b.desk.Cancel(t.Context(), owner, id)
		if err != nil || got.Status != "cancelling" || got.CancellingAt == nil {
			t.Fatalf("got %+v, %v", got, err)
		}
		got = b.wait(id, "cancelled")
		if got.Counts.Completed != 8 || len(b.read(got.OutputFile)) != 8 || got.CancelledAt == nil || len(b.sent) != 8 {
			t.Errorf("got %+v, sent %d", got, len(b.sent))
		}
		if _, err := b.desk.Cancel(t.Context(), owner, id); err == nil {
			t.Error("cancelled twice")
		}
	})
}

// What meets a limit waits, and what is not sent in 24 hours has an error.
func TestRunner_limits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var mu sync.Mutex
		room := 5
		b.ask = func(_ context.Context, id string) batch.Answer {
			mu.Lock()
			defer mu.Unlock()
			if id == "c3" {
				return batch.Answer{Status: 429, Header: http.Header{"X-Should-Retry": {"false"}}, Body: []byte(`{"error":{"code":"budget_exceeded"}}`)}
			}
			if room == 0 {
				return batch.Answer{Status: 429, Header: http.Header{"Retry-After": {"30"}}}
			}
			room--
			return batch.Answer{Status: 200, Body: []byte(`{}`)}
		}
		id := b.order(lines(20))
		began := time.Now()
		defer start(t, b.runner("n1"))()
		b.wait(id, "in_progress")
		time.Sleep(time.Hour)
		mu.Lock()
		room = 6
		mu.Unlock()
		got := b.wait(id, "expired")
		failed := b.read(got.ErrorFile)
		if got.Counts.Completed != 11 || got.Counts.Failed != 9 || len(failed) != 9 || !strings.Contains(failed["c3"], "budget_exceeded") || b.sent["c3"] != 1 {
			t.Errorf("got %+v, %v", got.Counts, failed)
		}
		if late := time.Since(began); late < 24*time.Hour || late > 24*time.Hour+2*time.Minute || got.ExpiredAt == nil {
			t.Errorf("expired after %s", late)
		}
		if n := strings.Count(strings.Join(slices.Collect(valuesOf(failed)), ""), "batch_expired"); n != 8 {
			t.Errorf("%d lines expired, want 8", n)
		}
	})
}

func valuesOf(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// Whatever becomes of a write, in whatever order, each line is kept once.
func TestRunner_writesFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		id := b.order(lines(200))
		n := 0
		b.shelf.Before = func(*resource.Artifact) error {
			if n++; n%3 == 0 {
				return errors.New("no leader for a moment")
			}
			return nil
		}
		defer start(t, b.runner("n1"))()
		defer start(t, b.runner("n2"))()
		got := b.wait(id, "completed")
		if out := b.read(got.OutputFile); len(out) != 200 || got.Counts.Completed != 200 {
			t.Errorf("%d lines, %+v", len(out), got.Counts)
		}
	})
}

// A batch that is erased while it runs leaves nothing.
func TestRunner_erased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		id := b.order(lines(20))
		b.shelf.After = func(a *resource.Artifact) {
			if a.File != nil && a.File.Purpose == files.PurposeBatchOutput {
				_ = b.shelf.Delete(t.Context(), id)
			}
		}
		defer start(t, b.runner("n1"))()
		time.Sleep(time.Minute)
		for _, a := range b.shelf.All() {
			if a.File == nil || a.File.Purpose != files.PurposeBatch {
				t.Errorf("%s stays", a.ID)
			}
		}
	})
}

func TestDesk_Create(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	file := b.upload(lines(1))
	data, err := files.New(b.shelf, nil).Create(t.Context(), &files.Upload{Purpose: "user_data", Owners: resource.Owners{KeyID: "k1"}, Days: 7})
	if err != nil {
		t.Fatal(err)
	}
	for body, who := range map[string]*resource.Principal{
		`{}`: owner,
		`{"input_file_id":"` + file + `","endpoint":"/v1/files","completion_window":"24h"}`:                                                                        owner,
		`{"input_file_id":"` + file + `","endpoint":"` + endpoint + `","completion_window":"1h"}`:                                                                  owner,
		`{"input_file_id":"` + file + `","endpoint":"` + endpoint + `","completion_window":"24h"}`:                                                                 other,
		`{"input_file_id":"` + data.ID + `","endpoint":"` + endpoint + `","completion_window":"24h"}`:                                                              owner,
		`{"input_file_id":"` + file + `","endpoint":"` + endpoint + `","completion_window":"24h","metadata":[1]}`:                                                  owner,
		`{"input_file_id":"` + file + `","endpoint":"` + endpoint + `","completion_window":"24h","metadata":{"a":1}}`:                                              owner,
		`{"input_file_id":"` + file + `","endpoint":"` + endpoint + `","completion_window":"24h","output_expires_after":{"anchor":"created_at","seconds":60}}`:     owner,
		`{"input_file_id":"` + file + `","endpoint":"` + endpoint + `","completion_window":"24h","output_expires_after":{"anchor":"completed_at","seconds":3600}}`: owner,
	} {
		r, err := batch.ReadRequest([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.desk.Create(t.Context(), who, r, resource.Owners{}, "", 7); err == nil {
			t.Errorf("taken: %s", body)
		}
	}
	for range 3 {
		b.order(lines(1))
	}
	page, err := b.desk.List(t.Context(), owner, url.Values{"limit": {"2"}})
	if err != nil || len(page.Data) != 2 || !page.HasMore || page.FirstID != page.Data[0].ID {
		t.Errorf("got %+v, %v", page, err)
	}
	page, err = b.desk.List(t.Context(), owner, url.Values{"after": {page.LastID}})
	if err != nil || len(page.Data) != 1 || page.HasMore {
		t.Errorf("got %+v, %v", page, err)
	}
	if page, err := b.desk.List(t.Context(), other, url.Values{}); err != nil || len(page.Data) != 0 {
		t.Errorf("a stranger sees %+v, %v", page, err)
	}
}

// billsOf are the bills of a whole output; each request costs as many nanodollars as its prompt has tokens, but never over 10.
func billsOf(output string) []batch.Bill {
	bills := batch.Bills{Price: func(_ string, u llm.Usage) resource.Money { return min(10, resource.Money(u.Prompt())) }}
	for line := range strings.Lines(output) {
		bills.Add([]byte(line))
	}
	return bills.All
}

func TestBills(t *testing.T) {
	t.Parallel()
	got := billsOf(`{"custom_id":"a","result":{"type":"succeeded","message":{"model":"claude-1","usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":2}}}}
{"custom_id":"b","result":{"type":"errored","error":{}}}
{"custom_id":"c","result":{"type":"succeeded","message":{"model":"claude-2","usage":{"input_tokens":1,"output_tokens":1}}}}
not JSON
{"custom_id":"d","result":{"type":"succeeded","message":{"model":"claude-1","usage":{"input_tokens":1,"output_tokens":1}}}}
{"custom_id":"e","response":{"status_code":200,"body":{"model":"gpt","usage":{"prompt_tokens":3,"completion_tokens":4}}}}
{"custom_id":"f","response":{"status_code":500,"body":{"model":"gpt","usage":{"prompt_tokens":3,"completion_tokens":4}}}}`)
	bill := func(model string, n int64, cost resource.Money, u llm.Usage) batch.Bill {
		u.Source, u.Service = llm.UsageProvider, llm.ServiceBatch
		return batch.Bill{Model: model, Requests: n, Cost: cost, Usage: u}
	}
	want := []batch.Bill{
		bill("claude-1", 2, 11, llm.Usage{Input: 11, Output: 6, CacheRead: 2}), bill("claude-2", 1, 1, llm.Usage{Input: 1, Output: 1}), bill("gpt", 1, 3, llm.Usage{Input: 3, Output: 4}),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDues(t *testing.T) {
	t.Parallel()
	got := batch.Dues([]byte(`{"data":[{"id":"msgbatch_1","type":"message_batch","processing_status":"ended"},{"id":"msgbatch_2","type":"message_batch","processing_status":"in_progress"},
		{"id":"batch_1","object":"batch","status":"completed","output_file_id":"file-1"},{"id":"batch_2","object":"batch","status":"failed"},{"id":"batch_3","object":"batch","status":"cancelling"},
		{"id":"0c0f","object":"batch","status":"SUCCESS","output_file":"1d1d"},{"id":"0c10","object":"batch","status":"RUNNING"}]}`))
	want := []batch.Due{{ID: "msgbatch_1"}, {ID: "batch_1", File: "file-1"}, {ID: "batch_2", None: true}, {ID: "0c0f", File: "1d1d"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		place         batch.Place
		due           batch.Due
		show, results string
	}{
		{"batches", batch.Due{ID: "b/1", File: "f"}, "batches/b%2F1", "files/f/content"},
		{"openai/batches?api-version=1", batch.Due{ID: "b", File: "f"}, "openai/batches/b?api-version=1", "openai/files/f/content?api-version=1"},
		{"v1/messages/batches", batch.Due{ID: "b"}, "v1/messages/batches/b", "v1/messages/batches/b/results"},
		{"v1/batch/jobs", batch.Due{ID: "b", File: "f"}, "v1/batch/jobs/b", "v1/files/f/content"},
	} {
		join := func(path, query string) string { return strings.TrimSuffix(path+"?"+query, "?") }
		if got := join(tt.place.Show(tt.due.ID)); got != tt.show {
			t.Errorf("%s: it is at %s, want %s", tt.place, got, tt.show)
		}
		if got := join(tt.place.Results(&tt.due)); got != tt.results {
			t.Errorf("%s: its results are at %s, want %s", tt.place, got, tt.results)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	var names batch.Names
	names.Add("quick", "gpt-x")
	names.Add("other", "gpt-x") // the first one counts
	names.Add("deep", "gpt-x-large")
	names.Add("same", "same")
	for _, tt := range []struct{ line, want string }{
		{`{"custom_id":"gpt-x","response":{"body":{"model":"gpt-x","usage":{}}}}`, `{"custom_id":"gpt-x","response":{"body":{"model":"quick","usage":{}}}}`},
		{`{"response":{"body":{"model":"gpt-x-2026-01-01"}}}`, `{"response":{"body":{"model":"quick"}}}`},
		{`{"response":{"body":{"model":"gpt-x-large-1"}}}`, `{"response":{"body":{"model":"deep"}}}`},
		{`{"response":{"body":{"model":"gpt-xy"}}}`, `{"response":{"body":{"model":"gpt-xy"}}}`},
		{`{"result":{"message":{"content":[{"model":"gpt-x"}],"model":"gpt-x"}}}` + "\r\n", `{"result":{"message":{"content":[{"model":"gpt-x"}],"model":"quick"}}}` + "\r\n"},
		{`{"custom_id":"a","body":{"model":"gpt-x"}}`, `{"custom_id":"a","body":{"model":"quick"}}`},
		{`{"model":"gpt-x"}`, `{"model":"gpt-x"}`},
		{`{"body":{"model":"gpt-x"}`, `{"body":{"model":"gpt-x"}`},
		{"no JSON", "no JSON"},
	} {
		if got := string(names.AppendLine(nil, []byte(tt.line))); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	const text = "one\n\ntwo\nthree"
	for size := 1; size <= len(text); size++ {
		var lines batch.Lines
		var got []string
		line := func(l []byte) { got = append(got, string(l)) }
		rest := func(r []byte) { t.Errorf("%q is too long", r) }
		for at := 0; at < len(text); at += size {
			lines.Feed([]byte(text[at:min(at+size, len(text))]), line, rest)
		}
		lines.End(line)
		if d := cmp.Diff([]string{"one\n", "\n", "two\n", "three"}, got); d != "" {
			t.Errorf("pieces of %d: %s", size, d)
		}
	}
}

// A batch is asked for by the node that leads alone, less and less often, until it is booked.
func TestWatch(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	began := now
	store := filestest.New()
	open := &resource.Artifact{
		ID: "batch_1", Kind: resource.ArtifactProvider, DeploymentID: "dep_1", CreatedAt: resource.At(now), ExpiresAt: resource.At(now.Add(1000 * time.Hour)),
		Order: &resource.BatchOrder{At: "batches"},
	}
	version, err := store.Put(t.Context(), open, 0)
	if err != nil {
		t.Fatal(err)
	}
	leads := false
	var asked []time.Duration
	w := batch.NewWatch(batch.WatchConfig{
		Store: store, Leads: func() bool { return leads }, Now: func() time.Time { return now },
		Look: func(context.Context, *resource.Artifact) error {
			asked = append(asked, now.Sub(began))
			return errors.New("not yet")
		},
	})
	w.Round(t.Context())
	leads = true
	for ; now.Sub(began) < 20*time.Hour; now = now.Add(10 * time.Second) {
		w.Round(t.Context())
	}
	if len(asked) < 20 || len(asked) > 100 || asked[0] != time.Minute {
		t.Errorf("asked %d times, first after %s", len(asked), asked[0])
	}
	for i := 1; i < len(asked); i++ {
		if wait := asked[i] - asked[i-1]; wait < time.Minute || wait > time.Hour+10*time.Second {
			t.Errorf("it waited %s after %s", wait, asked[i-1])
		}
	}
	done := *open
	done.ChargedAt = resource.At(now)
	if _, err := store.Put(t.Context(), &done, version); err != nil {
		t.Fatal(err)
	}
	n := len(asked)
	now = now.Add(100 * time.Hour)
	if w.Round(t.Context()); len(asked) != n {
		t.Error("it is asked for though it is booked")
	}
}

func FuzzBill(f *testing.F) {
	f.Add([]byte(`{"response":{"status_code":200,"body":{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":2}}}}`), []byte(`{"object":"list","data":[{"id":"b","object":"batch","status":"completed","output_file_id":"f"}]}`))
	f.Add([]byte(`{"result":{"type":"succeeded","message":{"model":"m","usage":{"input_tokens":1}}}}`), []byte(`{"id":"b","type":"message_batch","processing_status":"ended"}`))
	f.Fuzz(func(t *testing.T, output, answer []byte) {
		for _, b := range billsOf(string(output)) {
			if b.Requests == 0 || b.Usage.Source != llm.UsageProvider {
				t.Errorf("bill %+v", b)
			}
		}
		for _, d := range batch.Dues(answer) {
			if path, _ := batch.Place("v1/messages/batches").Results(&d); strings.Count(path, "/") > 4 {
				t.Errorf("%+v is at %s", d, path)
			}
		}
	})
}
