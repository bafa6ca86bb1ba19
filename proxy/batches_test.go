package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// orderVendor runs batches of OpenAI's, Anthropic's, Mistral's and Google's.
type orderVendor struct {
	mu     sync.Mutex // guards what follows
	file   []byte     // that was uploaded
	orders []string   // paths and bodies
	shown  string     // how each batch is; "": it is refused; "gone": it is not known
	output string
}

func (v *orderVendor) ServeHTTP(rw http.ResponseWriter, q *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(q.URL.Path, "/v1")
	switch {
	case q.Method == http.MethodPost && path == "/files":
		f, _, err := q.FormFile("file")
		if err == nil {
			v.file, err = io.ReadAll(f)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(rw, `{"id":"file-in12345","object":"file","purpose":"batch","filename":"in.jsonl","bytes":1,"created_at":1}`)
	case strings.HasSuffix(path, "/content"), strings.HasSuffix(path, "/results"), strings.HasSuffix(path, ":download"):
		rw.Header().Set("Content-Type", "application/octet-stream")
		if strings.Contains(path, "file-in") {
			_, _ = rw.Write(v.file)
		} else {
			_, _ = io.WriteString(rw, v.output)
		}
	case v.shown == "gone":
		rw.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(rw, `{"error":{"message":"No such batch.","type":"invalid_request_error"}}`)
	case v.shown == "":
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(rw, `{"error":{"message":"no","type":"invalid_request_error"}}`)
	default:
		if q.Method == http.MethodPost {
			b, _ := io.ReadAll(q.Body)
			v.orders = append(v.orders, path+" "+string(b))
		}
		_, _ = io.WriteString(rw, v.shown)
	}
}

func (v *orderVendor) say(shown, output string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shown, v.output = shown, output
}

func (v *orderVendor) ordered() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.orders)
}

const (
	running  = `{"id":"batch_1234567","object":"batch","status":"in_progress","output_file_id":null}`
	complete = `{"id":"batch_1234567","object":"batch","status":"completed","output_file_id":"file-out12345"}`
	failed   = `{"id":"batch_1234567","object":"batch","status":"failed","output_file_id":null}`
	order    = `{"input_file_id":"file-in12345","endpoint":"/v1/chat/completions","completion_window":"24h"}`

	inputLine  = `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"demo","max_tokens":1000,"messages":[{"role":"user","content":"hello"}]}}` + "\n"
	outputLine = `{"id":"r1","custom_id":"a","response":{"status_code":200,"request_id":"q","body":{"model":"gpt-x-2026","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50}}},"error":null}` + "\n"
)

// A batch in Google's words.
const (
	googleOrder  = `{"batch":{"displayName":"n","inputConfig":{"requests":{"requests":[{"request":{"contents":[{"role":"user","parts":[{"text":"hello"}]}],"generationConfig":{"maxOutputTokens":1000}},"metadata":{"key":"a"}}]}}}}`
	googleMade   = `{"name":"batches/abc123def456","metadata":{"state":"BATCH_STATE_PENDING"}}`
	googleAnswer = `{"candidates":[],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":50,"totalTokenCount":150},"modelVersion":"gpt-x"}`
	googleDone   = `{"name":"batches/abc123def456","done":true,"metadata":{"state":"BATCH_STATE_SUCCEEDED"},"response":{"inlinedResponses":{"inlinedResponses":[{"response":` + googleAnswer + `,"metadata":{"key":"a"}}]}}}`
)

// orders is a gateway with real budgets and a real journal, in front of a vendor.
type orders struct {
	*rig
	t       *testing.T
	vendor  *orderVendor
	books   *budget.Budgets
	journal *ledger.Journal
	store   *filestest.Store
	now     time.Time
	terms   resource.Terms
}

