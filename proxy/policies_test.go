package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

const chatPath = "/v1/chat/completions"

// with puts members in front of those of the usual body.
func with(members string) string { return strings.Replace(chatBody, "{", "{"+members+",", 1) }

// counted says how much of it was read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func (c *counted) Close() error { return nil }

// A body that is too large is not read to its end.
func TestTooLarge_Unread(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		length int64
		most   int
	}{
		{"announced", 16 << 20, 0},
		{"chunked", -1, 2 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			keyPolicy(func(key, _ *resource.Policy) { key.MaxRequestMB = &megabyte })(r, nil)
			body := &counted{Reader: bytes.NewReader(make([]byte, 16<<20))}
			w := r.do("POST", chatPath, "", func(q *http.Request) { q.Body, q.ContentLength = body, tt.length })
			if w.Code != 413 || codeOf(t, w.Body.String()) != "request_too_large" || body.n > tt.most {
				t.Errorf("got %d after %d bytes, want 413 after %d at most", w.Code, body.n, tt.most)
			}
		})
	}
}

// An answer that is too large is refused, but what it cost is charged, and nobody else is asked.
func TestResponseTooLarge(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 1<<20)
	for _, stream := range []bool{false, true} {
		t.Run(map[bool]string{false: "whole", true: "stream"}[stream], func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			settingOf("max_response_size_mb", `1`)(r, nil)
			asked := 0
			r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
				asked++
				if !stream {
					a := wholeAnswer()
					a.Body = []byte(`{"pad":"` + big + `"}`)
					a.Report.TextBytes = int64(len(big)) // for which the provider has counted little
					return a, nil
				}
				s := r.stream()
				s.events = append([]string{s.events[0], "data: {\"pad\":\"" + big + "\"}\n\n"}, s.events[1:]...)
				return proxy.Answer{Status: 200, Stream: s}, nil
			}
			body := chatBody
			if stream {
				body = with(`"stream":true`)
			}
			w := r.do("POST", chatPath, body)
			rec := r.journal.settled[0]
			if asked != 1 || rec.Cost == 0 || rec.ErrorCode != "response_too_large" || r.money.cost != rec.Cost {
				t.Errorf("asked %d times, charged %v, held %v, code %q", asked, rec.Cost, r.money.cost, rec.ErrorCode)
			}
			switch got := w.Body.String(); {
			case !stream && (rec.Cost != 50_000 || rec.Usage.Source != llm.UsageProvider):
				t.Errorf("charged %v, counted by %v, want what the provider says", rec.Cost, rec.Usage.Source)
			case !stream && (w.Code != 502 || codeOf(t, got) != "response_too_large"):
				t.Errorf("got %d %.100s", w.Code, got)
			case stream && (w.Code != 200 || !strings.Contains(got, `"code":"response_too_large"`) || strings.Contains(got, "[DONE]") || strings.Contains(got, "xxx")):
				t.Errorf("got %d %.300s", w.Code, got)
			}
			if len(r.journal.settled) != 1 || r.limit.taken != r.limit.released {
				t.Errorf("%d records, %+v", len(r.journal.settled), r.limit)
			}
		})
	}
}

// levelsOf lists the kinds and ids of levels.
func levelsOf(levels []resource.Level) string {
	var all []string
	for _, v := range levels {
		all = append(all, v.Kind+"/"+v.ID)
	}
	return strings.Join(all, " ")
}

