package proxy_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// purse is a budget, or a limit, that many goroutines use.
type purse struct {
	mu                       sync.Mutex
	refuse                   error
	taken, released, settled int
	asked                    []budget.Request
	spent                    resource.Money
}

func (p *purse) take() (*purseHold, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return nil, p.refuse
	}
	p.taken++
	return &purseHold{p}, nil
}

func (p *purse) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

func (p *purse) balance(t *testing.T, what string, settled int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken != p.released || p.settled != settled {
		t.Errorf("%s: taken %d, released %d, settled %d, want all released and %d settled", what, p.taken, p.released, p.settled, settled)
	}
}

type purseHold struct{ p *purse }

func (h *purseHold) Quota() proxy.Quota                                      { return proxy.Quota{LimitRequests: -1, LimitTokens: -1} }
func (h *purseHold) Holds() []ledger.AccountCharge                           { return nil }
func (h *purseHold) Extend(context.Context, string, ...resource.Level) error { return nil }
func (h *purseHold) Drop()                                                   {}

func (h *purseHold) Release() {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.released++
}

// limitOf is the hold as one of a limit.
type limitOf struct{ *purseHold }

func (h limitOf) Settle(int64, int64) { h.count(0) }

// Withdraw ends the hold; nothing was used.
func (h limitOf) Withdraw() { h.Release() }

func (h *purseHold) count(cost resource.Money) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.settled++
	h.p.spent += cost
}

func (h *purseHold) Settle(taken budget.Amounts) []ledger.AccountCharge {
	h.count(taken.Cost)
	return nil
}

// stage is a rig whose upstream is a real one, with sessions.
type stage struct {
	*rig
	limits, money purse
	mock          *mock.Server
	server        *proxy.Server
	url           string
	headers       http.Header
}

func newStage(t *testing.T, cfg mock.Config, edit func(*stage)) *stage {
	t.Helper()
	st := &stage{rig: newRig(t), mock: mock.New(cfg)}
	up := httptest.NewServer(st.mock)
	t.Cleanup(up.Close)
	for _, d := range st.tables.Deployments {
		d.APIBase, d.Upstream, d.APIKey = up.URL+"/v1", "gpt-realtime", &resource.Sealed{}
		d.Price = &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar, Classes: resource.Classes{AudioInput: new(10 * resource.Dollar), AudioOutput: new(20 * resource.Dollar)}}
	}
	st.cfg.Sessions = upstream.New(upstream.Config{})
	st.cfg.Derive = func(...string) ([]byte, error) { return []byte("0123456789abcdef"), nil }
	st.cfg.Limits = limiterFunc(func(*ratelimit.Request) (proxy.LimitHold, error) {
		h, err := st.limits.take()
		if err != nil {
			return nil, err
		}
		return limitOf{h}, nil
	})
	st.cfg.Budgets = budgetsFunc(func(r budget.Request) (proxy.BudgetHold, error) {
		st.money.mu.Lock()
		st.money.asked = append(st.money.asked, r)
		free := r.Free
		st.money.mu.Unlock()
		if free {
			st.money.mu.Lock()
			defer st.money.mu.Unlock()
			st.money.taken++
			return &purseHold{&st.money}, nil
		}
		h, err := st.money.take()
		if err != nil {
			return nil, err
		}
		return h, nil
	})
	if edit != nil {
		edit(st)
	}
	st.server = st.rig.server()
	mux := http.NewServeMux()
	st.server.Mount(mux)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = "192.0.2.1:1234" // as of requests that are made without a connection
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	t.Cleanup(func() { // before the listeners close, so that nothing is left behind
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		st.server.Stop(ctx)
	})
	st.url = front.URL
	return st
}

func (st *stage) records() []ledger.Record {
	st.journal.mu.Lock()
	defer st.journal.mu.Unlock()
	return slices.Clone(st.journal.settled)
}

// awaitRecords waits until there are so many.
func (st *stage) awaitRecords(t *testing.T, n int) []ledger.Record {
	t.Helper()
	late := time.After(5 * time.Minute) // nobody waits as long where the records come
	for {
		all, more := st.journal.now()
		if len(all) > n {
			t.Fatalf("%d records, want %d: %+v", len(all), n, all)
		}
		if len(all) == n {
			return all
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%d records, want %d: %+v", len(all), n, all)
		}
	}
}

// talk is a client of a session.
type talk struct {
	t    *testing.T
	conn *websocket.Conn
	seen []map[string]any
}