func newOrders(t *testing.T, limit resource.Money) *orders {
	t.Helper()
	o := &orders{rig: newRig(t), t: t, vendor: &orderVendor{shown: running}, store: filestest.New(), now: time.Now()}
	up := httptest.NewServer(o.vendor)
	t.Cleanup(up.Close)
	d := o.tables.Deployments[0]
	d.APIBase, d.Options = up.URL+"/v1", map[string]string{"use_in_pass_through": "true"}
	d.Price = &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar}
	o.tables.Deployments = o.tables.Deployments[:1]
	o.terms = resource.Terms{Name: "pocket", USD: limit, Clamp: true}
	k := &resource.Key{Meta: resource.Meta{ID: "key_good"}, Hash: resource.HashSecret(goodKey)}
	k.Budgets = []resource.Terms{o.terms}
	o.keys[k.Hash] = k
	o.now = o.now.Truncate(time.Second)
	o.cfg.Now = func() time.Time { return o.now }
	o.books = budget.New(budget.Config{Now: o.cfg.Now})
	o.books.SetEpoch(1)
	span, err := o.terms.Window(o.now)
	if err != nil {
		t.Fatal(err)
	}
	o.books.Leases(1, []budget.Lease{{Account: "key/key_good/pocket", Window: span, Epoch: 1, Granted: limit, Limit: limit}})
	if o.journal, err = ledger.OpenJournal(ledger.Config{Dir: t.TempDir(), NodeID: "node_a"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.journal.Close() })
	client := upstream.New(upstream.Config{})
	t.Cleanup(client.Close)
	o.cfg.Artifacts, o.cfg.Upstream, o.cfg.Router = o.store, proxy.FromClient(client), o.router.Router
	o.cfg.Budgets, o.cfg.Journal, o.cfg.Books = proxy.FromBudgets(o.books), o.journal, o.journal
	return o
}

// left is what the key's budget has left.
func (o *orders) left() resource.Money {
	k := o.keys[resource.HashSecret(goodKey)]
	who := &resource.Principal{Key: k}
	room, ok := o.books.Room(budget.Request{Catalog: resource.NewCatalog(o.tables), Levels: who.Levels(nil), Model: "demo"})
	if !ok {
		return 0
	}
	return room.Cost
}

// upload sends the file of a batch.
func (o *orders) upload(lines string) {
	o.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("purpose", "batch")
	part, err := form.CreateFormFile("file", "in.jsonl")
	if err == nil {
		_, err = io.WriteString(part, lines)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		o.t.Fatal(err)
	}
	w := o.do("POST", "/v1/files?custom_llm_provider=openai", body.String(), header("Content-Type", form.FormDataContentType()))
	if w.Code != 200 {
		o.t.Fatalf("upload: %d %s", w.Code, w.Body)
	}
}

func (o *orders) order() *httptest.ResponseRecorder {
	return o.do("POST", "/v1/batches?custom_llm_provider=openai", order)
}

// watch lets a new process of the node look, after a time.
func (o *orders) watch(after time.Duration) {
	o.now = o.now.Add(after)
	w := o.server().Watch(func() bool { return true }, time.Second)
	w.Round(o.t.Context())
}

// records are those of the batch's use, by id.
func (o *orders) records() map[string]ledger.Record {
	o.t.Helper()
	all, _, err := o.journal.ReadFrom(0, 1000)
	if err != nil {
		o.t.Fatal(err)
	}
	out := map[string]ledger.Record{}
	for _, r := range all {
		if strings.Contains(r.RequestID, ".usage") {
			if _, twice := out[r.RequestID]; twice {
				o.t.Errorf("%s is booked twice", r.RequestID)
			}
			out[r.RequestID] = r
		}
	}
	return out
}

const (
	pocket = resource.Dollar / 100
	actual = (100 + 2*50) * 1000 / 2 // nanodollars, at half the price
)

