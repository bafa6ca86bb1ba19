package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/parts"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/replay"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// What no receipt may hold.
const (
	canaryPrompt = "canary-prompt-5d1f"
	canaryAnswer = "canary-answer-77ab"
	canaryField  = "canary-metadata-0c2e"
)

// people are the records that a catalog does not hold.
type people struct {
	key       *resource.Key
	user      *resource.User
	member    *resource.TeamMember
	customers customers
}

func (p *people) KeyByHash(h resource.Hash) (*resource.Key, bool) { return p.key, h == p.key.Hash }
func (p *people) Key(id string) (*resource.Key, bool)             { return p.key, id == p.key.ID }

func (p *people) User(id string) (*resource.User, bool) {
	return p.user, p.user != nil && id == p.user.ID
}

func (p *people) TeamMember(team, user string) (*resource.TeamMember, bool) {
	return p.member, p.member != nil && p.member.ID == resource.TeamMemberID(team, user)
}

func (p *people) Customer(id string) (*resource.Customer, bool) { return p.customers.Customer(id) }

// world is one random state, and a proxy with the real parts on it.
type world struct {
	r      *rand.Rand
	rig    *rig
	people people
	cat    *resource.Catalog
}

func one(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// policyOf draws a policy that seldom refuses: of ten levels each has its say.
func policyOf(r *rand.Rand) resource.Policy {
	var p resource.Policy
	for _, set := range []func(){
		func() {
			p.Models = pick(r, []string{"demo"}, []string{"demo", "other", "nick"}, []string{"d*"}, []string{"other"}, []string{"group"})
		},
		func() { p.Aliases = map[string]string{"nick": pick(r, "demo", "other", "gone")} },
		func() {
			p.Routes = pick(r, []string{"/v1/chat/completions"}, []string{"/v1/*"}, []string{"/v1/embeddings"})
		},
		func() { p.AllowedIPs = pick(r, []string{"192.0.2.0/24"}, []string{"10.0.0.0/8"}) },
		func() { p.DeniedIPs = pick(r, []string{"192.0.2.1"}, []string{"2001:db8::/32"}) },
		func() {
			p.EnforcedParams = pick(r, []string{"user"}, []string{"metadata.cost_center"}, []string{"temperature"})
		},
		func() { p.Guardrails = pick(r, []string{"optional"}, []string{"gone"}) },
		func() { p.Tags = []string{"level"} },
		func() { p.MaxRequestMB = new(int64(1)) },
		func() { p.MaxResponseMB = new(int64(1)) },
		func() {
			p.Sessions = pick(r,
				&resource.SessionLimits{RequireTraceID: true}, &resource.SessionLimits{Iterations: 1}, &resource.SessionLimits{Budget: 1},
				&resource.SessionLimits{RPM: new(int64(0))})
		},
		func() {
			p.Limits = pick(r,
				resource.Limits{RPM: new(int64(1))}, resource.Limits{TPM: new(int64(10))}, resource.Limits{InputTPM: new(int64(2))},
				resource.Limits{OutputTPM: new(int64(3))}, resource.Limits{Parallel: new(int64(0))})
		},
		func() { p.ModelLimits = map[string]resource.Limits{"demo": {RPM: new(int64(1))}} },
		func() {
			p.Budgets = pick(r,
				[]resource.Terms{{USD: pick(r, 0, resource.Dollar), Per: resource.PerDay}}, []resource.Terms{{Tokens: new(int64(5))}},
				[]resource.Terms{{Requests: new(int64(2)), Per: resource.PerHour}}, []resource.Terms{{USD: resource.Dollar, Name: "priced", Unpriced: resource.UnpricedDeny}})
		},
		func() { p.BudgetID = "shared" },
		func() { p.TagLimits = map[string]resource.Limits{"level": {RPM: new(pick(r, int64(0), 1))}} },
		func() {
			p.Budgets = []resource.Terms{{Name: "of_demo", USD: 1, Models: []string{"demo"}}}
			p.BudgetFallbacks = map[string][]string{"demo": {"gone", pick(r, "other", "nick")}}
		},
		func() { p.OutputHold = new(int64(7)) },
		func() { p.ExpiresAt = resource.At(time.Now().Add(pick(r, -time.Hour, time.Hour))) },
	} {
		if one(r, 40) {
			set()
		}
	}
	p.Metadata = json.RawMessage(`{"note":"` + canaryField + `"}`)
	return p
}

func drawWorld(t testing.TB, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 9))
	w := &world{r: r, rig: newRig(t)}
	meta := func(id string) resource.Meta { return resource.Meta{ID: id, Version: 3} }
	org := &resource.Organization{Meta: meta("org"), Policy: policyOf(r), Blocked: one(r, 60)}
	team := &resource.Team{Meta: meta("team"), Policy: policyOf(r), OrganizationID: pick(r, "", "org"), Blocked: one(r, 60)}
	project := &resource.Project{Meta: meta("project"), Policy: policyOf(r), TeamID: "team", Blocked: one(r, 60)}
	w.people.user = &resource.User{Meta: meta("user"), Policy: policyOf(r), Blocked: one(r, 60)}
	w.people.member = &resource.TeamMember{Meta: meta("team/user"), Policy: policyOf(r), TeamID: "team", UserID: "user"}
	w.people.key = &resource.Key{Meta: meta("key_good"), Hash: resource.HashSecret(goodKey), Policy: policyOf(r), Blocked: one(r, 60)}
	k := w.people.key
	k.TeamID, k.UserID = pick(r, "", "team"), pick(r, "", "user")
	if k.TeamID != "" {
		k.ProjectID = pick(r, "", "project")
	}
	if one(r, 30) {
		k.ExpiresAt = resource.At(time.Now().Add(pick(r, -time.Hour, time.Hour)))
	}
	if one(r, 40) {
		k.Type = pick(r, resource.TypeManagement, resource.TypeReadOnly, resource.TypeInference)
	}
	w.people.customers = customers{}
	for _, id := range []string{"alice", "bob"} {
		w.people.customers[id] = &resource.Customer{Meta: meta(id), Policy: policyOf(r), Blocked: one(r, 20), DefaultModel: pick(r, "", "demo")}
	}
	w.rig.tables = resource.Tables{
		Index: 7, Organizations: []*resource.Organization{org}, Teams: []*resource.Team{team}, Projects: []*resource.Project{project},
		Tags:    []*resource.Tag{{Meta: meta("red"), Policy: policyOf(r)}, {Meta: meta("level"), Policy: policyOf(r)}},
		Budgets: []*resource.Budget{{Meta: meta("shared"), Name: "shared", Terms: resource.Terms{USD: pick(r, 0, resource.Dollar), Name: "shared"}}},
		AccessGroups: []*resource.AccessGroup{
			{Meta: meta("ag_1"), Name: "some", Models: []string{"demo", "group"}, Allowance: policyOf(r).Allowance},
			{Meta: meta("ag_2"), Name: "all", Models: []string{"*"}, Allowance: policyOf(r).Allowance},
		},
		Guardrails: []*resource.Guardrail{
			{Meta: meta("g1"), Name: "words", Mode: pick(r, "", "", resource.ModeObserve), OnError: pick(r, resource.OnErrorBlock, resource.OnErrorPass)},
			{Meta: meta("g2"), Name: "optional", Optional: true},
		},
	}
	w.models(meta)
	w.settings()
	w.parts()
	return w
}

