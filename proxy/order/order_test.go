package order_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/proxy/order"
	"github.com/conclave-llm/conclave/resource"
)

// billsOf are the bills of a whole output; each request costs as many nanodollars as its prompt has tokens, but never over 10.
func billsOf(output string) []order.Bill {
	bills := order.Bills{Price: func(_ string, u llm.Usage) resource.Money { return min(10, resource.Money(u.Prompt())) }}
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
{"key":"g","response":{"candidates":[],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":5,"totalTokenCount":9},"modelVersion":"gemini"}}
{"key":"h","error":{"code":3}}
{"custom_id":"f","response":{"status_code":500,"body":{"model":"gpt","usage":{"prompt_tokens":3,"completion_tokens":4}}}}`)
	bill := func(model string, n int64, cost resource.Money, u llm.Usage) order.Bill {
		u.Source, u.Service = llm.UsageProvider, llm.ServiceBatch
		return order.Bill{Model: model, Requests: n, Cost: cost, Usage: u}
	}
	want := []order.Bill{
		bill("claude-1", 2, 11, llm.Usage{Input: 11, Output: 6, CacheRead: 2}), bill("claude-2", 1, 1, llm.Usage{Input: 1, Output: 1}), bill("gpt", 1, 3, llm.Usage{Input: 3, Output: 4}),
		bill("gemini", 1, 4, llm.Usage{Input: 4, Output: 5}),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDues(t *testing.T) {
	t.Parallel()
	got := order.Dues([]byte(`{"data":[{"id":"msgbatch_1","type":"message_batch","processing_status":"ended"},{"id":"msgbatch_2","type":"message_batch","processing_status":"in_progress"},
		{"id":"batch_1","object":"batch","status":"completed","output_file_id":"file-1"},{"id":"batch_2","object":"batch","status":"failed"},{"id":"batch_3","object":"batch","status":"cancelling"},
		{"id":"0c0f","object":"batch","status":"SUCCESS","output_file":"1d1d"},{"id":"0c10","object":"batch","status":"RUNNING"}]}`))
	googles := []order.Due{{ID: "b1", Lines: []json.RawMessage{[]byte(`{"a":1}`)}}, {ID: "b2", File: "f", Media: true}, {ID: "b3", None: true}}
	if d := cmp.Diff(googles, order.Dues([]byte(`{"operations":[{"name":"batches/b1","done":true,"response":{"inlinedResponses":{"inlinedResponses":[{"a":1}]}}},{"name":"batches/b2","done":true,"response":{"responsesFile":"files/f"}},
		{"name":"batches/b3","done":true,"error":{"code":1}},{"name":"batches/b4","metadata":{}},{"name":"models/veo/operations/o","done":true,"response":{}}]}`))); d != "" {
		t.Error(d)
	}
	want := []order.Due{{ID: "msgbatch_1"}, {ID: "batch_1", File: "file-1"}, {ID: "batch_2", None: true}, {ID: "0c0f", File: "1d1d"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		place         order.Place
		due           order.Due
		show, results string
	}{
		{"batches", order.Due{ID: "b/1", File: "f"}, "batches/b%2F1", "files/f/content"},
		{"openai/batches?api-version=1", order.Due{ID: "b", File: "f"}, "openai/batches/b?api-version=1", "openai/files/f/content?api-version=1"},
		{"v1/messages/batches", order.Due{ID: "b"}, "v1/messages/batches/b", "v1/messages/batches/b/results"},
		{"v1beta/batches", order.Due{ID: "b", File: "f", Media: true}, "v1beta/batches/b", "v1beta/files/f:download?alt=media"},
		{"v1/batch/jobs", order.Due{ID: "b", File: "f"}, "v1/batch/jobs/b", "v1/files/f/content"},
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
	var names order.Names
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
		var lines order.Lines
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

// A batch is asked for by the node that leads alone, less and less often, until it is booked; and by the one that has begun
// to book it.
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
	w := order.NewWatch(order.WatchConfig{
		Store: store, Leads: func() bool { return leads }, Member: "node_a", Now: func() time.Time { return now },
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
	leads = false
	begun := *open
	for _, booker := range []string{"node_b", "node_a"} {
		begun.Order = &resource.BatchOrder{At: "batches", Booker: booker}
		if version, err = store.Put(t.Context(), &begun, version); err != nil {
			t.Fatal(err)
		}
		n := len(asked)
		now = now.Add(time.Minute)
		if w.Round(t.Context()); len(asked) != n && booker != "node_a" || len(asked) != n+1 && booker == "node_a" {
			t.Errorf("begun by %s: node_a, which does not lead, has asked %d times", booker, len(asked)-n)
		}
	}
	done := begun
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
		for _, d := range order.Dues(answer) {
			if path, _ := order.Place("v1/messages/batches").Results(&d); strings.Count(path, "/") > 4 {
				t.Errorf("%+v is at %s", d, path)
			}
		}
	})
}