// A batch of a provider's is held for when it is ordered, and booked when it is over, whoever asks.
func TestBatches_Ahead(t *testing.T) {
	t.Parallel()
	o := newOrders(t, pocket)
	o.upload(strings.Repeat(inputLine, 3))
	if got := string(o.vendor.file); strings.Contains(got, `"demo"`) || !strings.Contains(got, `"gpt-x"`) {
		t.Errorf("the provider got %s", got)
	}
	before := o.left()
	if w := o.order(); w.Code != 200 {
		t.Fatalf("order: %d %s", w.Code, w.Body)
	}
	held := before - o.left()
	if least := resource.Money(3 * 1000 * 2 * 1000 / 2); held < least || held > 2*least {
		t.Errorf("%d is held, want three times the most output and a prompt", held)
	}
	o.watch(time.Hour)
	if len(o.records()) != 0 || before-o.left() != held {
		t.Errorf("booked before it is over: %+v", o.records())
	}
	o.vendor.say(complete, strings.Repeat(outputLine, 2))
	o.watch(time.Hour)
	o.watch(time.Hour)
	for range 2 {
		if w := o.do("GET", "/v1/batches/batch_1234567", ""); w.Code != 200 {
			t.Fatalf("show: %d %s", w.Code, w.Body)
		}
	}
	got := o.records()
	r := got["batch_1234567.usage"]
	if len(got) != 1 || r.Cost != 2*actual || r.KeyID != "key_good" || r.Model != "demo" || r.Usage.Prompt() != 200 || r.Hold != held || r.Flags.Has(ledger.Overrun) {
		t.Errorf("booked %+v", got)
	}
	if spent := before - o.left(); spent != 2*actual {
		t.Errorf("the budget was charged %d, want %d", spent, 2*actual)
	}
	w := o.do("GET", "/v1/files/file-out12345/content", "")
	want := strings.Repeat(strings.Replace(outputLine, "gpt-x-2026", "demo", 1), 2)
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("results: %d %s, want %s", w.Code, w.Body, want)
	}
	if w := o.do("GET", "/v1/files/file-in12345/content", ""); w.Body.String() != strings.Repeat(inputLine, 3) {
		t.Errorf("its own file: %d %s", w.Code, w.Body)
	}
}

// A batch that was booked before a backup was restored is not booked again, and as long as nobody knows it is not booked at all.
func TestBatches_Restored(t *testing.T) {
	t.Parallel()
	o := newOrders(t, pocket)
	o.upload(inputLine)
	before := o.left()
	if w := o.order(); w.Code != 200 {
		t.Fatalf("order: %d %s", w.Code, w.Body)
	}
	held := before - o.left()
	o.vendor.say(complete, outputLine)
	unknown := errors.New("a node gives no answer")
	var asked []string
	o.cfg.Booked = func(_ context.Context, ids []string, since resource.Time) (bool, error) {
		asked = ids
		return len(ids) > 0 && since > 0, unknown
	}
	charged := func() resource.Time {
		a, _, err := o.store.Get(t.Context(), "batch_1234567")
		if err != nil {
			t.Fatal(err)
		}
		return a.ChargedAt
	}
	o.watch(time.Hour)
	if want := []string{"batch_1234567.usage", "batch_1234567.usage-none-1"}; charged() != 0 || !slices.Equal(asked, want) {
		t.Errorf("charged at %d while nobody knows, asked for %q, want %q", charged(), asked, want)
	}
	unknown = nil
	o.watch(time.Hour)
	if n := len(o.records()); charged() == 0 || n != 0 || before-o.left() != held {
		t.Errorf("charged at %d, %d records, %d charged, want what was held, %d", charged(), n, before-o.left(), held)
	}
}

// Each request of a batch is priced by the size of its own prompt and with its own fee, and counts in budgets of requests.
func TestBatches_EachRequest(t *testing.T) {
	t.Parallel()
	for calls, status := range map[int64]int{5: 200, 4: 429} { // two are the upload and the order
		o := newOrders(t, pocket)
		o.tables.Deployments[0].Price = &resource.Price{
			Input: resource.Dollar, Output: 2 * resource.Dollar, Request: 2000,
			Variants: []resource.PriceVariant{{Above: 150, Input: new(100 * resource.Dollar)}},
		}
		k := o.keys[resource.HashSecret(goodKey)]
		k.Budgets = append(k.Budgets, resource.Terms{Name: "calls", Requests: &calls})
		o.books.Leases(2, []budget.Lease{{Account: "key/key_good/calls", Epoch: 1, Granted: resource.Money(calls), Limit: resource.Money(calls)}})
		o.upload(strings.Repeat(inputLine, 3))
		if w := o.order(); w.Code != status {
			t.Fatalf("order with %d requests left: %d %s", calls, w.Code, w.Body)
		}
		if status != 200 {
			continue
		}
		o.vendor.say(complete, strings.Repeat(outputLine, 2))
		o.watch(time.Hour)
		r := o.records()["batch_1234567.usage"]
		if r.Cost != 2*(actual+1000) || !slices.ContainsFunc(r.Charges, func(c ledger.AccountCharge) bool {
			return c.Account == "key/key_good/calls" && c.Amount == 2-3
		}) {
			t.Errorf("booked %+v", r)
		}
	}
}

