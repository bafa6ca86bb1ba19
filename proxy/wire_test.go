package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// wire is a gateway with a real client, journal and router between two real servers.
type wire struct {
	*rig
	url     string
	journal *ledger.Journal
}

func newWire(t *testing.T, provider http.HandlerFunc) *wire {
	up := httptest.NewServer(provider)
	t.Cleanup(up.Close)
	r := newRig(t)
	for _, d := range r.tables.Deployments {
		d.APIBase = up.URL + "/v1"
	}
	r.tables.Deployments = r.tables.Deployments[:1]
	no := 0
	r.tables.Models[0].Retries = &no
	j, err := ledger.OpenJournal(ledger.Config{Dir: t.TempDir(), NodeID: "node_a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	client := upstream.New(upstream.Config{})
	t.Cleanup(client.Close)
	r.cfg.Upstream, r.cfg.Journal, r.cfg.Router = proxy.FromClient(client), j, r.router.Router
	front := httptest.NewServer(r.handler())
	t.Cleanup(front.Close)
	return &wire{r, front.URL, j}
}

func (w *wire) post(ctx context.Context, body string) *http.Response {
	w.t.Helper()
	return w.postTo(ctx, "/v1/chat/completions", body)
}

func (w *wire) postTo(ctx context.Context, path, body string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+goodKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// record waits for the one record of the journal.
func (w *wire) record() ledger.Record {
	w.t.Helper()
	return w.recordAfter(0)
}

// recordAfter waits for the first record of the journal above a number.
func (w *wire) recordAfter(after uint64) ledger.Record {
	w.t.Helper()
	for seen := after; ; seen = w.journal.Last() {
		recs, _, err := w.journal.ReadFrom(after, 10)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(recs) > 0 {
			return recs[0]
		}
		if err := w.journal.Wait(w.t.(*testing.T).Context(), seen); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestWire_Whole(t *testing.T) {
	t.Parallel()
	var sent string
	w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		sent = q.URL.Path + " " + q.Header.Get("Authorization") + " " + string(b)
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, answerBody)
	})
	res := w.post(t.Context(), chatBody)
	defer func() { _ = res.Body.Close() }()
	got, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 || string(got) != answerBody || res.Header.Get("X-Conclave-Cost") != "0.00005" {
		t.Errorf("got %d %s %v", res.StatusCode, got, res.Header)
	}
	if want := "/v1/chat/completions  " + strings.Replace(chatBody, "demo", "gpt-x", 1); sent != want {
		t.Errorf("sent %q, want %q: the client's key stays here", sent, want)
	}
	if rec := w.record(); rec.Cost != 50_000 || rec.KeyID != "key_good" || rec.Provider != "openai" || rec.Attempts != 1 || rec.Usage.Source != llm.UsageProvider || rec.Flags != 0 {
		t.Errorf("recorded %+v", rec)
	}
	if w.journal.Open() != 0 {
		t.Error("a reservation is left open")
	}
}

// The account that a lease covers is charged what the request cost, and refuses the next one
// when the lease is spent.
func TestWire_Budget(t *testing.T) {
	t.Parallel()
	b := budget.New(budget.Config{Nodes: func() int { return 1 }, HasLeader: func() bool { return false }})
	w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, answerBody)
	})
	limit := resource.Dollar / 100
	w.keys[resource.HashSecret(goodKey)].Budgets = []resource.Terms{{Name: "total", USD: limit, Per: resource.PerTotal}}
	b.SetEpoch(1)
	b.Leases(1, []budget.Lease{{
		Account: resource.Account("key", "key_good", "total"), Epoch: 1, Granted: limit, Limit: limit,
	}})
	w.mux = nil
	w.cfg.Budgets = proxy.FromBudgets(b)
	body := strings.Replace(chatBody, "{", `{"max_tokens":4900,`, 1) // held: 0.0098 and the prompt
	first := w.do("POST", "/v1/chat/completions", body)
	second := w.do("POST", "/v1/chat/completions", body)
	if first.Code != 200 || second.Code != 200 { // the first hold was given back
		t.Fatalf("got %d %s and %d %s", first.Code, first.Body, second.Code, second.Body)
	}
	over := w.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "{", `{"max_tokens":5000,`, 1))
	if over.Code != 429 || codeOf(t, over.Body.String()) != "budget_exceeded" || over.Header().Get("X-Should-Retry") != "false" {
		t.Errorf("got %d %s", over.Code, over.Body)
	}
	if n := w.journal.Open(); n != 0 {
		t.Errorf("%d reservations are left open", n)
	}
}