// Limits and budgets are given every level and the session.
func TestLevels(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	keyPolicy(func(_, team *resource.Policy) { team.Tags = []string{"of-team"} })(r, nil)
	r.tables.Tags = []*resource.Tag{{Meta: resource.Meta{ID: "batch"}}, {Meta: resource.Meta{ID: "of-team"}}}
	r.cfg.Customers = customers{"alice": {Meta: resource.Meta{ID: "alice"}}}
	r.tables.AccessGroups = []*resource.AccessGroup{
		{Meta: resource.Meta{ID: "ag_1"}, Name: "big", Models: []string{"de*"}, Allowance: resource.Allowance{Limits: resource.Limits{RPM: new(int64(9))}}},
		{Meta: resource.Meta{ID: "ag_2"}, Name: "unlimited", Models: []string{"demo"}},
		{Meta: resource.Meta{ID: "ag_3"}, Name: "of others", Models: []string{"other"}, Allowance: resource.Allowance{BudgetID: "b"}},
	}
	var limits, money, sessions, tags string
	r.cfg.Limits = limiterFunc(func(q *ratelimit.Request) (proxy.LimitHold, error) {
		limits, sessions, tags = levelsOf(q.Levels), q.Session, strings.Join(q.Tags, " ")
		r.limit.taken++
		return &r.limit, nil
	})
	r.cfg.Budgets = budgetsFunc(func(q budget.Request) (proxy.BudgetHold, error) {
		money, sessions = levelsOf(q.Levels), sessions+" "+q.Session
		r.money.taken++
		return &r.money, nil
	})
	body := with(`"user":"alice","metadata":{"tags":["batch","unknown"],"litellm_session_id":"s1"}`)
	want := "team/team_1 key/key_good customer/alice tag/batch tag/of-team model/model_demo access_group/ag_1"
	for range 2 { // the second finds a used array
		if w := r.do("POST", chatPath, body); w.Code != 200 || limits != want || money != want || sessions != "s1 s1" || tags != "batch unknown of-team" {
			t.Fatalf("got %d %s\nlimits %s\nbudget %s\nwant   %s\nsessions %s\ntags %s", w.Code, w.Body, limits, money, want, sessions, tags)
		}
	}
	rec := r.journal.settled[0]
	if rec.CustomerID != "alice" || rec.SessionID != "s1" {
		t.Errorf("customer %q, session %q", rec.CustomerID, rec.SessionID)
	}
	if diff := cmp.Diff([]string{"batch", "unknown", "of-team"}, rec.Tags); diff != "" {
		t.Error(diff)
	}
	if w := r.do("POST", chatPath, chatBody); w.Code != 200 || limits != "team/team_1 key/key_good tag/of-team model/model_demo access_group/ag_1" {
		t.Errorf("got %d, limits %s", w.Code, limits)
	}
}

func TestResolution(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		set    func(*rig, *http.Request)
		asked  string
		status int
		model  string
	}{
		{"alias of the key", keyPolicy(func(key, _ *resource.Policy) { key.Aliases = map[string]string{"gpt": "demo"} }), "gpt", 200, "demo"},
		{"alias of the team", keyPolicy(func(_, team *resource.Policy) { team.Aliases = map[string]string{"gpt": "demo"} }), "gpt", 200, "demo"},
		{"the key's goes before the team's", keyPolicy(func(key, team *resource.Policy) {
			key.Aliases, team.Aliases = map[string]string{"gpt": "other"}, map[string]string{"gpt": "demo"}
		}), "gpt", 200, "other"},
		{"alias of a model's name", keyPolicy(func(key, _ *resource.Policy) { key.Aliases = map[string]string{"demo": "other"} }), "demo", 200, "other"},
		{"alias that is listed itself", keyPolicy(func(key, _ *resource.Policy) {
			key.Models, key.Aliases = []string{"gpt"}, map[string]string{"gpt": "secret"}
		}), "gpt", 200, "secret"},
		{"the key's alias does not open what the team denies", keyPolicy(func(key, team *resource.Policy) {
			key.Models, key.Aliases, team.Models = []string{"gpt"}, map[string]string{"gpt": "secret"}, []string{"gpt", "demo"}
		}), "gpt", 403, ""},
		{"alias to what the key may not use", keyPolicy(func(key, _ *resource.Policy) { key.Aliases = map[string]string{"gpt": "secret"} }), "gpt", 403, ""},
		{"alias to nothing", keyPolicy(func(key, _ *resource.Policy) { key.Aliases = map[string]string{"gpt": "missing"} }), "gpt", 404, ""},
		{"access group", both(keyPolicy(func(key, _ *resource.Policy) { key.Models = []string{"internal"} }), func(r *rig, _ *http.Request) {
			r.tables.Models[2].AccessGroups = []string{"internal"}
		}), "secret", 200, "secret"},
		{"what only an access group of the key names, and is not there", both(keyPolicy(func(key, _ *resource.Policy) {
			key.Models, key.AccessGroupIDs = []string{"demo"}, []string{"ag"}
		}), func(r *rig, _ *http.Request) {
			r.tables.AccessGroups = []*resource.AccessGroup{{Meta: resource.Meta{ID: "ag"}, Name: "g", Models: []string{"gone"}}}
		}), "gone", 404, ""},
		{"what an access group of others names, and is not there", both(keyPolicy(func(key, _ *resource.Policy) {
			key.Models = []string{"demo"}
		}), func(r *rig, _ *http.Request) {
			r.tables.AccessGroups = []*resource.AccessGroup{{Meta: resource.Meta{ID: "ag"}, Name: "g", Models: []string{"gone"}}}
		}), "gone", 403, ""},
		{"what the key's access group names and the team's list does not", both(keyPolicy(func(key, team *resource.Policy) {
			key.Models, key.AccessGroupIDs, team.Models = []string{"demo"}, []string{"ag"}, []string{"demo"}
		}), func(r *rig, _ *http.Request) {
			r.tables.AccessGroups = []*resource.AccessGroup{{Meta: resource.Meta{ID: "ag"}, Name: "g", Models: []string{"gone"}}}
		}), "gone", 403, ""},
		{"not in the access group", both(keyPolicy(func(key, _ *resource.Policy) { key.Models = []string{"internal"} }), func(r *rig, _ *http.Request) {
			r.tables.Models[2].AccessGroups = []string{"internal"}
		}), "demo", 403, ""},
		{"end user's own model", endUser(&resource.Customer{Meta: resource.Meta{ID: "carol"}, DefaultModel: "other"}), "", 200, "other"},
		{"end user's own model is only for want of another", endUser(&resource.Customer{Meta: resource.Meta{ID: "carol"}, DefaultModel: "other"}), "demo", 200, "demo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.tables.Deployments = append(r.tables.Deployments, &resource.Deployment{Meta: resource.Meta{ID: "dep_4"}, ModelID: "model_secret", Provider: "openai"})
			body, _ := json.Marshal(map[string]any{"model": tt.asked, "messages": []any{}})
			w := r.do("POST", chatPath, string(body), func(q *http.Request) { tt.set(r, q) })
			if w.Code != tt.status {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if got := w.Header().Get("X-Conclave-Model"); got != tt.model {
				t.Errorf("answered by %q, want %q", got, tt.model)
			}
		})
	}
}