// What is ordered beyond the budget never reaches the provider, and what the provider refuses is given back.
func TestBatches_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, lines string
		limit       resource.Money
		shown       string
		status      int
		code        string
	}{
		{"no room", strings.Repeat(inputLine, 100), pocket, running, 429, "budget_exceeded"},
		{"a line that nobody can read", inputLine + "{\n", pocket, running, 400, "invalid_value"},
		{"a line that says the model twice", `{"custom_id":"a","url":"/v1/chat/completions","body":{"model":"demo","model":"gpt-x"}}`, pocket, running, 400, "invalid_value"},
		{"a line with two bodies", `{"url":"/v1/chat/completions","body":{"model":"demo"},"Body":{"model":"demo","n":9}}`, pocket, running, 400, "invalid_value"},
		{"the provider", inputLine, pocket, "", 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOrders(t, tt.limit)
			o.upload(inputLine)
			o.vendor.file = []byte(tt.lines)
			o.vendor.say(tt.shown, "")
			before := o.left()
			w := o.order()
			if w.Code != tt.status || codeOf(t, w.Body.String()) != tt.code {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if n := len(o.vendor.ordered()); n != 0 || o.left() != before {
				t.Errorf("the provider got %d orders, %d is held", n, before-o.left())
			}
		})
	}
}

// However a batch ends, what was held for it becomes what it has cost.
func TestBatches_Ends(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, shown, output string
		after               time.Duration
		cost                resource.Money // -1: what was held
	}{
		{"its file was bad", failed, "", time.Minute, 0},
		{"it was cancelled", strings.Replace(complete, "completed", "cancelled", 1), outputLine, time.Minute, actual},
		{"it expired", strings.Replace(complete, "completed", "expired", 1), outputLine, time.Minute, actual},
		{"nothing was answered", complete, `{"custom_id":"a","response":{"status_code":500,"body":{}}}`, time.Minute, 0},
		{"the provider forgot it", "gone", "", 2 * time.Hour, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOrders(t, pocket)
			o.upload(inputLine)
			before := o.left()
			if w := o.order(); w.Code != 200 {
				t.Fatalf("order: %d %s", w.Code, w.Body)
			}
			want := tt.cost
			if want < 0 {
				want = before - o.left()
			}
			o.vendor.say(tt.shown, tt.output)
			for range 3 {
				o.watch(tt.after)
			}
			if spent := before - o.left(); spent != want {
				t.Errorf("charged %d, want %d", spent, want)
			}
			var cost resource.Money
			for _, r := range o.records() {
				cost += r.Cost
				if estimated := r.Flags.Has(ledger.HoldCharged); estimated != (tt.cost < 0) {
					t.Errorf("record %+v", r)
				}
			}
			if cost != want {
				t.Errorf("booked %d, want %d", cost, want)
			}
		})
	}
}

