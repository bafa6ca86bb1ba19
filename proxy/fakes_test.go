package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	goodKey    = "sk-good-0123456789"
	blockedKey = "sk-blocked-0123456789"
	masterKey  = "sk-master-0123456789"
)

// keyTable is a fake fsm.
type keyTable map[resource.Hash]*resource.Key

func (k keyTable) KeyByHash(h resource.Hash) (*resource.Key, bool) { r, ok := k[h]; return r, ok }

func (k keyTable) Key(id string) (*resource.Key, bool) {
	for _, r := range k {
		if r.ID == id {
			return r, true
		}
	}
	return nil, false
}

func (keyTable) User(string) (*resource.User, bool) { return nil, false }

func (keyTable) TeamMember(string, string) (*resource.TeamMember, bool) { return nil, false }

type limiterFunc func(r *ratelimit.Request) (proxy.LimitHold, error)

func (f limiterFunc) Reserve(_ context.Context, r *ratelimit.Request) (proxy.LimitHold, error) {
	return f(r)
}

type budgetsFunc func(r budget.Request) (proxy.BudgetHold, error)

func (f budgetsFunc) Reserve(_ context.Context, r budget.Request) (proxy.BudgetHold, error) {
	return f(r)
}

func (f budgetsFunc) Hold(_ context.Context, r budget.Request) (proxy.LastingHold, error) {
	h, err := f(r)
	if err != nil {
		return nil, err
	}
	return h.(proxy.LastingHold), nil
}

func (f budgetsFunc) Adjust(charges []ledger.AccountCharge) []ledger.AccountCharge { return charges }

func (f budgetsFunc) Room(budget.Request) (budget.Amounts, bool) { return budget.Amounts{}, false }

// hold counts how it ended.
type hold struct {
	taken, settled, released, withdrawn int
	tokens                              int64
	cost                                resource.Money
}

func (h *hold) Quota() proxy.Quota {
	return proxy.Quota{LimitRequests: 60, RemainingRequests: 59, LimitTokens: -1}
}
func (h *hold) Settle(in, out int64) { h.settled++; h.tokens = in + out }
func (h *hold) Release()             { h.released++ }
func (h *hold) Withdraw()            { h.withdrawn++ }

type moneyHold struct {
	hold
	extend func([]resource.Level) error
	took   budget.Amounts
}

func (h *moneyHold) Holds() []ledger.AccountCharge { return nil }
func (h *moneyHold) Settle(taken budget.Amounts) []ledger.AccountCharge {
	h.settled++
	h.cost, h.took = taken.Cost, taken
	return nil
}

func (h *moneyHold) Extend(_ context.Context, _ string, levels ...resource.Level) error {
	if h.extend == nil {
		return nil
	}
	return h.extend(levels)
}

func (h *moneyHold) Drop() {}

func (h *moneyHold) Shares(budget.Amounts) []resource.BatchShare { return nil }

// plan is a router whose plan is given; its flights are real.
type plan struct {
	*router.Router
	plan  func(cat *resource.Catalog, m *resource.Model) ([]router.Target, error)
	mu    sync.Mutex
	began int
}

func (p *plan) Plan(cat *resource.Catalog, m *resource.Model, _ router.Query) ([]router.Target, error) {
	return p.plan(cat, m)
}

func (p *plan) Begin(id string) router.Flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began++
	return p.Router.Begin(id)
}

type upstreamFunc func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error)

func (f upstreamFunc) Do(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
	return f(ctx, a)
}

// journal keeps what it is told, and the order of things.
type journal struct {
	mu       sync.Mutex
	reserved []ledger.Reservation
	settled  []ledger.Record
	ids      []uint64
	amended  int
	fail     error
	onSettle func()
	changed  chan struct{} // is closed by the next record; nil: nobody waits for it
}

func (j *journal) Reserve(r *ledger.Reservation) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return 0, j.fail
	}
	j.reserved = append(j.reserved, *r)
	return uint64(len(j.reserved)), nil
}

func (j *journal) Amend(id uint64, _ []ledger.AccountCharge) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if id == 0 || int(id) > len(j.reserved) {
		return errBoom
	}
	j.amended++
	return nil
}

func (j *journal) Settle(id uint64, r *ledger.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ids = append(j.ids, id)
	kept := *r
	kept.Charges = slices.Clone(r.Charges) // which the hold has
	j.settled = append(j.settled, kept)
	if j.onSettle != nil {
		j.onSettle()
	}
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
	return nil
}

// now are the records that there are, and a channel that is closed when there is another.
func (j *journal) now() ([]ledger.Record, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return slices.Clone(j.settled), j.changed
}

type pricer struct{}

func (pricer) Lookup(string, string) (*resource.Price, bool) { return nil, false }

type openerFunc func(kind, id, field string) (secret.Text, error)