// A budget that says clamp lowers the request's maximum to what it can pay, and refuses when
// that is next to nothing.
func TestWire_Clamp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		clamp  bool
		lease  resource.Money
		asks   string
		status int
		most   int64 // that is sent; 0: the client's own
	}{
		{"fits", true, resource.Dollar / 100, `"max_tokens":4000,`, 200, 0},
		{"does not fit", true, resource.Dollar / 100, `"max_tokens":6000,`, 200, 4990},
		{"no maximum", true, resource.Dollar / 1000, ``, 200, 490},
		{"two choices", true, resource.Dollar / 100, `"n":2,"max_tokens":6000,`, 200, 2495},
		{"two fields", true, resource.Dollar / 100, `"max_completion_tokens":6000,"max_tokens":7000,`, 200, 4990},
		{"next to nothing", true, 40_000, `"max_tokens":6000,`, 429, 0},
		{"not told to", false, resource.Dollar / 100, `"max_tokens":6000,`, 429, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := budget.New(budget.Config{HasLeader: func() bool { return false }})
			var sent struct {
				MaxTokens           int64 `json:"max_tokens"`
				MaxCompletionTokens int64 `json:"max_completion_tokens"`
			}
			var raw []byte
			w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
				raw, _ = io.ReadAll(q.Body)
				_ = json.Unmarshal(raw, &sent)
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, answerBody)
			})
			w.keys[resource.HashSecret(goodKey)].Budgets = []resource.Terms{{Name: "total", USD: resource.Dollar, Per: resource.PerTotal, Clamp: tt.clamp}}
			b.SetEpoch(1)
			b.Leases(1, []budget.Lease{{
				Account: resource.Account("key", "key_good", "total"), Epoch: 1, Granted: tt.lease, Limit: resource.Dollar,
			}})
			w.mux = nil
			w.cfg.Budgets = proxy.FromBudgets(b)
			body := strings.Replace(chatBody, "{", "{"+tt.asks, 1)
			res := w.do("POST", "/v1/chat/completions", body)
			if res.Code != tt.status {
				t.Fatalf("got %d %s, want %d", res.Code, res.Body, tt.status)
			}
			got := max(sent.MaxTokens, sent.MaxCompletionTokens)
			if tt.most == 0 && tt.status == 200 && string(raw) != strings.Replace(body, "demo", "gpt-x", 1) {
				t.Errorf("sent %s: it was changed without need", raw)
			}
			if tt.most > 0 && (got > tt.most || got < tt.most*9/10) {
				t.Errorf("sent %s, want at most %d tokens and not much less", raw, tt.most)
			}
			if tt.status == 200 {
				if rec := w.record(); rec.Hold > tt.lease || rec.Hold == 0 {
					t.Errorf("held %s of %s", rec.Hold, tt.lease)
				}
			}
		})
	}
}

// A limit that is reached says so in the headers that clients wait by.
func TestWire_Limit(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, answerBody)
	})
	one := int64(1)
	w.keys[resource.HashSecret(goodKey)].Limits = resource.Limits{RPM: &one, Parallel: &one}
	w.mux = nil
	w.cfg.Limits = proxy.FromLimiter(ratelimit.New(ratelimit.Config{NodeID: "node_a", Members: func() []string { return []string{"node_a"} }}))
	if first := w.do("POST", "/v1/chat/completions", chatBody); first.Code != 200 || first.Header().Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Fatalf("got %d %s %v", first.Code, first.Body, first.Header())
	}
	over := w.do("POST", "/v1/chat/completions", chatBody)
	if over.Code != 429 || over.Header().Get("Retry-After") == "" || over.Header().Get("X-Ratelimit-Limit-Requests") != "1" {
		t.Errorf("got %d %s %v", over.Code, over.Body, over.Header())
	}
	if codeOf(t, over.Body.String()) != "rate_limit_exceeded" {
		t.Errorf("got %s", over.Body)
	}
}

const (
	chunkHe   = `data: {"id":"c","choices":[{"index":0,"delta":{"content":"he"}}]}` + "\n\n"
	chunkLlo  = `data: {"id":"c","choices":[{"index":0,"delta":{"content":"llo"},"finish_reason":"stop"}]}` + "\n\n"
	chunkUse  = `data: {"id":"c","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}}` + "\n\n"
	chunkDone = "data: [DONE]\n\n"
)

func send(rw http.ResponseWriter, chunk string) {
	rw.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(rw, chunk)
	_ = http.NewResponseController(rw).Flush()
}

