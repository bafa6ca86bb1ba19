//go:build e2e

package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/resource"
)

// buildFrozen builds the plugins of an SDK of the past, offline, and returns their folder.
func buildFrozen(t *testing.T, minor int) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(fmt.Sprintf("testdata/sdk-1.%d", minor))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/", "./cmd/...")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOPROXY=off", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// one is the spec of a plugin that lies at path.
func one(t *testing.T, kind plugins.Kind, path, config string) plugins.Spec {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	return plugins.Spec{
		Kind: kind, ID: "x_" + string(kind), Name: "old", Plugin: "old", Config: []byte(config), Path: path, SHA256: hex.EncodeToString(sum[:]),
		OnError: resource.OnErrorBlock, Deadline: 5 * time.Second, May: guardrail.MayAnswer,
	}
}

// records is a journal of ten records.
type records struct{}

func (records) Read(_ *callback.Subscription, from uint64, limit int) ([]callback.Record, uint64, error) {
	var out []callback.Record
	for at := max(from, 1); at <= 10 && len(out) < limit; at++ {
		out = append(out, callback.Record{Position: at, Model: "demo", StartedAt: time.Unix(1, 0), Usage: llm.Usage{Output: 7}})
		from = at + 1
	}
	return out, from, nil
}

// TestFrozen runs plugins that were built against each of the last five minors of the SDK in
// the host of today: what they could then, they can now.
func TestFrozen(t *testing.T) {
	for minor := contract.Minor - 5; minor < contract.Minor; minor++ {
		t.Run(fmt.Sprintf("1.%d", minor), func(t *testing.T) {
			t.Parallel()
			dir := buildFrozen(t, minor)
			out := filepath.Join(t.TempDir(), "sink.txt")
			sources := sourceCache(t)
			auths, filters, providers := auth.NewGate(auth.GateConfig{}), routerfilter.NewGate(nil), &modelserver.Gate{}
			h := plugins.NewHost(plugins.Config{
				Dir: t.TempDir(), Source: records{}, Sources: sources, Auths: auths, Filters: filters, Providers: providers,
			})
			t.Cleanup(h.Close)
			specs := []plugins.Spec{
				one(t, plugins.KindGuardrail, filepath.Join(dir, "guard"), `"forbidden"`),
				one(t, plugins.KindCallback, filepath.Join(dir, "sink"), fmt.Sprintf("%q", out)),
			}
			if minor >= contract.MinorSources {
				specs = append(specs, one(t, plugins.KindSource, filepath.Join(dir, "source"), `"sk-1"`))
			}
			if minor >= contract.MinorHooks {
				specs = append(specs,
					one(t, plugins.KindAuth, filepath.Join(dir, "idp"), `"sk-2"`), one(t, plugins.KindFilter, filepath.Join(dir, "filter"), `"openai"`))
			}
			if minor >= contract.MinorProviders {
				specs = append(specs, one(t, plugins.KindProvider, filepath.Join(dir, "house"), `{"says":"hello"}`))
			}
			if err := h.Sync(specs); err != nil {
				t.Fatal(err)
			}
			await(t, "all run", func() bool {
				up := 0
				for _, s := range h.Status() {
					if s.State == plugins.StateRunning && s.SDK == contract.Name(told(minor)) && s.Version == fmt.Sprintf("1.%d.0", minor) {
						up++
					}
				}
				return up == len(specs)
			})
			judged(t, h, minor)
			if minor >= contract.MinorSources {
				if text, err := sources.Resolve(t.Context(), "secret://old/it#x"); err != nil || text.Reveal() != "sk-1" {
					t.Errorf("secret: got %v, %v", text, err)
				}
			}
			if minor >= contract.MinorHooks {
				letIn(t, auths)
				chosen(t, filters)
			}
			if minor >= contract.MinorProviders {
				served(t, providers)
				answered(t, h)
			}
			if minor >= contract.MinorBodies {
				answeredWithBody(t, h)
			}
			await(t, "every record is in the sink", func() bool {
				text, _ := os.ReadFile(out)
				return strings.Contains(string(text), "record 10 demo 7\n")
			})
			n, err := h.DeliverAudit(t.Context(), "old", []resource.AuditEntry{{Number: 41}})
			if minor >= contract.MinorAudit && (n != 1 || err != nil) {
				t.Errorf("audit entries: %d, %v", n, err)
			}
			if minor < contract.MinorAudit && err == nil {
				t.Error("a plugin from before audit entries takes one")
			}
		})
	}
}

// letIn asks the auth plugin "old".
func letIn(t *testing.T, gate *auth.Gate) {
	t.Helper()
	record := &resource.Auth{Meta: resource.Meta{ID: "x_auth"}, Name: "old", PluginUse: resource.PluginUse{DeadlineMS: 5000}}
	a, err := gate.Ask(t.Context(), record, &auth.Request{Secret: "sk-2", Header: http.Header{}})
	if err != nil || a.Identity == nil || a.Identity.UserID != "alice" {
		t.Errorf("a credential: got %+v, %v", a, err)
	}
}

// chosen asks the router filter "old".
func chosen(t *testing.T, gate *routerfilter.Gate) {
	t.Helper()
	record := &resource.RouterFilter{Name: "old", PluginUse: resource.PluginUse{DeadlineMS: 5000}}
	got, err := gate.Filter(t.Context(), record, &routerfilter.Route{Model: "demo", Candidates: []routerfilter.Candidate{{Provider: "azure"}, {Provider: "openai"}}})
	if err != nil || len(got) != 1 || got[0] != 1 {
		t.Errorf("candidates: got %v, %v", got, err)
	}
}