// What the client says about attempts is heeded within what its key may do.
// TestRegion: an end user with a region is answered there, or not at all.
func TestRegion(t *testing.T) {
	t.Parallel()
	place := func(metadata, option string) func(*rig, *http.Request) {
		return func(r *rig, _ *http.Request) {
			d := r.tables.Deployments[0]
			d.Metadata, d.Options = json.RawMessage(metadata), map[string]string{"region": option}
		}
	}
	in := func(region string) func(*rig, *http.Request) {
		return endUser(&resource.Customer{Meta: resource.Meta{ID: "carol"}, Region: region})
	}
	for _, tt := range []struct {
		name   string
		set    func(*rig, *http.Request)
		status int
	}{
		{"no region, no place", in(""), 200},
		{"no place", in("eu"), 503},
		{"the metadata's", both(in("eu"), place(`{"region_name":"eu"}`, "us-east-1")), 200},
		{"an option's", both(in("eu"), place("", "eu-central-1")), 200},
		{"another's", both(in("us"), place("", "eu-central-1")), 503},
		{"of a cloud", both(in("us"), place("", "eastus2")), 200},
		{"not in a word", both(in("us"), place("", "australiaeast")), 503},
		{"of a region that is none", both(in("mars"), place("", "mars")), 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.cfg.Router = r.router.Router
			w := r.do("POST", chatPath, chatBody, func(q *http.Request) { tt.set(r, q) })
			if w.Code != tt.status || tt.status == 503 && !strings.Contains(w.Body.String(), "no_deployment_allowed") {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
		})
	}
}