// Whenever the process that books ends, what a batch has used is booked once.
func TestBatches_Killed(t *testing.T) {
	t.Parallel()
	claimed := func(a *resource.Artifact) bool { return a.Order != nil && a.Order.Booker != "" && a.ChargedAt == 0 }
	closed := func(a *resource.Artifact) bool { return a.Order != nil && a.ChargedAt != 0 }
	boom := errors.New("the process ends")
	for _, tt := range []struct {
		name string
		end  func(o *orders) // makes the next round end early
		bill int             // records after the last round
	}{
		{"before it says that it books", func(o *orders) {
			o.store.Before = func(a *resource.Artifact) error {
				if claimed(a) {
					return boom
				}
				return nil
			}
		}, 1},
		{"when it has said so", func(o *orders) {
			a, version, err := o.store.Get(o.t.Context(), "batch_1234567")
			if err != nil {
				o.t.Fatal(err)
			}
			next, order := *a, *a.Order
			order.Booker, order.After = "node_a", o.journal.Last()
			next.Order = &order
			if _, err := o.store.Put(o.t.Context(), &next, version); err != nil {
				o.t.Fatal(err)
			}
			o.vendor.say(running, "") // no round sees it over before the next process
		}, 1},
		{"when it has booked", func(o *orders) {
			o.store.Before = func(a *resource.Artifact) error {
				if closed(a) {
					return boom
				}
				return nil
			}
		}, 1},
		{"when another node books", func(o *orders) { o.claim("node_b") }, 0},
		{"when a node that was removed has begun", func(o *orders) {
			o.claim("node_b")
			o.cfg.MemberGone = func(id string) bool { return id == "node_b" }
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOrders(t, pocket)
			o.upload(inputLine)
			before := o.left()
			if w := o.order(); w.Code != 200 {
				t.Fatalf("order: %d %s", w.Code, w.Body)
			}
			held := before - o.left()
			o.vendor.say(complete, outputLine)
			tt.end(o)
			o.watch(time.Hour)
			o.store.Before = nil
			o.vendor.say(complete, outputLine)
			o.watch(time.Hour)
			o.watch(time.Hour)
			if n := len(o.records()); n != tt.bill {
				t.Errorf("%d records, want %d", n, tt.bill)
			}
			want := held
			if tt.bill > 0 {
				want = actual
			}
			if spent := before - o.left(); spent != want {
				t.Errorf("charged %d, want %d", spent, want)
			}
		})
	}
}

// claim says that a node books the batch.
func (o *orders) claim(node string) {
	a, version, err := o.store.Get(o.t.Context(), "batch_1234567")
	if err != nil {
		o.t.Fatal(err)
	}
	next, order := *a, *a.Order
	order.Booker = node
	next.Order = &order
	if _, err := o.store.Put(o.t.Context(), &next, version); err != nil {
		o.t.Fatal(err)
	}
}

// Batches of Anthropic's, Mistral's and Google's words are held for by what stands in the order.
func TestBatches_AheadInOtherWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider, path, body, made, done, results, output, want string
	}{
		{
			"anthropic", "anthropic", "/anthropic/v1/messages/batches",
			`{"requests":[{"custom_id":"a","params":{"model":"demo","max_tokens":1000,"messages":[{"role":"user","content":"hello"}]}}]}`,
			`{"id":"msgbatch_1234","type":"message_batch","processing_status":"in_progress"}`,
			`{"id":"msgbatch_1234","type":"message_batch","processing_status":"ended"}`,
			"/anthropic/v1/messages/batches/msgbatch_1234/results",
			`{"custom_id":"a","result":{"type":"succeeded","message":{"id":"m","type":"message","model":"gpt-x","usage":{"input_tokens":100,"output_tokens":50}}}}` + "\n",
			`{"custom_id":"a","result":{"type":"succeeded","message":{"id":"m","type":"message","model":"demo","usage":{"input_tokens":100,"output_tokens":50}}}}` + "\n",
		},
		{
			"mistral", "mistral", "/mistral/v1/batch/jobs",
			`{"model":"demo","endpoint":"/v1/chat/completions","requests":[{"custom_id":"a","body":{"max_tokens":1000,"messages":[{"role":"user","content":"hello"}]}}]}`,
			`{"id":"0c0f1d1e-1","object":"batch","status":"RUNNING","output_file":null}`,
			`{"id":"0c0f1d1e-1","object":"batch","status":"SUCCESS","output_file":"1d1d2e2e-2"}`,
			"/mistral/v1/files/1d1d2e2e-2/content",
			strings.Replace(outputLine, "gpt-x-2026", "gpt-x", 1), strings.Replace(outputLine, "gpt-x-2026", "demo", 1),
		},
		{"gemini", "gemini", "/gemini/v1beta/models/demo:batchGenerateContent", googleOrder, googleMade, googleDone, "/gemini/v1beta/batches/abc123def456", "", googleDone},
		{
			"gemini, in a file", "gemini", "/gemini/v1beta/models/demo:batchGenerateContent", googleOrder, googleMade,
			`{"name":"batches/abc123def456","done":true,"response":{"responsesFile":"files/batch-out123456"}}`,
			"/gemini/v1beta/files/batch-out123456:download?alt=media", `{"key":"a","response":` + googleAnswer + "}\n", `{"key":"a","response":` + googleAnswer + "}\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOrders(t, pocket)
			o.tables.Deployments[0].Provider = tt.provider
			o.vendor.say(tt.made, "")
			before := o.left()
			if w := o.do("POST", tt.path, tt.body); w.Code != 200 {
				t.Fatalf("order: %d %s", w.Code, w.Body)
			}
			if sent := o.vendor.ordered(); len(sent) != 1 || !strings.Contains(sent[0], "gpt-x") {
				t.Errorf("the provider got %s", sent)
			}
			if held := before - o.left(); held < 1000*2*1000/2 {
				t.Errorf("%d is held", held)
			}
			o.vendor.say(tt.done, tt.output)
			o.watch(time.Hour)
			o.watch(time.Hour)
			if spent := before - o.left(); spent != actual || len(o.records()) != 1 {
				t.Errorf("charged %d, want %d: %+v", spent, actual, o.records())
			}
			if w := o.do("GET", tt.results, ""); w.Code != 200 || w.Body.String() != tt.want {
				t.Errorf("results: %d %s, want %s", w.Code, w.Body, tt.want)
			}
		})
	}
}