// dial opens a session with the good key.
func (st *stage) dial(t *testing.T, path string, edits ...func(http.Header)) (*talk, *handshake) {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer " + goodKey}}
	for _, e := range edits {
		e(h)
	}
	conn, res, err := websocket.Dial(t.Context(), st.url+path, &websocket.DialOptions{HTTPHeader: h, Subprotocols: h["Offer"]})
	if err != nil {
		if res == nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body) // what came is all there is
		_ = res.Body.Close()
		return nil, &handshake{res.StatusCode, res.Header, bytes.NewReader(body)}
	}
	conn.SetReadLimit(1 << 24)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &talk{t: t, conn: conn}, &handshake{res.StatusCode, res.Header, nil}
}

// handshake is the answer to who wants a session.
type handshake struct {
	StatusCode int
	Header     http.Header
	Body       io.Reader // of a refusal
}

func (st *stage) open(t *testing.T, edits ...func(http.Header)) *talk {
	t.Helper()
	k, res := st.dial(t, "/v1/realtime?model=demo", edits...)
	if k == nil {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("no session: %d %s", res.StatusCode, body)
	}
	k.await("session.created")
	return k
}

func (k *talk) send(format string, args ...any) {
	k.t.Helper()
	if err := k.conn.Write(k.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		k.t.Fatalf("send: %v", err)
	}
}

// read returns the next event, or how the connection was closed.
func (k *talk) read() (map[string]any, *websocket.CloseError) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 10*time.Second)
	defer cancel()
	_, raw, err := k.conn.Read(ctx)
	if err != nil {
		var c websocket.CloseError
		if !errors.As(err, &c) {
			k.t.Fatalf("read: %v, after %v", err, k.kinds())
		}
		return nil, &c
	}
	var e map[string]any
	if err := json.Unmarshal(raw, &e); err != nil {
		k.t.Fatalf("event %s: %v", raw, err)
	}
	k.seen = append(k.seen, e)
	return e, nil
}

func (k *talk) kinds() (all []string) {
	for _, e := range k.seen {
		all = append(all, fmt.Sprint(e["type"]))
	}
	return all
}

// await reads up to an event of a type.
func (k *talk) await(kind string) map[string]any {
	k.t.Helper()
	for {
		e, over := k.read()
		if over != nil {
			k.t.Fatalf("closed with %v before %s, after %v", over, kind, k.seen)
		}
		if e["type"] == kind {
			return e
		}
	}
}

// closed reads up to the end.
func (k *talk) closed() *websocket.CloseError {
	k.t.Helper()
	for {
		if _, over := k.read(); over != nil {
			return over
		}
	}
}

func (k *talk) say(text string) {
	k.t.Helper()
	k.send(`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":%q}]}}`, text)
}

func (k *talk) respond() {
	k.t.Helper()
	k.send(`{"type":"response.create","response":{"output_modalities":["text"]}}`)
}

func codeIn(e map[string]any) string {
	inner, _ := e["error"].(map[string]any)
	code, _ := inner["code"].(string)
	return code
}

// heard is all text that the client got in deltas.
func (k *talk) heard() string {
	var b strings.Builder
	for _, e := range k.seen {
		if s, ok := e["delta"].(string); ok && e["type"] != "response.output_audio.delta" {
			b.WriteString(s)
		}
	}
	return b.String()
}

func TestRealtime_responses(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{Key: "sk-provider"}, nil)
	k, res := st.dial(t, "/v1/realtime?model=demo")
	if k == nil {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("no session: %d %s", res.StatusCode, body)
	}
	if got := res.Header.Get("X-Conclave-Model-Id"); got != "dep_1" && got != "dep_2" {
		t.Errorf("the handshake names the deployment %q", got)
	}
	k.await("session.created")
	k.say("hello there")
	k.respond()
	done := k.await("response.done")
	if got := k.heard(); got != "You said: hello there" {
		t.Errorf("heard %q", got)
	}
	if u := done["response"].(map[string]any)["usage"].(map[string]any); u["output_tokens"] != 4.0 {
		t.Errorf("usage %v", u)
	}
	k.say("and more")
	k.send(`{"type":"response.create"}`)
	k.await("response.done")
	_ = k.conn.Close(1000, "")
	all := st.awaitRecords(t, 2)
	want := []llm.Usage{
		{Input: 2, Output: 4, Source: llm.UsageProvider},
		{Input: 6, CacheRead: 2, Output: 4, AudioOutput: 20, Source: llm.UsageProvider},
	}
	for i := range all {
		r := &all[i]
		if r.Usage != want[i] {
			t.Errorf("record %d: %+v, want %+v", i, r.Usage, want[i])
		}
		if r.Endpoint != "realtime" || r.Model != "demo" || r.Status != 200 || r.ErrorKind != "" || r.Attempts != 1 || r.KeyID != "key_good" || r.Cost == 0 || r.TTFT == 0 {
			t.Errorf("record %d: %+v", i, r)
		}
	}
	if a, b := all[0].RequestID, all[1].RequestID; !strings.HasPrefix(b, a+".") { // checks of the session have numbers, too
		t.Errorf("ids %q and %q", a, b)
	}
	st.limits.balance(t, "limits", 2)
	st.money.balance(t, "budget", 2)
	if want := all[0].Cost + all[1].Cost; st.money.spent != want {
		t.Errorf("the budget was charged %d, the records say %d", st.money.spent, want)
	}
}