func TestAttemptsOfClient(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		body    string
		headers []string
		status  int
		code    string
		asked   string        // upstream models, in their order; all fail
		timeout time.Duration // of the first
	}{
		{"as configured", chatBody, nil, 502, "", "gpt-x demo gpt-x", time.Minute},
		{"fallbacks", with(`"fallbacks":["other"],"num_retries":0`), nil, 502, "", "gpt-x other", time.Minute},
		{"fallback as an object", with(`"fallbacks":[{"model":"other"}],"num_retries":0`), nil, 502, "", "gpt-x other", time.Minute},
		{"no retries", with(`"num_retries":0`), nil, 502, "", "gpt-x", time.Minute},
		{"retries in a header", chatBody, []string{"X-Litellm-Num-Retries", "1"}, 502, "", "gpt-x demo", time.Minute},
		{"the body goes before the header", with(`"num_retries":0`), []string{"X-Litellm-Num-Retries", "1"}, 502, "", "gpt-x", time.Minute},
		{"bad header", chatBody, []string{"X-Litellm-Num-Retries", "99"}, 400, "invalid_value", "", 0},
		{"unknown fallback", with(`"fallbacks":["missing"]`), nil, 404, "model_not_found", "", 0},
		{"forbidden fallback", with(`"fallbacks":["secret"]`), nil, 403, "model_access_denied", "", 0},
		{"shorter", with(`"num_retries":0,"timeout":2.5`), nil, 502, "", "gpt-x", 2500 * time.Millisecond},
		{"shorter by a header", with(`"num_retries":0`), []string{"X-Litellm-Timeout", "3"}, 502, "", "gpt-x", 3 * time.Second},
		{"not longer than the deployment allows", with(`"num_retries":0,"timeout":600`), nil, 502, "", "gpt-x", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.tables.Deployments[0].TimeoutMS = 60_000
			r.tables.Deployments[0].Order = 0
			r.tables.Deployments[1].Order = 1
			r.cfg.Router = r.router.Router // plans for real
			var asked []string
			var timeout time.Duration
			r.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
				asked = append(asked, a.Model)
				if len(asked) == 1 {
					timeout = a.Timeouts.Total
				}
				for _, own := range []string{"fallbacks", "num_retries", "timeout"} {
					if strings.Contains(string(a.Body), own) {
						t.Errorf("%s was sent to the provider: %s", own, a.Body)
					}
				}
				return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Message: "boom"}
			}
			w := r.do("POST", chatPath, tt.body, func(q *http.Request) {
				for i := 0; i < len(tt.headers); i += 2 {
					q.Header.Set(tt.headers[i], tt.headers[i+1])
				}
			})
			if w.Code != tt.status || tt.code != "" && codeOf(t, w.Body.String()) != tt.code {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			got := strings.Join(asked, " ")
			if tt.name == "as configured" {
				got, tt.asked = asked[0], "gpt-x" // the rest is the router's
			}
			if got != tt.asked || timeout != tt.timeout {
				t.Errorf("asked %q with %v, want %q with %v", got, timeout, tt.asked, tt.timeout)
			}
		})
	}
}

// A fallback is charged to its model and to those access groups that the request is not charged to already.
func TestLevels_fallback(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := resource.Allowance{Limits: resource.Limits{RPM: new(int64(9))}}
	r.tables.AccessGroups = []*resource.AccessGroup{
		{Meta: resource.Meta{ID: "ag_both"}, Name: "both", Models: []string{"demo", "other"}, Allowance: one},
		{Meta: resource.Meta{ID: "ag_first"}, Name: "first", Models: []string{"demo"}, Allowance: one},
		{Meta: resource.Meta{ID: "ag_then"}, Name: "then", Models: []string{"other"}, Allowance: one},
	}
	r.tables.Models[1].Allowance = one
	var reserved string
	r.cfg.Budgets = budgetsFunc(func(q budget.Request) (proxy.BudgetHold, error) {
		reserved = levelsOf(q.Levels)
		r.money.taken++
		return &r.money, nil
	})
	r.cfg.Router = r.router.Router // plans for real
	var further []string
	r.money.extend = func(levels []resource.Level) error {
		further = append(further, levelsOf(levels))
		return nil
	}
	r.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
		if a.Model != "other" {
			return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Message: "down"}
		}
		return wholeAnswer(), nil
	}
	w := r.do("POST", chatPath, with(`"fallbacks":["other"],"num_retries":0`))
	if w.Code != 200 || reserved != "key/key_good model/model_demo access_group/ag_both access_group/ag_first" {
		t.Errorf("got %d %s, reserved %s", w.Code, w.Body, reserved)
	}
	if want := "model/model_other access_group/ag_then"; len(further) == 0 || !strings.HasPrefix(further[len(further)-1], want) {
		t.Errorf("the fallback reserved %q, want %s and its deployment", further, want)
	}
}

