// Package servicetest puts guardrails that ask a service through what services and networks do to them.
package servicetest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Key is the key that configurations under test have.
const Key = "key-that-nobody-may-quote"

// Canary stands in every text that is judged.
const Canary = "canary-text"

// Case is a guardrail and a service as it should be.
type Case struct {
	Make   func() sdk.Guardrail
	Config func(base string) string // with Key
	// Serve is the service; it passes a text that holds Canary.
	Serve http.HandlerFunc
	Lists bool       // its answers are lists, of which an empty one is a verdict
	Keyed bool       // the service must get the key
	Hooks []sdk.Hook // that are asked; default: before and after
	Empty []string   // answers of status 200 that are no verdict, beside {} and what is not JSON
}

// Start serves the handler and returns its address.
func Start(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// Configured makes the guardrail with a configuration.
func Configured[G sdk.Guardrail](t *testing.T, g G, config string) G {
	t.Helper()
	if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Name: "test", Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	return g
}

// Check is a check of texts, each of a user's, or of an answer.
func Check(hook sdk.Hook, texts ...string) *sdk.Check {
	c := &sdk.Check{Hook: hook, Info: sdk.Info{RequestID: "r-1", Endpoint: "chat", Model: "m", KeyID: "k", TeamID: "t", User: "u"}}
	for i, s := range texts {
		x := sdk.Text{Path: fmt.Sprintf("messages.%d.content", i), Role: "user", Text: s}
		if hook == sdk.After {
			x.Path, x.Role = fmt.Sprintf("choices#%d.message.content", i), "assistant"
		}
		c.Texts = append(c.Texts, x)
	}
	return c
}

// Read reads a request's body, in which nothing may stand that into does not know.
func Read(t testing.TB, r *http.Request, into any) {
	t.Helper()
	raw, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(raw, into, json.RejectUnknownMembers(true))
	}
	if err != nil {
		t.Errorf("%s %s: %v in %s", r.Method, r.URL, err, raw)
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %s of %s", r.Method, r.Header.Get("Content-Type"))
	}
}

// Run runs the checks.
func Run(t *testing.T, c Case) {
	t.Run("a good service", func(t *testing.T) { c.good(t) })
	t.Run("an answer that is none", func(t *testing.T) {
		all := append([]string{"{}", "null", "<html>" + Canary, ""}, c.Empty...)
		if !c.Lists {
			all = append(all, "[]")
		}
		for _, answer := range all {
			c.fails(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }, "answer "+answer)
		}
	})
	t.Run("a bad status", func(t *testing.T) {
		for _, status := range []int{204, 301, 400, 401, 404, 429, 500, 503} {
			c.fails(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
				w.WriteHeader(status)
				if status != 204 {
					_, _ = io.WriteString(w, "about "+Canary+" and "+Key)
				}
			}, fmt.Sprint(status))
		}
	})
	t.Run("one failure is tried again", func(t *testing.T) {
		var n atomic.Int64
		g := Configured(t, c.Make(), c.Config(Start(t, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) == 1 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			c.Serve(w, r)
		})))
		if v, err := g.Check(t.Context(), Check(sdk.Before, Canary)); err != nil || v.Action != guardrail.Pass || n.Load() < 2 {
			t.Errorf("got %v, %v after %d requests", v.Action, err, n.Load())
		}
	})
	t.Run("a service that hangs", func(t *testing.T) { c.hangs(t) })
	t.Run("no service", func(t *testing.T) {
		g := Configured(t, c.Make(), c.Config("http://127.0.0.1:1"))
		c.refused(t, g, "no service")
	})
	t.Run("bad configurations", func(t *testing.T) {
		for _, base := range []string{"", "ftp://host", "host", "http://h?q=1"} {
			if _, err := c.Make().Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(c.Config(base))}); err == nil || !strings.Contains(err.Error(), "api_base") {
				t.Errorf("api_base %q: got %v", base, err)
			}
		}
		if _, err := c.Make().Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"api_base":"http://h","never_heard":1}`)}); err == nil || !strings.Contains(err.Error(), "never_heard") {
			t.Errorf("an unknown field: got %v", err)
		}
	})
}

func (c *Case) good(t *testing.T) {
	var keyed atomic.Bool
	g := Configured(t, c.Make(), c.Config(Start(t, func(w http.ResponseWriter, r *http.Request) {
		for _, values := range r.Header {
			keyed.Store(keyed.Load() || strings.Contains(strings.Join(values, " "), Key))
		}
		keyed.Store(keyed.Load() || strings.Contains(r.URL.RawQuery, Key))
		c.Serve(w, r)
	})))
	v, err := g.Check(t.Context(), Check(sdk.Before, "hello", Canary))
	if err != nil || v.Action != guardrail.Pass {
		t.Errorf("got %v, %v", v.Action, err)
	}
	if c.Keyed && !keyed.Load() {
		t.Error("the service did not get its key")
	}
	if v, err := g.Check(t.Context(), &sdk.Check{Hook: sdk.Before}); err != nil || v.Action != guardrail.Pass {
		t.Errorf("without texts: got %v, %v", v.Action, err)
	}
}

func (c *Case) fails(t *testing.T, h http.HandlerFunc, what string) {
	t.Helper()
	c.refused(t, Configured(t, c.Make(), c.Config(Start(t, h))), what)
}

// refused sees that a check was not made, and that its error quotes nothing.
func (c *Case) refused(t *testing.T, g sdk.Guardrail, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	hooks := c.Hooks
	if hooks == nil {
		hooks = []sdk.Hook{sdk.Before, sdk.After}
	}
	for _, hook := range hooks {
		v, err := g.Check(ctx, Check(hook, Canary))
		if err == nil || strings.Contains(err.Error(), Canary) || strings.Contains(err.Error(), Key) {
			t.Errorf("%s, %s: got %v, %v, want an error that quotes nothing", what, hook, v.Action, err)
		}
	}
}

func (c *Case) hangs(t *testing.T) {
	stop := make(chan struct{})
	g := Configured(t, c.Make(), c.Config(Start(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client leaves
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	})))
	defer close(stop)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := g.Check(ctx, Check(sdk.Before, Canary)); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}