// handshakesRefused checks every policy on the handshake of a session, and notes what was answered.
func handshakesRefused(t *testing.T, sheet *sheet) {
	for _, p := range policies {
		if p.body != "" {
			for i := range streams {
				sheet.note("GET /v1/realtime", p.column(), i, 0) // there is none
			}
			continue
		}
		t.Run("GET/v1/realtime/"+p.name, func(t *testing.T) {
			t.Parallel()
			status := handshakeRefused(t, p)
			for i := range streams { // it has no other way
				sheet.note("GET /v1/realtime", p.column(), i, status)
			}
		})
	}
}

func handshakeRefused(t *testing.T, p policy) int {
	st := newStage(t, mock.Config{}, func(st *stage) {
		q := httptest.NewRequest("GET", "/", nil)
		q.Header.Set("Authorization", "Bearer "+goodKey)
		if p.set != nil {
			p.set(st.rig, q)
		}
		st.headers = q.Header
	})
	model := "demo"
	if p.wrong {
		model = "secret"
	}
	k, res := st.dial(t, "/v1/realtime?model="+model, func(h http.Header) {
		clear(h)
		maps.Copy(h, st.headers)
	})
	if p.name == "guardrail" { // which has not been asked yet
		k.await("session.created")
		k.say("hello")
		if got := codeIn(k.await("error")); got != p.code {
			t.Errorf("code %q, want %q", got, p.code)
		}
		return p.status
	}
	if k != nil {
		t.Fatal("a session was opened")
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != p.status || p.code != "" && codeOf(t, string(body)) != p.code {
		t.Errorf("got %d %s, want %d %s", res.StatusCode, body, p.status, p.code)
	}
	if n := len(st.records()); (n == 1) != p.record {
		t.Errorf("%d records, want one: %v", n, p.record)
	}
	if got := st.mock.Requests(); len(got) != 0 {
		t.Errorf("the upstream was asked: %v", got)
	}
	return res.StatusCode
}

func TestRealtime_notAsked(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{}, nil)
	for _, tt := range []struct {
		path   string
		status int
		code   string
	}{
		{"/v1/realtime", 400, "missing_model"},
		{"/v1/realtime?model=missing", 404, "model_not_found"},
		{"/v1/realtime?model=demo&intent=transcription", 400, "unsupported_parameter"},
		{"/v1/realtime?call_id=x", 400, "unsupported_parameter"},
	} {
		_, res := st.dial(t, tt.path)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != tt.status || codeOf(t, string(body)) != tt.code {
			t.Errorf("%s: %d %s, want %d %s", tt.path, res.StatusCode, body, tt.status, tt.code)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", st.url+"/v1/realtime?model=demo", nil)
	req.Header.Set("Authorization", "Bearer "+goodKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != 426 || res.Header.Get("Upgrade") != "websocket" {
		t.Errorf("without an upgrade: %d %v", res.StatusCode, res.Header)
	}
}

func TestRealtime_paths(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{}, nil)
	for _, path := range []string{"/realtime?model=demo", "/openai/v1/realtime?model=demo", "/openai/realtime?deployment=demo&api-version=2025-04-01-preview"} {
		k, res := st.dial(t, path)
		if k == nil {
			t.Errorf("%s: %d", path, res.StatusCode)
			continue
		}
		k.await("session.created")
	}
	k, _ := st.dial(t, "/v1/realtime?model=demo", func(h http.Header) {
		h.Del("Authorization")
		h["Offer"] = []string{"realtime", "openai-insecure-api-key." + goodKey, "openai-beta.realtime-v1"}
	})
	if k == nil {
		t.Fatal("a browser's key is not taken")
	}
	if got := k.conn.Subprotocol(); got != "realtime" {
		t.Errorf("subprotocol %q", got)
	}
	k.await("session.created")
}

func TestRealtime_upstreamRefuses(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{Status: 503}, nil)
	_, res := st.dial(t, "/v1/realtime?model=demo")
	if res.StatusCode != 503 {
		t.Errorf("got %d", res.StatusCode)
	}
	r := st.awaitRecords(t, 1)[0]
	if r.Status != 503 || r.ErrorKind == "" || r.Attempts != 2 || r.Cost != 0 {
		t.Errorf("record %+v", r)
	}
	st.limits.balance(t, "limits", 1)
	st.money.balance(t, "budget", 1)
}

func TestRealtime_budgetEnds(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{}, nil)
	k := st.open(t)
	k.respond()
	k.await("response.done")
	st.money.set(&llm.Error{Kind: llm.OverBudget, Scope: "key", Message: "The budget is spent."})
	k.send(`{"type":"response.create","event_id":"mine"}`)
	e := k.await("error")
	if inner := e["error"].(map[string]any); codeIn(e) != "budget_exceeded" || inner["event_id"] != "mine" || inner["type"] != "budget_exceeded" {
		t.Errorf("got %v", e)
	}
	if over := k.closed(); over.Code != 1008 || over.Reason != "budget_exceeded" {
		t.Errorf("closed with %v", over)
	}
	all := st.awaitRecords(t, 2)
	if r := all[1]; r.Status != 429 || r.ErrorKind != "over_budget" || r.Cost != 0 {
		t.Errorf("the refusal's record: %+v", r)
	}
	if got := len(st.mock.Requests()); got != 1 {
		t.Errorf("the upstream made %d responses, want 1", got)
	}
	st.money.balance(t, "budget", 1)
}