// What a key may spend of one model, and how often it may ask it, counts what answers in the place of another, too.
func TestFallback_ModelBudget(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		limit   resource.Money // of the key's budget for the fallback
		calls   int64          // of its limit
		status  int
		charged string
	}{
		{"room", 10 * resource.Dollar, 1, 200, "key/key_good/model_demo key/key_good/model_other"},
		{"its budget is spent", 1, 1, 429, ""},
		{"its limit is reached", 10 * resource.Dollar, 0, 429, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			k := r.keys[resource.HashSecret(goodKey)]
			k.Budgets = []resource.Terms{
				{Name: "model_demo", USD: 10 * resource.Dollar, Models: []string{"demo"}},
				{Name: "model_other", USD: tt.limit, Models: []string{"other"}},
				{Name: "model_third", USD: 1, Models: []string{"third"}},
			}
			k.ModelLimits = map[string]resource.Limits{"other": {RPM: &tt.calls}}
			r.tables.Deployments[2].Price = r.tables.Deployments[0].Price
			b := budget.New(budget.Config{})
			b.SetEpoch(1)
			for i := range k.Budgets {
				u := k.Budgets[i].USD
				b.Leases(uint64(i+1), []budget.Lease{{Account: resource.Account("key", k.ID, k.Budgets[i].Name), Epoch: 1, Granted: u, Limit: u}})
			}
			r.cfg.Budgets, r.cfg.Limits, r.cfg.Router = proxy.FromBudgets(b), proxy.FromLimiter(ratelimit.New(ratelimit.Config{})), r.router.Router
			r.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
				if a.Model != "other" {
					return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Message: "down"}
				}
				return wholeAnswer(), nil
			}
			w := r.do("POST", chatPath, with(`"fallbacks":["other"],"num_retries":0`))
			var charged []string
			for _, c := range r.journal.settled[0].Charges {
				charged = append(charged, string(c.Account))
			}
			if got := strings.Join(charged, " "); w.Code != tt.status || got != tt.charged {
				t.Errorf("got %d %s, charged %q, want %d, %q", w.Code, w.Body, got, tt.status, tt.charged)
			}
		})
	}
}

// A deployment whose own limit or budget is used up is passed over; the next one answers.
func TestDeploymentLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		full   string // deployments without room
		status int
		by     string
	}{
		{"room", "", 200, "dep_1"},
		{"the first is full", "dep_1", 200, "dep_2"},
		{"all are full", "dep_1 dep_2", 429, ""},
	} {
		for _, what := range []string{"limit", "budget"} {
			t.Run(tt.name+"/"+what, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				rpm := int64(1)
				for _, d := range r.tables.Deployments {
					d.Limits.RPM = &rpm
				}
				extra := hold{}
				full := func(levels []resource.Level) bool {
					v := levels[len(levels)-1]
					return v.Kind == resource.HolderDeployment && strings.Contains(tt.full, v.ID)
				}
				r.cfg.Limits = limiterFunc(func(q *ratelimit.Request) (proxy.LimitHold, error) {
					switch {
					case what == "limit" && full(q.Levels):
						return nil, &llm.Error{Kind: llm.RateLimited, RetryAfter: time.Second, Scope: "deployment", Message: "full"}
					case q.Levels[0].Kind == resource.HolderDeployment:
						extra.taken++
						return &extra, nil
					}
					r.limit.taken++
					return &r.limit, nil
				})
				r.money.extend = func(levels []resource.Level) error {
					if what == "budget" && full(levels) {
						return &llm.Error{Kind: llm.OverBudget, Scope: "deployment", Message: "spent"}
					}
					return nil
				}
				w := r.do("POST", chatPath, chatBody)
				if w.Code != tt.status || w.Header().Get("X-Conclave-Model-Id") != tt.by {
					t.Errorf("got %d by %q %s", w.Code, w.Header().Get("X-Conclave-Model-Id"), w.Body)
				}
				if extra.taken != extra.released || extra.settled != r.router.began {
					t.Errorf("left held: %+v after %d attempts", extra, r.router.began)
				}
				if r.journal.amended != r.router.began {
					t.Errorf("the journal was told of %d changes before %d attempts", r.journal.amended, r.router.began)
				}
				r.checkBalance()
			})
		}
	}
}