func (f openerFunc) Open(_ *resource.Sealed, kind, id, field string) (secret.Text, error) {
	return f(kind, id, field)
}

// judge is a plugin behind a guardrail.
type judge struct {
	check func(q *guardrail.Check) guardrail.Verdict
	chunk func(text string) guardrail.Verdict
}

func (j *judge) Check(_ context.Context, q *guardrail.Check) (guardrail.Verdict, error) {
	return j.check(q), nil
}

func (j *judge) OpenStream(context.Context, *guardrail.Info) (guardrail.Stream, error) { return j, nil }

func (j *judge) Chunk(_ context.Context, parts []guardrail.Part) (guardrail.Verdict, error) {
	for _, p := range parts {
		if v := j.chunk(p.Text); v.Action != guardrail.Pass {
			return v, nil
		}
	}
	return guardrail.Verdict{}, nil
}

func (j *judge) End(context.Context) (guardrail.Verdict, error) { return guardrail.Verdict{}, nil }
func (j *judge) Close()                                         {}

// guard puts one guardrail with the hooks into the rig.
func (r *rig) guard(j *judge, hooks ...resource.Hook) {
	m := &guardrail.Member{Name: "words", Hooks: hooks}
	m.Set(&guardrail.Live{Backend: j, Description: guardrail.Description{Hooks: hooks}})
	r.cfg.Guardrails = guardrail.NewChain(nil, nil)
	r.cfg.Guardrails.Replace([]*guardrail.Member{m})
}

// script is a stream made of given events.
type script struct {
	events []string
	err    error // after the events; nil: io.EOF
	usage  llm.Usage
	hide   bool
	i      int
	closed int
	waits  func() // as upstream.Attempt has it: each event comes alone
}

func (s *script) Next() (llm.Event, error) {
	if s.waits != nil {
		s.waits()
	}
	for s.i < len(s.events) {
		s.i++
		if ev := s.events[s.i-1]; !s.hide || !strings.Contains(ev, `"usage"`) {
			return llm.Event{Raw: []byte(ev)}, nil
		}
	}
	if s.err != nil {
		return llm.Event{}, s.err
	}
	return llm.Event{}, io.EOF
}

func (s *script) Done() bool { return s.i > 0 && strings.Contains(s.events[s.i-1], "[DONE]") }

func (s *script) Usage() (llm.Usage, bool) {
	return s.usage, s.i == len(s.events) && s.usage.Source != llm.UsageNone
}

func (s *script) TextBytes() int64 { return int64(3 * s.i) }
func (s *script) Close()           { s.closed++ }

// rig is a server with fakes around it.
type rig struct {
	t        testing.TB
	cfg      proxy.Config
	keys     keyTable
	tables   resource.Tables
	limit    hold
	money    moneyHold
	router   *plan
	journal  *journal
	upstream upstreamFunc
	mux      *http.ServeMux
}

var usage = llm.Usage{Input: 10, Output: 20, Source: llm.UsageProvider}

const answerBody = `{"id":"x","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":20},"vendor_extra":true}`

func newRig(t testing.TB) *rig {
	r := &rig{t: t, keys: keyTable{}, journal: &journal{}}
	r.keys[resource.HashSecret(goodKey)] = &resource.Key{
		Meta: resource.Meta{ID: "key_good"}, Hash: resource.HashSecret(goodKey), Policy: resource.Policy{Models: []string{"demo", "other", "missing"}},
	}
	r.keys[resource.HashSecret(blockedKey)] = &resource.Key{
		Meta: resource.Meta{ID: "key_blocked"}, Hash: resource.HashSecret(blockedKey), Blocked: true,
	}
	price := &resource.Price{Input: resource.Dollar, Output: 2 * resource.Dollar}
	r.tables = resource.Tables{
		Index: 7,
		Models: []*resource.Model{
			{Meta: resource.Meta{ID: "model_demo"}, Name: "demo"},
			{Meta: resource.Meta{ID: "model_other"}, Name: "other"},
			{Meta: resource.Meta{ID: "model_secret"}, Name: "secret"},
		},
		Deployments: []*resource.Deployment{
			{Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: "openai", Upstream: "gpt-x", Price: price},
			{Meta: resource.Meta{ID: "dep_2"}, Name: "d2", ModelID: "model_demo", Provider: "openai", Price: price},
			{Meta: resource.Meta{ID: "dep_3"}, Name: "d3", ModelID: "model_other", Provider: "openai"},
		},
	}
	r.router = &plan{Router: router.New(router.Config{NodeID: "node_a"}), plan: func(cat *resource.Catalog, m *resource.Model) ([]router.Target, error) {
		var plan []router.Target
		for _, d := range cat.Deployments(m.ID) {
			plan = append(plan, router.Target{Model: m, Deployment: d})
		}
		return plan, nil
	}}
	r.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
		if a.Stream {
			st := r.stream()
			st.hide = a.HideUsage
			return proxy.Answer{Status: 200, Stream: st}, nil
		}
		return wholeAnswer(), nil
	}
	master := resource.HashSecret(masterKey)
	r.cfg = proxy.Config{
		NodeID: "node_a", Keys: r.keys, Master: func() resource.Hash { return master },
		Limits: limiterFunc(func(*ratelimit.Request) (proxy.LimitHold, error) {
			r.limit.taken++
			return &r.limit, nil
		}),
		Budgets: budgetsFunc(func(budget.Request) (proxy.BudgetHold, error) {
			r.money.taken++
			return &r.money, nil
		}),
		Router: r.router,
		Upstream: upstreamFunc(func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
			answer, err := r.upstream(ctx, a)
			if st, ok := answer.Stream.(*script); ok {
				st.waits = a.Waits
			}
			return answer, err
		}),
		Journal: r.journal, Pricer: pricer{},
		Secrets: openerFunc(func(_, _, field string) (secret.Text, error) {
			if field == "chatgpt_auth" {
				return secret.New(`{"tokens":{"access_token":"at-1","refresh_token":"rt-1","account_id":"acc"}}`), nil
			}
			return secret.New("sk-provider"), nil
		}),
	}
	return r
}