// What nobody can read of an order of Google's is refused to who has a budget, and never ordered.
func TestBatches_GooglesRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config string
		status int
		code   string
	}{
		"a file":         {`"inputConfig":{"fileName":"files/in123456"}`, 403, "batch_not_billable"},
		"another file":   {`"input_config":{"file_name":"files/in123456"}`, 403, "batch_not_billable"},
		"both":           {`"inputConfig":{"requests":{"requests":[{"request":{}}]}},"input_config":{"file_name":"files/in123456"}`, 400, "invalid_value"},
		"none":           {`"displayName":"n"`, 400, "invalid_value"},
		"no requests":    {`"inputConfig":{"requests":{"requests":[]}}`, 400, "invalid_value"},
		"requests twice": {`"inputConfig":{"requests":{"requests":[{"request":{}}],"requests":[]}}`, 400, "invalid_value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrders(t, pocket)
			o.tables.Deployments[0].Provider = "gemini"
			o.vendor.say(googleMade, "")
			before := o.left()
			w := o.do("POST", "/gemini/v1beta/models/demo:batchGenerateContent", `{"batch":{`+tt.config+`}}`)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.code) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
			if n := len(o.vendor.ordered()); n != 0 || o.left() != before {
				t.Errorf("the provider got %d orders, %d is held", n, before-o.left())
			}
		})
	}
}

// An answer that tells of a batch whose record the cluster did not take leaves the budget charged what was held.
func TestBatches_Unrecorded(t *testing.T) {
	t.Parallel()
	o := newOrders(t, pocket)
	o.upload(inputLine)
	o.store.Before = func(a *resource.Artifact) error {
		if a.Order != nil {
			return &llm.Error{Kind: llm.Unavailable, Message: "no leader"}
		}
		return nil
	}
	before := o.left()
	w := o.order()
	var made struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != 200 || made.ID != "batch_1234567" {
		t.Fatalf("order: %d %s", w.Code, w.Body)
	}
	held := before - o.left()
	all, _, err := o.journal.ReadFrom(0, 100)
	if err != nil || len(all) == 0 {
		t.Fatalf("read %d records: %v", len(all), err)
	}
	if r := all[len(all)-1]; held == 0 || r.Cost != held || !r.Flags.Has(ledger.HoldCharged) {
		t.Errorf("%d is held; recorded %+v", held, r)
	}
}