// Each event reaches the client before the provider sends the next.
func TestWire_Stream(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	var sent string
	w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		sent = string(b)
		for i, chunk := range []string{": ping\n\n", chunkHe, chunkLlo, chunkUse, chunkDone} {
			if i > 1 && i < 4 {
				<-next
			}
			send(rw, chunk)
		}
	})
	res := w.post(t.Context(), streamBody)
	defer func() { _ = res.Body.Close() }()
	in := bufio.NewReader(res.Body)
	var got strings.Builder
	for _, want := range []string{chunkHe, chunkLlo} {
		for !strings.HasSuffix(got.String(), want) {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v", got.String(), err)
			}
			got.WriteString(line)
		}
		next <- struct{}{}
	}
	rest, err := io.ReadAll(in)
	if err != nil || string(rest) != chunkDone {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	if !strings.Contains(sent, `"include_usage":true`) {
		t.Errorf("sent %s: usage was not asked for", sent)
	}
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %q", ct)
	}
	if rec := w.record(); rec.Cost != 50_000 || rec.Usage.Source != llm.UsageProvider || rec.Flags != ledger.Streamed || rec.TTFT <= 0 {
		t.Errorf("recorded %+v", rec)
	}
}

// flushes counts what a handler pushes out.
type flushes struct {
	http.ResponseWriter
	n int
}

func (f *flushes) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func (f *flushes) FlushError() error {
	f.n++
	return http.NewResponseController(f.ResponseWriter).Flush()
}

// Events that the provider sends at once leave at once: with one push for each read.
func TestWire_StreamTogether(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
		send(rw, strings.Repeat(chunkHe, 40)+chunkLlo+chunkUse+chunkDone)
	})
	counted := make(chan int, 1)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		f := &flushes{ResponseWriter: rw}
		w.handler().ServeHTTP(f, q)
		counted <- f.n
	}))
	t.Cleanup(front.Close)
	w.url = front.URL
	res := w.post(t.Context(), streamBody)
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != strings.Repeat(chunkHe, 40)+chunkLlo+chunkDone {
		t.Fatalf("got %q, %v", got, err)
	}
	if n := <-counted; n > 5 {
		t.Errorf("%d pushes for 42 events that came together", n)
	}
}

func TestWire_Cut(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
		send(rw, chunkHe)
		panic(http.ErrAbortHandler)
	})
	res := w.post(t.Context(), streamBody)
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasPrefix(string(got), chunkHe) || strings.Contains(string(got), "[DONE]") {
		t.Fatalf("got %q, %v", got, err)
	}
	codeOf(t, strings.TrimPrefix(strings.TrimSpace(strings.TrimPrefix(string(got), chunkHe)), "data: "))
	if rec := w.record(); rec.Usage.Source != llm.UsageEstimated || rec.Cost == 0 || !rec.Flags.Has(ledger.Cut) {
		t.Errorf("recorded %+v", rec)
	}
}

// A client that hangs up stops the provider, and is charged for what passed.
func TestWire_HangUp(t *testing.T) {
	t.Parallel()
	for _, body := range []string{chatBody, streamBody} {
		began, stopped := make(chan struct{}), make(chan struct{})
		w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			if body == streamBody {
				send(rw, chunkHe)
			}
			close(began)
			<-q.Context().Done()
			close(stopped)
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-began
			cancel()
		}()
		req, _ := http.NewRequestWithContext(ctx, "POST", w.url+"/v1/chat/completions", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+goodKey)
		if res, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		<-stopped
		rec := w.record()
		if rec.ErrorKind != "canceled" || rec.Usage.Source != llm.UsageEstimated || rec.Usage.Input == 0 || rec.Cost == 0 {
			t.Errorf("recorded %+v", rec)
		}
	}
}