// A guardrail that only some keys have judges their requests, whether they ask for it or not.
func TestGuardrailOfLevel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		set    func(*rig, *http.Request)
		status int
	}{
		{"not the key's", keyPolicy(func(_, _ *resource.Policy) {}), 200},
		{"the key's", keyPolicy(func(key, _ *resource.Policy) { key.Guardrails = []string{"words"} }), 400},
		{"the team's", keyPolicy(func(_, team *resource.Policy) { team.Guardrails = []string{"words"} }), 400},
		{"the end user's", endUser(&resource.Customer{Meta: resource.Meta{ID: "carol"}, Policy: resource.Policy{Guardrails: []string{"words"}}}), 400},
		{"one that is gone", keyPolicy(func(key, _ *resource.Policy) { key.Guardrails = []string{"gone"} }), 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			m := &guardrail.Member{Name: "words", Hooks: []resource.Hook{resource.HookBefore}, Optional: true}
			m.Set(&guardrail.Live{Backend: &judge{check: func(*guardrail.Check) guardrail.Verdict {
				return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
			}}, Description: guardrail.Description{Hooks: m.Hooks}})
			r.cfg.Guardrails = guardrail.NewChain(nil, nil)
			r.cfg.Guardrails.Replace([]*guardrail.Member{m})
			if w := r.do("POST", chatPath, chatBody, func(q *http.Request) { tt.set(r, q) }); w.Code != tt.status {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
		})
	}
}

// A request adds a guardrail by LiteLLM's metadata.permissions, and takes none away.
func TestGuardrailPermissions(t *testing.T) {
	t.Parallel()
	fixed := func(key, _ *resource.Policy) { key.Metadata = []byte(`{"guardrails":{"modify_guardrails":false}}`) }
	for _, tt := range []struct {
		name, permissions string
		set               func(key, team *resource.Policy)
		status            int
	}{
		{"none", `{}`, func(_, _ *resource.Policy) {}, 200},
		{"one", `{"words":true}`, func(_, _ *resource.Policy) {}, 400},
		{"not this one", `{"words":false}`, func(_, _ *resource.Policy) {}, 200},
		{"one that there is not", `{"gone":true}`, func(_, _ *resource.Policy) {}, 200},
		{"the key's", `{"words":false}`, func(key, _ *resource.Policy) { key.Guardrails = []string{"words"} }, 400},
		{"one that may not be chosen", `{"words":true}`, fixed, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			m := &guardrail.Member{Name: "words", Hooks: []resource.Hook{resource.HookBefore}, Optional: true}
			m.Set(&guardrail.Live{Backend: &judge{check: func(*guardrail.Check) guardrail.Verdict {
				return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
			}}, Description: guardrail.Description{Hooks: m.Hooks}})
			r.cfg.Guardrails = guardrail.NewChain(nil, nil)
			r.cfg.Guardrails.Replace([]*guardrail.Member{m})
			body := strings.Replace(chatBody, "{", `{"metadata":{"permissions":`+tt.permissions+`},`, 1)
			if w := r.do("POST", chatPath, body, func(q *http.Request) { keyPolicy(tt.set)(r, q) }); w.Code != tt.status {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
		})
	}
}

// What must not be kept is marked, and a blocked end user's content is nowhere.
func TestPrivate(t *testing.T) {
	t.Parallel()
	no := false
	for _, tt := range []struct {
		name string
		set  func(*rig, *http.Request)
		want bool
	}{
		{"nothing said", func(*rig, *http.Request) {}, false},
		{"the key's", keyPolicy(func(key, _ *resource.Policy) { key.LogContent = &no }), true},
		{"the end user's", endUser(&resource.Customer{Meta: resource.Meta{ID: "carol"}, Policy: resource.Policy{LogContent: &no}}), true},
		{"blocked end user", both(settingOf("blocked_user_list", `["mallory"]`), func(_ *rig, q *http.Request) { q.Header.Set(mallory, "mallory") }), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var log bytes.Buffer
			r.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			r.do("POST", chatPath, strings.Replace(chatBody, `"messages":[`, `"messages":[{"role":"user","content":"canary"},`, 1), func(q *http.Request) { tt.set(r, q) })
			rec := r.journal.settled[0]
			if got := rec.Flags.Has(ledger.Private); got != tt.want {
				t.Errorf("private: %v, want %v", got, tt.want)
			}
			all, _ := json.Marshal(rec)
			if strings.Contains(string(all)+log.String(), "canary") {
				t.Errorf("the prompt was kept: %s %s", all, log.String())
			}
		})
	}
}