func TestRealtime_limitReached(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{}, nil)
	k := st.open(t)
	k.respond()
	k.await("response.done")
	st.limits.set(&llm.Error{Kind: llm.RateLimited, Message: "over", RetryAfter: time.Second})
	k.respond()
	if got := codeIn(k.await("error")); got != "rate_limit_exceeded" {
		t.Errorf("code %q", got)
	}
	st.limits.set(nil)
	k.respond()
	k.await("response.done")
	_ = k.conn.Close(1000, "")
	if all := st.awaitRecords(t, 3); all[1].Status != 429 || all[2].Status != 200 {
		t.Errorf("records %+v", all)
	}
	st.limits.balance(t, "limits", 2)
}

func TestRealtime_audio(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{}, nil)
	k := st.open(t)
	k.send(`{"type":"session.update","session":{"type":"realtime","model":"demo","audio":{"input":{"transcription":{"model":"whisper-x"}}}}}`)
	if e := k.await("session.updated"); e["session"].(map[string]any)["model"] != "gpt-realtime" {
		t.Errorf("the provider was asked for the model %v", e["session"])
	}
	sound := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("sound", 2000)))
	silence := base64.StdEncoding.EncodeToString(make([]byte, 9600))
	for range 2 {
		k.send(`{"type":"input_audio_buffer.append","audio":%q}`, sound)
		k.send(`{"type":"input_audio_buffer.append","audio":%q}`, silence)
		k.await("response.done")
	}
	_ = k.conn.Close(1000, "")
	all := st.awaitRecords(t, 4)
	var heard, made int
	for i := range all {
		r := &all[i]
		if r.Status != 200 || r.Cost == 0 || r.ErrorKind != "" {
			t.Errorf("record %+v", r)
		}
		if r.Usage.AudioOutput > 0 {
			made++
		} else if r.Usage.AudioInput > 0 && r.Usage.Output == 2 {
			heard++
		}
	}
	if heard != 2 || made != 2 {
		t.Errorf("%d transcriptions and %d responses, want 2 and 2: %+v", heard, made, all)
	}
	st.money.balance(t, "budget", 4)
	st.money.mu.Lock()
	defer st.money.mu.Unlock()
	for _, r := range st.money.asked {
		if r.Most.Cost < 4096*20 { // the output at the price of speech, in nanodollars for a token: 20 $ / 1M = 20,000
			t.Errorf("too little is held: %+v", r.Most)
		}
	}
}

// TestRealtime_budgetEndsAmidAudio checks that the response that is paid for ends in peace.
func TestRealtime_budgetEndsAmidAudio(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{Chunks: 40, ChunkDelay: 5 * time.Millisecond}, nil)
	k := st.open(t)
	st.money.set(&llm.Error{Kind: llm.OverBudget, Message: "spent"})
	k.send(`{"type":"response.create"}`) // with what the handshake holds
	k.await("response.created")
	k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
	if got := codeIn(k.await("error")); got != "budget_exceeded" {
		t.Errorf("code %q", got)
	}
	k.await("response.done")
	if over := k.closed(); over.Code != 1008 {
		t.Errorf("closed with %v", over)
	}
	st.awaitRecords(t, 2)
}