// A client that announces a body and does not send it is told so in time, and one that does
// keeps its connection.
func TestWire_SlowBody(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, answerBody)
	})
	w.mux, w.cfg.BodyTimeout = nil, 100*time.Millisecond
	front := httptest.NewServer(w.handler())
	t.Cleanup(front.Close)
	w.url = front.URL
	in, out := io.Pipe()
	defer func() { _ = out.Close() }()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", w.url+"/v1/chat/completions", in)
	req.ContentLength = 1000
	req.Header.Set("Authorization", "Bearer "+goodKey)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != 408 {
		got, _ := io.ReadAll(res.Body)
		t.Errorf("got %d %s %v, want 408", res.StatusCode, got, res.Header)
	}
	for range 2 {
		res := w.post(t.Context(), chatBody)
		defer func() { _ = res.Body.Close() }()
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != answerBody {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// Requests side by side never see each other's bytes, also when the provider answers before it
// has read a body.
func TestWire_Isolation(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
		head := make([]byte, 64)
		_, _ = io.ReadFull(q.Body, head)
		rw.Header().Set("Content-Type", "application/json")
		if head[30]%2 == 0 {
			rest, _ := io.ReadAll(q.Body)
			for _, b := range rest[:len(rest)-2] {
				if b != head[30] {
					_, _ = io.WriteString(rw, `{"mixed":true}`)
					return
				}
			}
		}
		_, _ = io.WriteString(rw, `{"pad":"`+string(head[30])+`"}`)
	})
	for _, d := range w.tables.Deployments {
		d.Upstream = "" // the body is sent as it came
	}
	w.cfg.Limits = limiterFunc(func(*ratelimit.Request) (proxy.LimitHold, error) { return &hold{}, nil })
	w.cfg.Budgets = budgetsFunc(func(budget.Request) (proxy.BudgetHold, error) { return &moneyHold{}, nil })
	w.mux = nil
	h := w.handler()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			letter := string(rune('a' + worker))
			body := `{"model":"demo","junk":"` + strings.Repeat(letter, 64<<10) + `"}`
			for range 20 {
				req := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body))
				req.Header.Set("Authorization", "Bearer "+goodKey)
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, req)
				if got := rec.Body.String(); rec.Code != 200 || got != `{"pad":"`+letter+`"}` {
					t.Errorf("%s got %d %s", letter, rec.Code, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestWire_ProviderErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		status, want int
		body, sent   string
		relayed      bool
	}{
		{"bad request", 400, 400, `{"error":{"message":"bad","type":"invalid_request_error","param":"top_p","code":null}}`, "", true},
		{"limited", 429, 429, `{"error":{"message":"slow","type":"tokens","code":"rate_limit_exceeded"}}`, "3", true},
		{"overloaded", 503, 503, `{"error":{"message":"busy","type":"server_error","code":null}}`, "", true},
		{"our key", 401, 502, `{"error":{"message":"Incorrect API key provided: sk-prov***","type":"invalid_request_error","code":"invalid_api_key"}}`, "", false},
	} {
		for _, body := range []string{chatBody, streamBody} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
					rw.Header().Set("Content-Type", "application/json")
					if tt.sent != "" {
						rw.Header().Set("Retry-After", tt.sent)
					}
					rw.WriteHeader(tt.status)
					_, _ = io.WriteString(rw, tt.body)
				})
				res := w.post(t.Context(), body)
				defer func() { _ = res.Body.Close() }()
				got, _ := io.ReadAll(res.Body)
				if res.StatusCode != tt.want || (string(got) == tt.body) != tt.relayed || res.Header.Get("Retry-After") != tt.sent {
					t.Errorf("got %d %s %v", res.StatusCode, got, res.Header)
				}
				if res.Header.Get("X-Conclave-Error-Origin") != "provider" {
					t.Errorf("origin %q", res.Header.Get("X-Conclave-Error-Origin"))
				}
				if rec := w.record(); rec.Cost != resource.Money(0) || rec.Status != tt.want || rec.ErrorKind == "" {
					t.Errorf("recorded %+v", rec)
				}
			})
		}
	}
}

// TestWire_ProviderErrorsTranslated: what a provider says in another dialect is told in the client's, and is the provider's still.
func TestWire_ProviderErrorsTranslated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		status, want int
		body, told   string
		origin       string
	}{
		{"bad request", 400, 400, `{"error":{"message":"bad","type":"invalid_request_error","param":"top_p","code":null}}`, `"type":"invalid_request_error","message":"bad"`, "provider"},
		{"limited", 429, 429, `{"error":{"message":"slow","type":"tokens","code":"rate_limit_exceeded"}}`, `"type":"rate_limit_error","message":"slow"`, "provider"},
		{"unknown model", 404, 404, `{"error":{"message":"gone","type":"invalid_request_error","code":"model_not_found"}}`, `"type":"not_found_error"`, "provider"},
		{"of our own", 0, 400, "", `"type":"invalid_request_error"`, "gateway"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(tt.status)
				_, _ = io.WriteString(rw, tt.body)
			})
			body := `{"model":"demo","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}`
			if tt.status == 0 { // refused before anybody is asked
				body = `{"model":"demo","max_tokens":64,"messages":"hi"}`
			}
			res := w.postTo(t.Context(), "/v1/messages", body)
			defer func() { _ = res.Body.Close() }()
			got, _ := io.ReadAll(res.Body)
			if res.StatusCode != tt.want || !strings.Contains(string(got), tt.told) {
				t.Errorf("got %d %s, want %d with %s", res.StatusCode, got, tt.want, tt.told)
			}
			if origin := res.Header.Get("X-Conclave-Error-Origin"); origin != tt.origin {
				t.Errorf("origin %q, want %q", origin, tt.origin)
			}
		})
	}
}
