package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// configured is a gateway with pass-through endpoints, and a target that says what it was asked.
type configured struct {
	*rig
	front http.Handler
	asked []string
	last  http.Header
}

func newConfigured(t *testing.T, change func(*rig, *resource.PassThroughEndpoint)) *configured {
	c := &configured{rig: newRig(t)}
	up := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		c.asked, c.last = append(c.asked, q.Method+" "+q.URL.RequestURI()+" "+string(body)), q.Header
		if q.URL.Path == "/s/fail" {
			rw.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(rw, `{"tea":true}`)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		if q.URL.Path == "/s/large" {
			_, _ = io.WriteString(rw, `{"pad":"`+strings.Repeat("x", 1<<20)+`"}`)
			return
		}
		_, _ = io.WriteString(rw, `{"found":1,"usage":{"prompt_tokens":9,"completion_tokens":9}}`)
	}))
	t.Cleanup(up.Close)
	e := &resource.PassThroughEndpoint{
		Meta: resource.Meta{ID: "pt_1"}, Name: "search", Path: "/tools/search", Target: up.URL + "/s/", IncludeSubpath: true, CostPerRequest: resource.Dollar / 4,
		Headers: map[string]string{"X-Mine": "yes"}, Secrets: map[string]*resource.Sealed{"header.Authorization": {}}, Query: map[string]string{"a": "default", "b": "2"},
	}
	taken := &resource.PassThroughEndpoint{Meta: resource.Meta{ID: "pt_2"}, Name: "taken", Path: "/v1/chat/completions", Target: up.URL}
	closer := &resource.PassThroughEndpoint{Meta: resource.Meta{ID: "pt_3"}, Name: "closer", Path: "/tools/search/deep", Target: up.URL + "/deep", Methods: []string{"GET"}}
	if change != nil {
		change(c.rig, e)
	}
	for _, x := range []*resource.PassThroughEndpoint{e, taken, closer} {
		x.Canonicalize()
		if err := x.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	c.tables.PassThrough = []*resource.PassThroughEndpoint{e, taken, closer}
	client := upstream.New(upstream.Config{})
	t.Cleanup(client.Close)
	c.cfg.Upstream = proxy.FromClient(client)
	mux := http.NewServeMux()
	s := c.server()
	s.Mount(mux)
	c.front = s.Over(mux)
	return c
}

func (c *configured) call(method, path, body string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+goodKey)
	for _, edit := range edits {
		edit(req)
	}
	w := httptest.NewRecorder()
	c.front.ServeHTTP(w, req)
	return w
}

func TestConfigured(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, path, body, want string
		status                         int
	}{
		{"itself", "POST", "/tools/search?a=1", `{"q":"x","tags":["kept"]}`, `POST /s?a=1&b=2 {"q":"x","tags":["kept"]}`, 200},
		{"below it", "GET", "/tools/search/one/t%2Fwo", "", "GET /s/one/t%2Fwo?a=default&b=2 ", 200},
		{"the closer one", "GET", "/tools/search/deep", "", "GET /deep ", 200},
		{"a method that it does not take", "POST", "/tools/search/deep", "{}", "", 405},
		{"a method that nobody takes", "TRACE", "/tools/search", "", "", 405},
		{"out of it", "GET", "/tools/search/%2e%2e/admin", "", "", 400},
		{"beside it", "GET", "/tools/searching", "", "", 404},
		{"what is served already", "POST", "/v1/chat/completions", "{}", "", 400},
		{"its error", "GET", "/tools/search/fail", "", "GET /s/fail?a=default&b=2 ", 418},
		{"neither JSON nor a form", "POST", "/tools/search", "plain", "", 415},
	} {
		c := newConfigured(t, nil)
		w := c.call(tt.method, tt.path, tt.body, func(r *http.Request) {
			if tt.status == 415 {
				r.Header.Set("Content-Type", "text/plain")
			}
		})
		if got := strings.Join(c.asked, "|"); w.Code != tt.status || got != tt.want {
			t.Errorf("%s: got %d %s, asked %q, want %d, %q", tt.name, w.Code, w.Body, got, tt.status, tt.want)
		}
		if tt.status != 200 || strings.HasSuffix(tt.path, "deep") {
			continue
		}
		if r := c.journal.settled; len(r) != 1 || r[0].Cost != resource.Dollar/4 || r[0].KeyID != "key_good" || r[0].Model != "pass_through/tools/search" {
			t.Errorf("%s: recorded %+v", tt.name, r)
		}
		if c.last.Get("Authorization") != "sk-provider" || c.last.Get("X-Mine") != "yes" {
			t.Errorf("%s: sent %v", tt.name, c.last)
		}
	}
}