// words is a guardrail that blocks a word, before and in answers.
func words(word string) *judge {
	block := guardrail.Verdict{Action: guardrail.Block, Message: "no such word"}
	return &judge{
		check: func(q *guardrail.Check) guardrail.Verdict {
			for _, x := range q.Texts {
				if strings.Contains(x.Text, word) {
					return block
				}
			}
			return guardrail.Verdict{}
		},
		chunk: func(text string) guardrail.Verdict {
			if strings.Contains(text, word) {
				return block
			}
			return guardrail.Verdict{}
		},
	}
}

func TestRealtime_guardrailOnInput(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, event string }{
		{"item", `{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"the canary"}]}}`},
		{"response", `{"type":"response.create","response":{"instructions":"the canary"}}`},
		{"session", `{"type":"session.update","session":{"type":"realtime","instructions":"the canary"}}`},
		{"unknown event", `{"type":"something.new","words":"the canary"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, mock.Config{}, func(st *stage) { st.guard(words("canary"), resource.HookBefore) })
			k := st.open(t)
			k.send("%s", tt.event)
			if got := codeIn(k.await("error")); got != "guardrail_blocked" {
				t.Errorf("code %q", got)
			}
			k.say("a sparrow")
			k.respond()
			k.await("response.done")
			if got := k.heard(); got != "You said: a sparrow" {
				t.Errorf("heard %q", got)
			}
			_ = k.conn.Close(1000, "")
			all := st.awaitRecords(t, 2)
			if r := all[0]; r.ErrorCode != "guardrail_blocked" || r.Guardrail != "words" || r.Cost != 0 {
				t.Errorf("the block's record: %+v", r)
			}
			if r := all[1]; r.Status != 200 || len(r.Guardrails) == 0 {
				t.Errorf("the response's record: %+v", r)
			}
		})
	}
}

func TestRealtime_guardrailOnAnswer(t *testing.T) {
	t.Parallel()
	for _, hook := range []resource.Hook{resource.HookDuring, resource.HookAfter} {
		for _, speech := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, speech %t", hook, speech), func(t *testing.T) {
				t.Parallel()
				st := newStage(t, mock.Config{}, func(st *stage) { st.guard(words("canary"), hook) })
				k := st.open(t)
				k.say("a canary sings")
				if speech {
					k.send(`{"type":"response.create"}`)
				} else {
					k.respond()
				}
				done := k.await("response.done")["response"].(map[string]any)
				if out := done["output"].([]any); done["status"] != "incomplete" || len(out) != 0 {
					t.Errorf("done %v", done)
				}
				k.say("a sparrow")
				k.respond()
				if k.await("response.done")["response"].(map[string]any)["status"] != "completed" {
					t.Error("the session does not go on")
				}
				said := k.seen
				for _, e := range said {
					raw, _ := json.Marshal(e)
					if item, ok := e["item"].(map[string]any); ok && item["role"] == "user" {
						continue // the client's own words
					}
					if strings.Contains(string(raw), "canary") {
						t.Errorf("the client heard %s", raw)
					}
				}
				if !slices.ContainsFunc(said, func(e map[string]any) bool { return codeIn(e) == "guardrail_blocked" }) {
					t.Errorf("nobody said why: %v", k.kinds())
				}
				if hook == resource.HookAfter && slices.Contains(k.kinds()[:slices.Index(k.kinds(), "response.done")], "response.output_audio.delta") {
					t.Error("the blocked answer was spoken")
				}
				_ = k.conn.Close(1000, "")
				r := st.awaitRecords(t, 2)[0]
				if r.ErrorCode != "guardrail_blocked" || r.Guardrail != "words" || r.Usage.Source != llm.UsageProvider || r.Cost == 0 {
					t.Errorf("record %+v", r)
				}
			})
		}
	}
}

func TestRealtime_transcriptBlocked(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{ChunkDelay: 20 * time.Millisecond}, func(st *stage) { st.guard(words("aloud"), resource.HookBefore) })
	k := st.open(t)
	k.send(`{"type":"session.update","session":{"type":"realtime","audio":{"input":{"transcription":{"model":"whisper-x"}}}}}`)
	k.await("session.updated")
	k.send(`{"type":"input_audio_buffer.append","audio":%q}`, base64.StdEncoding.EncodeToString([]byte("sound")))
	k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
	if got := codeIn(k.await("error")); got != "guardrail_blocked" {
		t.Errorf("code %q", got)
	}
	k.await("response.done")
	for _, e := range k.seen {
		if strings.HasPrefix(fmt.Sprint(e["type"]), "conversation.item.input_audio_transcription.") {
			t.Errorf("heard %v", e)
		}
	}
}

func TestRealtime_sidesLeave(t *testing.T) {
	t.Parallel()
	t.Run("the client", func(t *testing.T) {
		t.Parallel()
		st := newStage(t, mock.Config{StallAfter: 1}, nil)
		k := st.open(t)
		k.respond()
		k.await("response.output_text.delta")
		_ = k.conn.CloseNow()
		r := st.awaitRecords(t, 1)[0]
		if r.ErrorKind != "canceled" || r.Usage.Source != llm.UsageEstimated || r.Cost == 0 {
			t.Errorf("record %+v", r)
		}
		st.money.balance(t, "budget", 1)
		st.limits.balance(t, "limits", 1)
	})
	t.Run("the upstream breaks", func(t *testing.T) {
		t.Parallel()
		st := newStage(t, mock.Config{CutAfter: 1}, nil)
		k := st.open(t)
		k.respond()
		if got := codeIn(k.await("error")); got != "upstream_cut" {
			t.Errorf("code %q", got)
		}
		if over := k.closed(); over.Code != 1011 {
			t.Errorf("closed with %v", over)
		}
		if r := st.awaitRecords(t, 1)[0]; r.ErrorCode != "upstream_cut" || r.Usage.Source != llm.UsageEstimated || r.Cost == 0 {
			t.Errorf("record %+v", r)
		}
	})
	t.Run("the upstream closes", func(t *testing.T) {
		t.Parallel()
		st := newStage(t, mock.Config{}, nil)
		k := st.open(t)
		began := time.Now()
		k.send(`{"type":"mock.close"}`)
		if got := codeIn(k.await("error")); got != "upstream_closed" {
			t.Errorf("code %q", got)
		}
		if over := k.closed(); over.Code != 4321 || over.Reason != "the upstream has had enough" {
			t.Errorf("closed with %v", over)
		}
		t.Logf("the client knew after %s", time.Since(began))
		if r := st.awaitRecords(t, 1)[0]; r.Cost != 0 || r.Status == 200 {
			t.Errorf("record %+v", r)
		}
	})
}

// TestRealtime_clientSaysWhy: the code and the reason with which a client closes come to its provider.
func TestRealtime_clientSaysWhy(t *testing.T) {
	t.Parallel()
	heard := make(chan error, 1)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err == nil {
			err = conn.Write(r.Context(), websocket.MessageText, []byte(`{"type":"session.created","session":{}}`))
		}
		for err == nil {
			_, _, err = conn.Read(r.Context())
		}
		heard <- err
	}))
	t.Cleanup(up.Close)
	st := newStage(t, mock.Config{}, func(st *stage) {
		for _, d := range st.tables.Deployments {
			d.APIBase = up.URL + "/v1"
		}
	})
	k := st.open(t)
	began := time.Now()
	go func() { _ = k.conn.Close(4009, "lunch") }() // waits for an answer
	var over websocket.CloseError
	if err := <-heard; !errors.As(err, &over) || over.Code != 4009 || over.Reason != "lunch" {
		t.Errorf("the provider's connection ended with %v", err)
	}
	t.Logf("the provider knew after %s", time.Since(began))
}

func TestRealtime_revoked(t *testing.T) {
	t.Parallel()
	var blocked sync.Map
	st := newStage(t, mock.Config{}, func(st *stage) { st.cfg.Keys = revocable{st.keys, &blocked} })
	k := st.open(t)
	blocked.Store("key_good", true)
	if got := codeIn(k.await("error")); got != "key_blocked" {
		t.Errorf("code %q", got)
	}
	if over := k.closed(); over.Code != 1008 || over.Reason != "key_blocked" {
		t.Errorf("closed with %v", over)
	}
	st.awaitRecords(t, 1)
	st.money.balance(t, "budget", 1)
}

// revocable are keys that can be blocked while they are read.
type revocable struct {
	keyTable
	blocked *sync.Map
}

func (k revocable) KeyByHash(h resource.Hash) (*resource.Key, bool) {
	r, ok := k.keyTable.KeyByHash(h)
	if !ok {
		return nil, false
	}
	if _, bad := k.blocked.Load(r.ID); bad {
		now := *r
		now.Blocked = true
		return &now, true
	}
	return r, true
}

func TestRealtime_timers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		idle, all  time.Duration
		code, text string
		close      websocket.StatusCode
	}{
		{"idle", 300 * time.Millisecond, time.Hour, "session_idle", "", 1000},
		{"total", time.Hour, 300 * time.Millisecond, "session_expired", "", 1001},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, mock.Config{}, func(st *stage) { st.cfg.SessionIdle, st.cfg.SessionTotal = tt.idle, tt.all })
			k := st.open(t)
			if got := codeIn(k.await("error")); got != tt.code {
				t.Errorf("code %q", got)
			}
			if over := k.closed(); over.Code != tt.close || over.Reason != tt.code {
				t.Errorf("closed with %v", over)
			}
		})
	}
}

func TestRealtime_nodeStops(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{Chunks: 30, ChunkDelay: 5 * time.Millisecond}, nil)
	k := st.open(t)
	k.respond()
	k.await("response.output_text.delta")
	stopped := make(chan struct{})
	go func() {
		st.server.Stop(t.Context())
		close(stopped)
	}()
	if got := codeIn(k.await("error")); got != "node_stopping" {
		t.Errorf("code %q", got)
	}
	if s := k.await("response.done")["response"].(map[string]any)["status"]; s != "completed" {
		t.Errorf("the open response ended as %v", s)
	}
	if over := k.closed(); over.Code != 1012 || over.Reason != "node_stopping" {
		t.Errorf("closed with %v", over)
	}
	<-stopped
	if r := st.awaitRecords(t, 1)[0]; r.Usage.Source != llm.UsageProvider {
		t.Errorf("record %+v", r)
	}
	if _, res := st.dial(t, "/v1/realtime?model=demo"); res.StatusCode != 503 {
		t.Errorf("a stopping node answers %d", res.StatusCode)
	}
}

func TestRealtime_badEvents(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{}, nil)
	k := st.open(t)
	for _, tt := range []struct{ event, code string }{
		{`{`, "invalid_json"},
		{`[]`, "invalid_event"},
		{`{"event_id":"x"}`, "invalid_event"},
		{`{"type":"response.create","type":"session.update"}`, "invalid_event"},
		{`{"type":"session.update","session":{},"Session":{"model":"x"}}`, "invalid_event"},
		{`{"type":"session.update","session":{"model":"gpt-dear"}}`, "model_mismatch"},
		{`{"type":"session.update","session":{"type":"transcription"}}`, "unsupported_value"},
		{`{"type":"transcription_session.update","session":{}}`, "unsupported_event"},
		{`{"type":"session.update","session":{"tools":[{"type":"mcp","server_label":"x","server_url":"https://mcp.example"}]}}`, "mcp_not_served"},
		{`{"type":"response.create","response":{"tools":[{"type":"mc\u0070","server_url":"https://mcp.example"}]}}`, "mcp_not_served"},
		{`{"type":"no.such.event"}`, "invalid_value"}, // the provider's
	} {
		k.send("%s", tt.event)
		if got := codeIn(k.await("error")); got != tt.code {
			t.Errorf("%s: code %q, want %q", tt.event, got, tt.code)
		}
	}
	if err := k.conn.Write(t.Context(), websocket.MessageBinary, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := codeIn(k.await("error")); got != "invalid_event" {
		t.Errorf("binary: code %q", got)
	}
	k.respond()
	k.await("response.done")
	big := strings.Repeat("x", 17<<20)
	_ = k.conn.Write(t.Context(), websocket.MessageText, []byte(big)) // it may be cut off on the way
	if over := k.closed(); over.Code != 1009 {
		t.Errorf("closed with %v", over)
	}
}

// TestRealtime_refusedByProvider checks that what is held for a response that the provider does not
// make is given back.
func TestRealtime_refusedByProvider(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{Chunks: 20, ChunkDelay: 10 * time.Millisecond}, nil)
	k := st.open(t)
	k.respond()
	k.await("response.created")
	k.respond()
	e := k.await("error")
	if inner := e["error"].(map[string]any); codeIn(e) != "conversation_already_has_active_response" || inner["event_id"] != nil {
		t.Errorf("got %v", e)
	}
	k.await("response.done")
	_ = k.conn.Close(1000, "")
	all := st.awaitRecords(t, 2)
	if all[0].ErrorCode != "conversation_already_has_active_response" || all[0].Cost != 0 || all[1].Status != 200 {
		t.Errorf("records %+v", all)
	}
	st.money.balance(t, "budget", 2)
}

func TestRealtime_secrets(t *testing.T) {
	t.Parallel()
	var clock sync.Map
	st := newStage(t, mock.Config{}, func(st *stage) {
		st.cfg.Now = func() time.Time {
			if d, ok := clock.Load("ahead"); ok {
				return time.Now().Add(d.(time.Duration))
			}
			return time.Now()
		}
	})
	ask := func(path, body string) (int, map[string]any) {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", st.url+path, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+goodKey)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		var out map[string]any
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, out
	}
	status, got := ask("/v1/realtime/client_secrets", `{"expires_after":{"anchor":"created_at","seconds":60},"session":{"type":"realtime","model":"demo","instructions":"be kind"}}`)
	secret, _ := got["value"].(string)
	if status != 200 || !strings.HasPrefix(secret, "ek_") || strings.Contains(secret, "kind") || got["session"].(map[string]any)["model"] != "demo" {
		t.Fatalf("got %d %v", status, got)
	}
	with := func(secret string) func(http.Header) {
		return func(h http.Header) {
			h.Del("Authorization")
			h["Offer"] = []string{"realtime", "openai-insecure-api-key." + secret}
		}
	}
	k, res := st.dial(t, "/v1/realtime", with(secret))
	if k == nil {
		t.Fatalf("no session: %d", res.StatusCode)
	}
	k.await("session.created")
	if s := k.await("session.updated")["session"].(map[string]any); s["instructions"] != "be kind" || s["model"] != "gpt-realtime" {
		t.Errorf("the session is %v", s)
	}
	clock.Store("ahead", time.Minute)
	k.respond() // the session goes on when its secret has expired
	k.await("response.done")
	_ = k.conn.Close(1000, "")
	if r := st.awaitRecords(t, 1)[0]; r.KeyID != "key_good" || r.Cost == 0 {
		t.Errorf("record %+v", r)
	}
	if _, res := st.dial(t, "/v1/realtime?model=demo", with(secret)); res.StatusCode != 401 {
		t.Errorf("an expired secret: %d", res.StatusCode)
	}
	clock.Delete("ahead")
	if _, res := st.dial(t, "/v1/realtime?model=other", with(secret)); res.StatusCode != 403 {
		t.Errorf("another model: %d", res.StatusCode)
	}
	if _, res := st.dial(t, "/v1/realtime?model=demo", with(secret[:len(secret)-2]+"AA")); res.StatusCode != 401 {
		t.Errorf("a forged secret: %d", res.StatusCode)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", st.url+"/v1/models", nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	res2, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res2.Body.Close() }()
	if res2.StatusCode != 401 {
		t.Errorf("a secret opens another path: %d", res2.StatusCode)
	}
	status, got = ask("/v1/realtime/sessions", `{"model":"demo","voice":"x"}`)
	if cs, _ := got["client_secret"].(map[string]any); status != 200 || got["voice"] != "x" || cs["value"] == "" {
		t.Errorf("the form before: %d %v", status, got)
	}
	for _, tt := range []struct{ body, code string }{
		{`{"session":{"type":"realtime"}}`, "missing_model"},
		{`{"session":{"type":"realtime","model":"secret"}}`, "model_access_denied"},
		{`{"session":{"type":"x","model":"demo"}}`, "unsupported_value"},
		{`{"session":{"type":"transcription","audio":{"input":{"transcription":{"model":"secret"}}}}}`, "model_access_denied"},
		{`{"expires_after":{"seconds":5},"session":{"model":"demo"}}`, "invalid_value"},
		{`{"session":{"model":"demo","instructions":"` + strings.Repeat("x", 20000) + `"}}`, "session_too_large"},
	} {
		if status, got := ask("/v1/realtime/client_secrets", tt.body); codeIn(got) != tt.code {
			t.Errorf("%.60s: %d %v, want %s", tt.body, status, got, tt.code)
		}
	}
}

// TestRealtime_providersSecrets checks that no path in a provider's own words leads to a secret that
// passes the gateway by.
func TestRealtime_providersSecrets(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/openai/v1/realtime/transcription_sessions", "/openai_passthrough/v1/realtime/client_secrets", "/azure/openai/realtimeapi/sessions", "/gemini/v1alpha/auth_tokens"} {
		r := newRig(t)
		asked := false
		r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
			asked = true
			return wholeAnswer(), nil
		}
		for _, d := range r.tables.Deployments {
			d.Options = map[string]string{"use_in_pass_through": "true"}
		}
		w := r.do("POST", path, `{"model":"demo"}`)
		if w.Code != 403 || asked {
			t.Errorf("%s: %d %s, asked %t", path, w.Code, w.Body, asked)
		}
	}
}