func (w *world) models(meta func(string) resource.Meta) {
	r, t := w.r, &w.rig.tables
	for _, name := range []string{"demo", "other", "empty", "unpriced"} {
		m := &resource.Model{Meta: meta("model_" + name), Name: name, Retries: new(int)}
		if one(r, 3) {
			m.AccessGroups = []string{"group"}
		}
		if one(r, 10) {
			m.Limits.RPM = new(int64(1))
		}
		if one(r, 4) {
			m.Fallbacks = []string{"other"}
		}
		t.Models = append(t.Models, m)
		if name == "empty" {
			continue
		}
		d := &resource.Deployment{Meta: meta("dep_" + name), ModelID: m.ID, Provider: "openai", Blocked: one(r, 15)}
		if name != "unpriced" {
			d.Price = &resource.Price{Input: resource.Dollar, Output: resource.Dollar}
		}
		if one(r, 15) {
			d.Limits.Parallel = new(int64(0)) // full for ever
		}
		if one(r, 15) {
			d.CredentialID = pick(r, "cred", "gone")
		}
		t.Deployments = append(t.Deployments, d)
	}
	t.Credentials = []*resource.Credential{{Meta: meta("cred"), Name: "cred", Provider: "openai"}}
}

func (w *world) settings() {
	for name, value := range map[string]string{
		"allowed_ips": `["192.0.2.0/24","10.0.0.0/8"]`, "denied_ips": `["10.0.0.0/8"]`, "trusted_proxies": `["192.0.2.1"]`,
		"enforced_params": `["metadata.cost_center"]`, "enforce_user_param": `true`, "service_account_enforced_params": `["metadata.job"]`,
		"blocked_user_list": `["carol","dave"]`, "block_requests_for_models_without_pricing": `true`, "max_request_size_mb": `1`, "max_response_size_mb": `1`,
	} {
		if one(w.r, 25) {
			w.rig.tables.Settings = append(w.rig.tables.Settings, &resource.Setting{Meta: resource.Meta{ID: name}, Value: []byte(value)})
		}
	}
}