// Every policy of other routes holds here.
func TestConfigured_policies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*rig, *resource.PassThroughEndpoint)
		edit   func(*http.Request)
		status int
	}{
		"no key":      {edit: func(q *http.Request) { q.Header.Del("Authorization") }, status: 401},
		"blocked key": {edit: header("Authorization", "Bearer "+blockedKey), status: 401},
		"a key for other endpoints": {change: func(r *rig, _ *resource.PassThroughEndpoint) {
			r.keys[resource.HashSecret(goodKey)].PassThrough = []string{"/tools/other"}
		}, status: 403},
		"a key for other routes": {change: func(r *rig, _ *resource.PassThroughEndpoint) {
			r.keys[resource.HashSecret(goodKey)].Routes = []string{"/v1/other"}
		}, status: 403},
		"over limit": {change: func(r *rig, _ *resource.PassThroughEndpoint) {
			r.cfg.Limits = limiterFunc(func(*ratelimit.Request) (proxy.LimitHold, error) {
				return nil, &llm.Error{Kind: llm.RateLimited, RetryAfter: time.Second}
			})
		}, status: 429},
		"over budget": {change: func(r *rig, _ *resource.PassThroughEndpoint) {
			r.cfg.Budgets = budgetsFunc(func(q budget.Request) (proxy.BudgetHold, error) {
				if q.Free || q.Most.Cost < resource.Dollar/4 {
					return nil, errBoom
				}
				return nil, &llm.Error{Kind: llm.OverBudget}
			})
		}, status: 429},
		"guardrail": {change: func(r *rig, _ *resource.PassThroughEndpoint) {
			r.guard(&judge{check: func(*guardrail.Check) guardrail.Verdict {
				return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
			}}, resource.HookBefore)
		}, status: 400},
		"disabled":    {change: func(_ *rig, e *resource.PassThroughEndpoint) { e.Disabled = true }, status: 404},
		"no journal":  {change: func(r *rig, _ *resource.PassThroughEndpoint) { r.journal.fail = errBoom }, status: 503},
		"stale":       {change: func(r *rig, _ *resource.PassThroughEndpoint) { r.cfg.Serving = func() error { return errBoom } }, status: 503},
		"too large":   {change: func(r *rig, _ *resource.PassThroughEndpoint) { settingOf("max_body_bytes", "1024")(r, nil) }, status: 413},
		"an upstream": {edit: func(q *http.Request) { q.Body = io.NopCloser(strings.NewReader(`{"api_base":"http://x"}`)) }, status: 400},
	} {
		c := newConfigured(t, tt.change)
		body := `{"q":"x"}`
		if tt.status == 413 {
			body = `{"q":"` + strings.Repeat("x", 2048) + `"}`
		}
		w := c.call("POST", "/tools/search", body, func(q *http.Request) {
			if tt.edit != nil {
				tt.edit(q)
				q.ContentLength = -1
			}
		})
		if w.Code != tt.status || len(c.asked) > 0 {
			t.Errorf("%s: got %d %s, asked %v", name, w.Code, w.Body, c.asked)
		}
	}
}

// What an answer has cost is charged, also where the client does not get it.
func TestConfigured_tooLarge(t *testing.T) {
	t.Parallel()
	c := newConfigured(t, func(r *rig, _ *resource.PassThroughEndpoint) { settingOf("max_response_size_mb", "1")(r, nil) })
	w := c.call("GET", "/tools/search/large", "")
	if r := c.journal.settled; w.Code != 502 || codeOf(t, w.Body.String()) != "response_too_large" || len(r) != 1 || r[0].Cost != resource.Dollar/4 {
		t.Errorf("got %d %.200s, recorded %+v", w.Code, w.Body, r)
	}
}

// Who opens an endpoint to everybody gives them that endpoint, and nothing else.
func TestConfigured_noAuth(t *testing.T) {
	t.Parallel()
	c := newConfigured(t, func(_ *rig, e *resource.PassThroughEndpoint) { e.NoAuth, e.ForwardHeaders = true, true })
	w := c.call("POST", "/tools/search", `{}`, func(q *http.Request) {
		q.Header.Set("Authorization", "Bearer anything")
		q.Header.Set("X-Other", "kept")
		q.Header.Set("Cookie", "c=1")
		q.Header.Set("X-Api-Key", "theirs")
	})
	if w.Code != 200 || len(c.journal.settled) != 1 || c.journal.settled[0].KeyID != "" || c.journal.settled[0].Cost != resource.Dollar/4 {
		t.Errorf("got %d %s, %+v", w.Code, w.Body, c.journal.settled)
	}
	if c.last.Get("Authorization") != "sk-provider" || c.last.Get("X-Other") != "kept" || c.last.Get("Cookie")+c.last.Get("X-Api-Key") != "" {
		t.Errorf("sent %v", c.last)
	}
	if w := c.call("GET", "/v1/models", "", func(q *http.Request) { q.Header.Del("Authorization") }); w.Code != 401 {
		t.Errorf("models without a key: got %d", w.Code)
	}
}
