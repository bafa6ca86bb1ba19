package proxy_test

import (
	"context"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

func wildRig(t *testing.T) *rig {
	r := newRig(t)
	r.keys[resource.HashSecret(goodKey)].Models = []string{"openai/*"}
	r.tables.Models = append(r.tables.Models, &resource.Model{Meta: resource.Meta{ID: "model_any"}, Name: "*"}, &resource.Model{Meta: resource.Meta{ID: "model_wild"}, Name: "openai/*"})
	r.tables.Deployments = append(
		r.tables.Deployments,
		&resource.Deployment{Meta: resource.Meta{ID: "dep_any"}, ModelID: "model_any", Provider: "groq", Upstream: "*"},
		&resource.Deployment{Meta: resource.Meta{ID: "dep_wild"}, ModelID: "model_wild", Provider: "openai", Upstream: "*"},
	)
	r.cfg.Router = r.router.Router // that knows what a pattern makes of a deployment
	return r
}

func TestWildcard(t *testing.T) {
	t.Parallel()
	r := wildRig(t)
	sent := ""
	next := r.upstream
	r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
		sent = string(a.Body)
		return next(ctx, a)
	}
	w := r.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "demo", "openai/gpt-4o-mini", 1))
	if w.Code != 200 || !strings.Contains(sent, `"model":"gpt-4o-mini"`) {
		t.Fatalf("got %d %s, sent %s", w.Code, w.Body, sent)
	}
	if rec := r.journal.settled[0]; rec.Model != "openai/gpt-4o-mini" || rec.DeploymentID != "dep_wild" {
		t.Errorf("recorded %q of %q", rec.Model, rec.DeploymentID)
	}
	if w := r.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "demo", "openai/*", 1)); w.Code != 404 || codeOf(t, w.Body.String()) != "model_not_found" {
		t.Errorf("the pattern itself: got %d %s, want 404", w.Code, w.Body)
	}
	if w := r.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "demo", "groq/llama", 1)); w.Code != 403 {
		t.Errorf("a name that only * covers: got %d %s, want 403", w.Code, w.Body)
	}
	if w := r.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "demo", "demo", 1)); w.Code != 403 {
		t.Errorf("a model that is not in the key's list: got %d, want 403", w.Code)
	}
}

func TestWildcard_List(t *testing.T) {
	t.Parallel()
	r := wildRig(t)
	list := r.do("GET", "/v1/models", "").Body.String()
	if !strings.Contains(list, `"openai/gpt-4o-mini"`) || strings.Contains(list, `*`) || strings.Contains(list, "groq/") || strings.Contains(list, `"demo"`) {
		t.Errorf("got %s", list)
	}
	if list := r.do("GET", "/v1/models?return_wildcard_routes=true", "").Body.String(); !strings.Contains(list, `"openai/*"`) || strings.Contains(list, `"*"`) {
		t.Errorf("asked for patterns, got %s", list)
	}
	if w := r.do("GET", "/v1/models/openai/gpt-4o", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"openai/gpt-4o"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