// served asks the provider "old".
func served(t *testing.T, gate *modelserver.Gate) {
	t.Helper()
	res, err := gate.RoundTrip(t.Context(), "old", &modelserver.Question{Endpoint: llm.Chat, Request: modelserver.Request{ID: "r", Model: "m", Body: []byte(`{}`)}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), `"content":"hello"`) {
		t.Errorf("a chat: got %d %s, %v", res.StatusCode, body, err)
	}
}

// answered has the guardrail answer in the place of a model, with a text: what one before answers with bodies has.
func answered(t *testing.T, h *plugins.Host) {
	t.Helper()
	q := &guardrail.Request{
		Info: guardrail.Info{Endpoint: "chat", Model: "demo"}, Body: []byte(`{"messages":[{"role":"user","content":"answer me"}]}`),
		Open: guardrail.MayAnswer,
	}
	d, err := h.Guardrails().For("demo", guardrail.Choice{}).Before(t.Context(), q)
	if err != nil || d.Action != guardrail.Answer || d.Reply.Text != "an answer" || d.Reply.Body != nil {
		t.Errorf("an answer: %+v, %v", d, err)
	}
}

// answeredWithBody has the guardrail answer with a body.
func answeredWithBody(t *testing.T, h *plugins.Host) {
	t.Helper()
	q := &guardrail.Request{
		Info: guardrail.Info{Endpoint: "chat", Model: "demo"}, Body: []byte(`{"messages":[{"role":"user","content":"answer me with a body"}]}`),
		Open: guardrail.MayAnswer,
	}
	d, err := h.Guardrails().For("demo", guardrail.Choice{}).Before(t.Context(), q)
	if err != nil || d.Action != guardrail.Answer || string(d.Reply.Body) != `{"choices":[]}` {
		t.Errorf("an answer with a body: %+v, %v", d, err)
	}
}

// sourceCache holds what the secret source "old" reads.
func sourceCache(t *testing.T) *secretsource.Cache {
	t.Helper()
	record := &resource.SecretSource{Meta: resource.Meta{ID: "src_1"}, Name: "old", RefreshSeconds: 300, MaxStaleSeconds: 3600}
	c := secretsource.NewCache(secretsource.CacheConfig{Source: func(string) (*resource.SecretSource, bool) { return record, true }})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		c.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return c
}

// told is the minor that a plugin tells its host, 0 from before it did.
func told(minor int) uint32 {
	if minor < contract.MinorTold {
		return 0
	}
	return uint32(minor)
}

// judged asks the guardrail at all hooks.
func judged(t *testing.T, h *plugins.Host, minor int) {
	t.Helper()
	set := h.Guardrails().For("demo", guardrail.Choice{})
	ask := func(text string) *guardrail.Request {
		return &guardrail.Request{Info: guardrail.Info{Endpoint: "chat", Model: "demo"}, Body: fmt.Appendf(nil, `{"messages":[{"role":"user","content":%q}]}`, text)}
	}
	d, err := set.Before(t.Context(), ask("a forbidden word"))
	if err != nil || d.Action != guardrail.Block || d.Err() == nil {
		t.Fatalf("a forbidden word: %+v, %v", d, err)
	}
	if found := d.Results[0].Found(); (found == "word") != (minor >= contract.MinorFindings) {
		t.Errorf("found %q", found)
	}
	if d, err = set.Before(t.Context(), ask("a word")); err != nil || d.Action != guardrail.Pass {
		t.Errorf("a clean word: %+v, %v", d, err)
	}
	answer := &guardrail.Request{Info: guardrail.Info{Endpoint: "chat", Model: "demo"}, Body: []byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":"a forbidden answer"}}]}`)}
	if d, err = set.After(t.Context(), answer); err != nil || !strings.Contains(string(d.Body), "a *** answer") {
		t.Errorf("an answer: %+v, %v", d, err)
	}
	streamed(t, set, minor)
}

// streamed cuts the word in a stream.
func streamed(t *testing.T, set *guardrail.Set, minor int) {
	t.Helper()
	c, err := set.Stream(context.Background(), &guardrail.Request{Info: guardrail.Info{Endpoint: "chat", Model: "demo", Stream: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var left strings.Builder
	var stopped error
	for _, part := range []string{"it is forb", "idden to say more than so much here"} {
		out, err := c.Feed(t.Context(), fmt.Appendf(nil, `{"choices":[{"index":0,"delta":{"content":%q}}]}`, part))
		for _, b := range out {
			left.Write(b)
		}
		if err != nil {
			stopped = err
			break
		}
	}
	if stopped == nil {
		out, _, err := c.Finish(t.Context(), nil)
		for _, b := range out {
			left.Write(b)
		}
		stopped = err
	}
	if strings.Contains(left.String(), "idden") {
		t.Errorf("the word leaves the stream: %s", left.String())
	}
	if rewrites := minor >= contract.MinorStreams; rewrites == (stopped != nil) || rewrites != strings.Contains(left.String(), "***") {
		t.Errorf("stream: %v, left %s", stopped, left.String())
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
		<-look.C
	}
}