// The time at a deployment is told to budgets of GPU time.
func TestGPUTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := time.Unix(1_700_000_000, 0)
	r.cfg.Now = func() time.Time { return now }
	half := *r.tables.Deployments[0].Price
	half.GPUs = resource.Dollar / 2
	r.tables.Deployments[0].Price = &half
	r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
		now = now.Add(3 * time.Second)
		return wholeAnswer(), nil
	}
	if w := r.do("POST", chatPath, chatBody); w.Code != 200 || r.money.took.GPU != resource.Money(1500*time.Millisecond) {
		t.Errorf("got %d, %d GPU-nanoseconds", w.Code, r.money.took.GPU)
	}
}

// A request that a deployment cannot even be asked takes none of its time.
func TestGPUTime_NotAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	price := *r.tables.Deployments[0].Price
	price.GPUs = resource.Dollar
	r.tables.Deployments = r.tables.Deployments[:1]
	r.tables.Deployments[0].Provider, r.tables.Deployments[0].Price = "anthropic", &price
	body := `{"model":"demo","messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}}]}]}`
	w := r.do("POST", chatPath, body)
	if w.Code != 400 || codeOf(t, w.Body.String()) != llm.CodeUnsayable || r.money.took.GPU != 0 {
		t.Errorf("got %d %s, %d GPU-nanoseconds", w.Code, w.Body, r.money.took.GPU)
	}
	r.checkBalance()
}

// TestRefused_Names checks that a client whose requests are refused cannot make names that
// totals are kept for.
func TestRefused_Names(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.tables.Tags = []*resource.Tag{{Meta: resource.Meta{ID: "batch"}}}
	r.cfg.Customers = customers{"alice": {Meta: resource.Meta{ID: "alice"}}}
	r.cfg.Limits = limiterFunc(func(*ratelimit.Request) (proxy.LimitHold, error) {
		return nil, &llm.Error{Kind: llm.RateLimited, Message: "no"}
	})
	for _, tt := range []struct {
		name, body, model, customer string
		tags                        []string
	}{
		{"unknown model", strings.Replace(with(`"user":"bob"`), `"demo"`, `"invented"`, 1), "", "", nil},
		{"unknown names", with(`"user":"bob","metadata":{"tags":["invented"]}`), "demo", "", nil},
		{"known names", with(`"user":"alice","metadata":{"tags":["invented","batch"]}`), "demo", "alice", []string{"batch"}},
	} {
		if w := r.do("POST", chatPath, tt.body); w.Code < 400 {
			t.Fatalf("%s: got %d", tt.name, w.Code)
		}
		rec := r.journal.settled[len(r.journal.settled)-1]
		if rec.Model != tt.model || rec.CustomerID != tt.customer || !slices.Equal(rec.Tags, tt.tags) {
			t.Errorf("%s: model %q, customer %q, tags %v", tt.name, rec.Model, rec.CustomerID, rec.Tags)
		}
	}
}

// TestNames_Foreign counts requests for the end user whom a header in Latin-1 names, and refuses names that nothing
// can be counted for.
func TestNames_Foreign(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if w := r.do("POST", chatPath, chatBody, header("X-Litellm-End-User-Id", "Jos\xe9"), header("X-Litellm-Tags", "\xff")); w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if rec := r.journal.settled[0]; rec.CustomerID != "José" || !slices.Equal(rec.Tags, []string{"ÿ"}) {
		t.Errorf("counted for %q and %q", rec.CustomerID, rec.Tags)
	}
	for _, member := range []string{`"user":"`, `"safety_identifier":"`, `"tags":["a","`} {
		body := with(member + strings.Repeat("x", 1<<20) + `"`)
		if strings.Contains(member, "[") {
			body = with(member + strings.Repeat("x", 1<<20) + `"]`)
		}
		if w := r.do("POST", chatPath, body); w.Code != 400 || !strings.Contains(w.Body.String(), `"invalid_value"`) {
			t.Errorf("%s: got %d %s", member, w.Code, w.Body)
		}
	}
	if rec := r.journal.settled[1]; rec.CustomerID != "" || len(rec.User) > 512 {
		t.Errorf("refused, and counted for %.20q of %.20q", rec.CustomerID, rec.User)
	}
}