func wholeAnswer() proxy.Answer {
	return proxy.Answer{
		Status: 200, Body: []byte(answerBody), Report: llm.Report{Usage: usage, HasUsage: true, TextBytes: 2},
		Header: http.Header{"Content-Type": {"application/json"}},
	}
}

func (r *rig) stream() *script {
	return &script{usage: usage, events: []string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"he\"}}]}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"llo\"}}]}\n\n",
		"data: {\"choices\":[],\"usage\":{}}\n\n",
		"data: [DONE]\n\n",
	}}
}

func (r *rig) server() *proxy.Server {
	cat := resource.NewCatalog(r.tables)
	if r.cfg.Catalog == nil {
		r.cfg.Catalog = func() *resource.Catalog { return cat }
	}
	s, err := proxy.New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) handler() http.Handler {
	if r.mux == nil {
		r.mux = http.NewServeMux()
		r.server().Mount(r.mux)
	}
	return r.mux
}

// do sends one request with the good key, unless edits say otherwise.
func (r *rig) do(method, path, body string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+goodKey)
	for _, edit := range edits {
		edit(req)
	}
	w := httptest.NewRecorder()
	r.handler().ServeHTTP(w, req)
	return w
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if value == "" {
			r.Header.Del(name)
			return
		}
		r.Header.Set(name, value)
	}
}

// codeOf reads the code of an error in the shape of any vendor.
func codeOf(t testing.TB, body string) string {
	t.Helper()
	var e struct {
		Error struct {
			Code    any
			Message string
			Type    string
			Status  string
			Details []struct{ Reason string }
		}
		Kind    string `json:"__type"`
		Message string
		Reason  string
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Errorf("body %q is no vendor's error: %v", body, err)
	}
	if e.Error.Message+e.Message == "" || e.Error.Type+e.Error.Status+e.Kind == "" {
		t.Errorf("error %q has no message or type", body)
	}
	if e.Kind != "" {
		return e.Reason
	}
	if len(e.Error.Details) > 0 {
		return e.Error.Details[0].Reason
	}
	code, _ := e.Error.Code.(string)
	return code
}

// checkBalance says that everything that was held was given back once.
func (r *rig) checkBalance() {
	r.t.Helper()
	for name, h := range map[string]*hold{"limit": &r.limit, "budget": &r.money.hold} {
		if h.taken != h.released || h.settled > 1 {
			r.t.Errorf("%s was held %d times, released %d times, settled %d times", name, h.taken, h.released, h.settled)
		}
	}
	if n := len(r.journal.settled); n != 1 {
		r.t.Errorf("%d settlements, want 1", n)
	}
}

var errBoom = errors.New("boom")

// errNoBlob is what the store of blobs says of a body that no node gives.
var errNoBlob = &llm.Error{Kind: llm.Unavailable, Code: llm.CodeNoBlob, Message: "No node has it.", RetryAfter: time.Second}

// recorder records an answer while it is written.
type recorder struct {
	*httptest.ResponseRecorder
	r *rig
}

func recorderOf(r *rig) *recorder { return &recorder{httptest.NewRecorder(), r} }

func (w *recorder) post(path, body string) {
	req := httptest.NewRequest("POST", path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+goodKey)
	w.r.handler().ServeHTTP(w, req)
}

func blockBefore(r *rig, _ *http.Request) {
	r.guard(&judge{check: func(*guardrail.Check) guardrail.Verdict {
		return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
	}}, resource.HookBefore)
}
