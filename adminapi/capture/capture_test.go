package capture_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/capture"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// world is OpenAI, the nodes and the clock of a Checker.
type world struct {
	mu       sync.Mutex
	bill     func(day time.Time) string // dollars
	status   int                        // of OpenAI's answers; 0: 200
	recorded func(day time.Time) resource.Money
	missing  []string
	failing  error // of the nodes
	keyless  bool
	setting  string // value of the setting; "": there is none
	asked    []url.Values
	filters  []rollup.Condition
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// Do implements reconcile.Doer.
func (w *world) Do(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := r.URL.Query()
	w.asked = append(w.asked, q)
	if w.status != 0 {
		return &http.Response{StatusCode: w.status, Body: io.NopCloser(strings.NewReader(`{"error":{"message":"not today"}}`))}, nil
	}
	var buckets []string
	first, _ := strconv.ParseInt(q.Get("start_time"), 10, 64)
	end, _ := strconv.ParseInt(q.Get("end_time"), 10, 64)
	for at := first; at < end; at += 86_400 {
		buckets = append(buckets, fmt.Sprintf(`{"start_time":%d,"results":[{"amount":{"value":%q,"currency":"usd"}}]}`, at, w.bill(time.Unix(at, 0).UTC())))
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"object":"page","data":[` + strings.Join(buckets, ",") + `]}`))}, nil
}

func (w *world) usage(_ context.Context, q rollup.Query) ([]rollup.Line, []string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.filters = q.Filter
	var lines []rollup.Line
	for at := q.From; at < q.To; at += 86_400 {
		if cost := w.recorded(time.Unix(at, 0).UTC()); cost != 0 {
			lines = append(lines, rollup.Line{Start: at, Sums: rollup.Sums{Cost: int64(cost)}})
		}
	}
	return lines, w.missing, w.failing
}

func (w *world) key() (secret.Text, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keyless {
		return secret.Text{}, errors.New("OPENAI_ADMIN_KEY is not set")
	}
	return secret.New("sk-admin"), nil
}

func (w *world) catalog() *resource.Catalog {
	w.mu.Lock()
	defer w.mu.Unlock()
	var t resource.Tables
	if w.setting != "" {
		t.Settings = []*resource.Setting{{Meta: resource.Meta{ID: "spend_capture_rate_check"}, Value: []byte(w.setting)}}
	}
	return resource.NewCatalog(t)
}

func newWorld() *world {
	return &world{
		bill:     func(time.Time) string { return "10" },
		recorded: func(time.Time) resource.Money { return 8 * resource.Dollar },
	}
}

func (w *world) start(t *testing.T) *adminapitest.Harness {
	t.Helper()
	return adminapitest.New(t, func(cfg *adminapi.Config) {
		cfg.Capture = capture.New(capture.Config{Catalog: cfg.State.Catalog, Usage: w.usage, Key: w.key, HTTP: w, Now: cfg.Now})
	})
}

func TestRoute(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.bill = func(day time.Time) string {
		return map[int]string{1: "10.000000000000000", 2: "0", 3: "2.5"}[day.Day()]
	}
	w.recorded = func(day time.Time) resource.Money {
		return map[int]resource.Money{1: 9 * resource.Dollar, 2: resource.Dollar / 2}[day.Day()]
	}
	w.missing = []string{"b"}
	h := w.start(t)
	a := h.Call(adminapitest.MasterKey, "GET", "/spend/capture_rate?start_date=2026-03-01&end_date=2026-03-03&project_ids=p1&project_ids=p2", "")
	want := `{"provider":"openai","start_date":"2026-03-01","end_date":"2026-03-03","captured_spend":9.5,"provider_spend":12.5,"capture_rate":0.76,` +
		`"threshold":0.9,"below_threshold":true,"days":[{"date":"2026-03-01","captured_spend":9,"provider_spend":10,"capture_rate":0.9},` +
		`{"date":"2026-03-02","captured_spend":0.5,"provider_spend":0,"capture_rate":null},{"date":"2026-03-03","captured_spend":0,"provider_spend":2.5,"capture_rate":0}]}` + "\n"
	if d := cmp.Diff(want, string(a.Body)); d != "" || a.Status != 200 || a.Header.Get("X-Conclave-Missing-Nodes") != "b" {
		t.Errorf("%d %v (-want +got)\n%s", a.Status, a.Header, d)
	}
	if d := cmp.Diff([]string{"p1", "p2"}, w.asked[0]["project_ids"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]rollup.Condition{{Dim: rollup.Provider, Values: []string{"openai", "text-completion-openai"}}}, w.filters); d != "" {
		t.Error(d)
	}
	a = h.Call(adminapitest.MasterKey, "GET", "/spend/capture_rate?start_date=2026-03-02&end_date=2026-03-02&threshold=1&provider=openai", "")
	if !strings.Contains(string(a.Body), `"capture_rate":null,"threshold":1,"below_threshold":false`) {
		t.Errorf("nothing billed: got %d %s", a.Status, a.Body)
	}
}

func TestRoute_refuses(t *testing.T) {
	t.Parallel()
	const days = "start_date=2026-03-01&end_date=2026-03-03"
	w := newWorld()
	h := w.start(t)
	secret, _ := h.Must("POST", "/api/v1/keys", `{"name":"k"}`)["secret"].(string)
	viewer, _ := h.Must("POST", "/api/v1/keys", `{"name":"v","role":"proxy_admin_viewer"}`)["secret"].(string)
	for _, tt := range []struct {
		key, query string
		status     int
		want       string
	}{
		{viewer, days, 200, `"capture_rate":0.8`},
		{secret, days, 403, "permission_error"},
		{"sk-nobody", days, 401, ""},
		{adminapitest.MasterKey, "end_date=2026-03-03", 422, `"param":"start_date"`},
		{adminapitest.MasterKey, "start_date=2026-03-01&end_date=yesterday", 422, `"param":"end_date"`},
		{adminapitest.MasterKey, days + "&provider=azure", 422, `"param":"provider"`},
		{adminapitest.MasterKey, days + "&provider=", 422, `"param":"provider"`},
		{adminapitest.MasterKey, days + "&threshold=0", 422, `"param":"threshold"`},
		{adminapitest.MasterKey, days + "&threshold=NaN", 422, `"param":"threshold"`},
		{adminapitest.MasterKey, days + "&threshold=1.1", 422, `"type":"bad_request_error","param":"threshold","code":"422"`},
		{adminapitest.MasterKey, days + "&project_ids=", 422, `"param":"project_ids"`},
		{adminapitest.MasterKey, "start_date=2026-03-03&end_date=2026-03-01", 400, `"param":"end_date"`},
		{adminapitest.MasterKey, "start_date=2025-09-01&end_date=2026-02-28", 400, "more than 180 days"},
		{adminapitest.MasterKey, "start_date=2025-09-02&end_date=2026-02-28", 200, `"date":"2025-09-02"`},
	} {
		a := h.Call(tt.key, "GET", "/spend/capture_rate?"+tt.query, "")
		if a.Status != tt.status || !strings.Contains(string(a.Body), tt.want) {
			t.Errorf("%s: got %d %.300s, want %d %s", tt.query, a.Status, a.Body, tt.status, tt.want)
		}
	}
	w.set(func() { w.status = 429 })
	if a := h.Call(adminapitest.MasterKey, "GET", "/spend/capture_rate?"+days, ""); a.Status != 502 || !strings.Contains(string(a.Body), "api.openai.com answers 429: not today") {
		t.Errorf("a bill that cannot be read: got %d %s", a.Status, a.Body)
	}
	w.set(func() { w.keyless = true })
	if a := h.Call(adminapitest.MasterKey, "GET", "/spend/capture_rate?"+days, ""); a.Status != 503 || !strings.Contains(string(a.Body), "OPENAI_ADMIN_KEY") {
		t.Errorf("no key: got %d %s", a.Status, a.Body)
	}
}

// TestRun lets days pass: who leads asks once a day, after a quarter past one, and sooner where something was wanting.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  func(w *world)
		leads   bool
		want    int // questions in nearly two days and ten hours, from midnight
		outcome capture.Outcome
		rate    string // of the gauge
	}{
		{"no setting", func(w *world) { w.setting = "" }, true, 0, "", ""},
		{"null", func(w *world) { w.setting = "null" }, true, 0, "", ""},
		{"not the leader", func(*world) {}, false, 0, "", ""},
		{"low", func(*world) {}, true, 4, capture.Low, "0.8"},
		{"at the threshold", func(w *world) { w.setting = `{"threshold":0.8}` }, true, 4, capture.OK, "0.8"},
		{"more than billed", func(w *world) { w.recorded = func(time.Time) resource.Money { return 15 * resource.Dollar } }, true, 4, capture.OK, "1.5"},
		{"nothing billed", func(w *world) { w.bill = func(time.Time) string { return "0" } }, true, 4, capture.Unbilled, "NaN"},
		{"a bill that cannot be read", func(w *world) { w.status = 500 }, true, 232, capture.Failed, "NaN"},
		{"no key", func(w *world) { w.keyless = true }, true, 0, capture.Failed, "NaN"},
		{"a node is gone", func(w *world) { w.missing = []string{"b"} }, true, 232, capture.Incomplete, "NaN"},
		{"a node is gone, and enough is recorded without it", func(w *world) {
			w.setting, w.missing = `{"threshold":0.7}`, []string{"b"}
		}, true, 4, capture.OK, "0.8"},
		{"nobody answers", func(w *world) { w.failing = errors.New("no") }, true, 232, capture.Incomplete, "NaN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.setting = `{}`
				tt.change(w)
				reg := prometheus.NewRegistry()
				c := capture.New(capture.Config{Catalog: w.catalog, Usage: w.usage, Key: w.key, HTTP: w, Registerer: reg})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					c.Run(ctx, nil, func() bool { return tt.leads })
					close(done)
				}()
				<-time.After(57*time.Hour + 50*time.Minute)
				cancel()
				<-done
				if len(w.asked) != tt.want {
					t.Errorf("asked %d times, want %d", len(w.asked), tt.want)
				}
				var outcome capture.Outcome
				if last := c.Last(); len(last) == 1 {
					outcome = last[0].Outcome
				}
				if outcome != tt.outcome {
					t.Errorf("got %q, want %q: %+v", outcome, tt.outcome, c.Last())
				}
				gauge := ""
				if tt.rate != "" {
					gauge = "# HELP conclave_spend_capture_rate The part of a provider's bill that was recorded, over the days of the setting spend_capture_rate_check; NaN where the last check found none. Of the leader.\n" +
						"# TYPE conclave_spend_capture_rate gauge\nconclave_spend_capture_rate{provider=\"openai\"} " + tt.rate + "\n"
				}
				if err := testutil.GatherAndCompare(reg, strings.NewReader(gauge), "conclave_spend_capture_rate"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestRun_window asks for the closed days before the present one, and again at once where the setting changes;
// who does not lead any more knows nothing.
func TestRun_window(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.setting = `{"lookback_days":3,"openai_project_ids":["p"]}`
		look, leads := make(chan time.Time), true
		reg := prometheus.NewRegistry()
		c := capture.New(capture.Config{Catalog: w.catalog, Usage: w.usage, Key: w.key, HTTP: w, Registerer: reg})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx, look, func() bool { return leads })
		pass := func() {
			look <- time.Time{}
			synctest.Wait()
		}
		pass()
		pass()
		midnight := time.Now().UTC().Truncate(24 * time.Hour)
		want := []url.Values{{
			"start_time": {strconv.FormatInt(midnight.AddDate(0, 0, -3).Unix(), 10)}, "end_time": {strconv.FormatInt(midnight.Unix(), 10)},
			"bucket_width": {"1d"}, "limit": {"180"}, "project_ids": {"p"},
		}}
		if d := cmp.Diff(want, w.asked); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		w.set(func() { w.setting = `{"lookback_days":1}` })
		pass()
		if len(w.asked) != 2 || c.Last()[0].Answer.Billed != 10*resource.Dollar {
			t.Errorf("asked %d times: %+v", len(w.asked), c.Last())
		}
		leads = false
		pass()
		if n, err := testutil.GatherAndCount(reg, "conclave_spend_capture_rate"); len(c.Last()) != 0 || n != 0 || err != nil {
			t.Errorf("still knows %+v, %d series, %v", c.Last(), n, err)
		}
		leads = true
		pass()
		if len(w.asked) != 3 {
			t.Errorf("who leads again asked %d times", len(w.asked))
		}
	})
}