// parts makes the real limiter, budgets, guardrails and router.
func (w *world) parts() {
	g := w.rig
	w.cat = resource.NewCatalog(g.tables)
	g.cfg.Catalog = func() *resource.Catalog { return w.cat }
	g.cfg.Keys, g.cfg.Customers = &w.people, w.people.customers
	g.cfg.Limits = parts.FromLimiter(ratelimit.New(ratelimit.Config{NodeID: "node_a", Clock: func() time.Duration { return time.Hour }}))
	b := budget.New(budget.Config{HasLeader: func() bool { return false }, Lookup: w.lease})
	b.SetEpoch(1)
	g.cfg.Budgets = parts.FromBudgets(b)
	g.cfg.Router = router.New(router.Config{NodeID: "node_a"})
	var members []*guardrail.Member
	for _, rec := range g.tables.Guardrails {
		hooks := []resource.Hook{resource.HookBefore, resource.HookAfter}
		m := &guardrail.Member{Name: rec.Name, Hooks: hooks, OnError: rec.OnError, Observe: rec.Mode == resource.ModeObserve, Optional: rec.Optional}
		m.Set(&guardrail.Live{Backend: moods{name: rec.Name}, Description: guardrail.Description{Hooks: hooks}})
		members = append(members, m)
	}
	g.cfg.Guardrails = guardrail.NewChain(nil, nil)
	g.cfg.Guardrails.Replace(members)
	g.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
		switch {
		case strings.Contains(string(a.Body), "fail"):
			return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Status: 500, Code: "upstream_broken", Message: "no"}
		case strings.Contains(string(a.Body), "flood"):
			answer := wholeAnswer()
			answer.Body = []byte(`{"choices":[{"message":{"content":"` + strings.Repeat("x", 1<<20) + `"}}]}`)
			return answer, nil
		}
		answer := wholeAnswer()
		answer.Body = []byte(strings.Replace(answerBody, `"hi"`, `"`+canaryAnswer+`"`, 1))
		if strings.Contains(string(a.Body), "swear") {
			answer.Body = []byte(strings.Replace(answerBody, `"hi"`, `"bad `+canaryAnswer+`"`, 1))
		}
		return answer, nil
	}
}

// lease grants this node all that a budget has.
func (w *world) lease(id resource.AccountID, start resource.Time) (budget.Lease, bool) {
	return budget.Lease{Account: id, Window: resource.Window{Start: start}, Epoch: 1, Granted: resource.Dollar / 100, Limit: resource.Dollar / 100}, true
}

// moods is a guardrail that blocks what is bad, and breaks where it is told to.
type moods struct{ name string }

func (m moods) Check(_ context.Context, q *guardrail.Check) (guardrail.Verdict, error) {
	for _, p := range q.Texts {
		switch {
		case strings.Contains(p.Text, "bad") && m.name == "words":
			return guardrail.Verdict{Action: guardrail.Block, Message: "says " + p.Text}, nil
		case strings.Contains(p.Text, "crash"):
			return guardrail.Verdict{}, errors.New("crashed on " + p.Text)
		}
	}
	return guardrail.Verdict{}, nil
}

func (moods) OpenStream(context.Context, *guardrail.Info) (guardrail.Stream, error) {
	return nil, errors.New("no streams")
}

// send sends one random request.
func (w *world) send() {
	r := w.r
	body := map[string]any{"model": pick(r, "demo", "demo", "demo", "demo", "other", "nick", "gone", "empty", "unpriced", "")}
	text := canaryPrompt
	if one(r, 8) {
		text += pick(r, " bad", " crash", " fail", " flood", " swear")
	}
	body["messages"] = []any{map[string]string{"role": "user", "content": text}}
	body["input"] = text
	for name, value := range map[string]any{
		"user": pick(r, "alice", "bob", "carol", "erin"), "temperature": 1, "max_tokens": 7, "fallbacks": []string{pick(r, "other", "nick", "gone")},
		"disable_fallbacks": true, "guardrails": []string{pick(r, "optional", "gone")},
		"metadata": map[string]any{pick(r, "cost_center", "job"): canaryField, "tags": []string{pick(r, "red", "blue")}},
	} {
		if one(r, 4) {
			body[name] = value
		}
	}
	if one(r, 30) {
		body["pad"] = strings.Repeat("x", 1<<20)
	}
	b, _ := json.Marshal(body)
	raw := string(b)
	if one(r, 40) {
		raw = pick(r, `{"model":"demo","`+canaryPrompt, `{"model":"demo","model":"x"}`, `{"model":"demo","api_base":"http://`+canaryPrompt+`"}`)
	}
	path := pick(r, chatPath, chatPath, chatPath, "/chat/completions", "/v1/embeddings")
	w.rig.do("POST", path+pick(r, "", "?key="+goodKey), raw, func(q *http.Request) {
		if one(r, 4) {
			q.Header.Set("X-Litellm-Session-Id", pick(r, "s1", "s2"))
		}
		if one(r, 10) {
			q.Header.Set("X-Litellm-Tags", pick(r, "red", "blue"))
		}
		if one(r, 40) {
			q.Header.Set("X-Litellm-Num-Retries", pick(r, "0", "many"))
		}
		if one(r, 10) {
			q.Header.Set("X-Forwarded-For", "10.0.0.7")
		}
	})
}

// reasons names what a verdict says, with the measure of a limit.
func reasonOf(q *evidence.Request, v *evidence.Verdict) string {
	reason := v.Step + " " + v.Code
	if c := q.Receipt.Facts.Count; c != nil {
		reason += " " + c.Part + " " + strings.TrimSuffix(c.Unit+" ", " ")
		if v.Step == "limits" {
			reason += " " + c.Of
		}
	}
	if v.Code == "model_access_denied" || v.Code == "address_not_allowed" {
		reason += " " + v.Scope
	}
	return strings.Join(strings.Fields(reason), " ")
}

// TestReplay_agrees draws ten thousand requests in random states, lets the real pipeline decide, and
// expects that each decision is the same again, made of an exported receipt and an exported state.
func TestReplay_agrees(t *testing.T) {
	t.Parallel()
	worlds := 500
	if testing.Short() {
		worlds = 100
	}
	judged, believed, served := map[string]int{}, map[string]int{}, 0
	for seed := range worlds {
		w := drawWorld(t, uint64(seed))
		for range 20 {
			w.send()
		}
		if n := len(w.rig.journal.settled); n != 20 {
			t.Fatalf("draw %d: %d records of 20 requests", seed, n)
		}
		c := w.export(t)
		for i := range c.Requests {
			q := &c.Requests[i]
			want, got := evidence.Recorded(q), replay.Decide(&c.State, q)
			if !got.Same(&want) {
				t.Errorf("draw %d, request %d: got %+v, want %+v\n%s", seed, i, got, want, show(q))
			}
			switch {
			case want.Decision == evidence.Served:
				served++
			case got.Judged:
				judged[reasonOf(q, &got)]++
			default:
				believed[reasonOf(q, &got)]++
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d served; judged: %v; believed: %v", served, judged, believed)
	if len(judged) < 25 || served < worlds {
		t.Errorf("%d reasons were judged, want 25; %d requests were served: the draws prove little", len(judged), served)
	}
	for reason := range believed { // what the state could tell must not be believed
		if reason = strings.SplitN(reason, " ", 2)[0]; !slices.Contains([]string{"auth", "body", "policy", "answer"}, reason) {
			t.Errorf("believed: %v", slices.Sorted(maps.Keys(believed)))
			break
		}
	}
}

func show(q *evidence.Request) string {
	b, err := json.Marshal(q)
	return fmt.Sprint(string(b), err)
}

// export takes the records through every form in which they are kept, and reads the file of a case.
func (w *world) export(t *testing.T) *evidence.Case {
	t.Helper()
	var c evidence.Case
	for i := range w.rig.journal.settled {
		rec, err := ledger.ParseRecord(ledger.AppendRecord(nil, &w.rig.journal.settled[i]))
		if err != nil {
			t.Fatal(err)
		}
		row := segment.RowOf(&rec, 1)
		receipt, err := row.Explain()
		if err != nil {
			t.Fatal(err)
		}
		c.Requests = append(c.Requests, evidence.Request{Row: row, Receipt: receipt})
	}
	c.State = evidence.StateOf(w.cat, &w.people, c.Requests)
	b, err := json.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{goodKey, resource.HashSecret(goodKey).String(), canaryPrompt, canaryAnswer, canaryField} {
		if i := strings.Index(string(b), secret); i >= 0 {
			t.Fatalf("the case holds %q: …%s…", secret, b[max(0, i-200):min(len(b), i+100)])
		}
	}
	read, err := evidence.Read(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return read
}
