package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource/manifest"
)

// generalHook is a plugin that does at each hook what a request's text asks for.
type generalHook struct{}

func (generalHook) Configure(context.Context, sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	return sdk.GuardrailDescription{
		Version: "1.0", Hooks: []sdk.Hook{sdk.Before, sdk.After, sdk.OnFailure, sdk.Logging}, WantsHeaders: []string{"x-department"}, WantsCaller: true,
	}, nil
}

func (generalHook) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	switch c.Hook {
	case sdk.OnFailure:
		return sdk.Fail(sdk.Failure{Message: "[" + string(c.Failure.Origin) + "] " + c.Failure.Message}), nil
	case sdk.Logging:
		r := *c.Record
		r.EndUser, r.CustomerID = "somebody", "somebody"
		if len(r.Tags) > 0 && r.Tags[0] == "hidden" {
			return sdk.Block(""), nil
		}
		return sdk.Edit(r), nil
	case sdk.After:
		if len(c.Texts) == 0 || c.Texts[0].Text != "mark me" {
			return sdk.Pass(), nil
		}
		v := sdk.Change(sdk.RequestChange{Set: []byte(`{"note":"seen by the hook"}`)})
		v.Replacements = []sdk.Replacement{{Index: 0, Text: "marked"}}
		v.Headers = []sdk.Header{{Name: "x-hook", Value: "seen"}}
		return v, nil
	}
	for _, t := range c.Texts {
		switch t.Text {
		case "answer me":
			if c.Info.Endpoint == "embeddings" {
				return sdk.AnswerBody("", []byte(`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}`)), nil
			}
			return sdk.Answer("answered by " + c.Caller.KeyName), nil
		case "refuse me":
			return sdk.Refuse(451, "not_here", "not in this country"), nil
		case "be eve":
			return sdk.Change(sdk.RequestChange{Set: []byte(`{"user":"eve"}`)}), nil
		case "say less":
			return sdk.Change(sdk.RequestChange{Set: []byte(`{"messages":[{"role":"user","content":"less"}],"max_tokens":3}`)}), nil
		}
	}
	if len(c.Headers) == 1 {
		return sdk.Change(sdk.RequestChange{Model: c.Headers[0].Value, Tags: []string{"routed"}}), nil
	}
	return sdk.Pass(), nil
}

// hookPlugin uploads the plugin, which is this test's binary.
func hookPlugin(t *testing.T, n *nodetest.Node) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pack.New(manifest.Manifest{Name: "hook", Version: "1.0", Kind: "guardrail", Schema: json.RawMessage(`{"type":"object"}`)}, []pack.Binary{
		{OS: "any", Arch: "any", Body: fmt.Appendf(nil, "#!/bin/sh\nexec %q general-hook\n", exe)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Admin().UploadPlugin(t.Context(), file.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// request is a chat request for the model small.
func request(t *testing.T, n *nodetest.Node, key, text string) *http.Request {
	t.Helper()
	body, err := json.Marshal(fields{"model": "small", "messages": []fields{{"role": "user", "content": text}}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.URL+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	return r
}

// A general hook, which is a process, sends requests elsewhere, answers and refuses them, words errors and edits
// what callbacks are told, as far as its operator allows.
func TestHook(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("runs a script")
	}
	c := nodetest.Start(t, 1)
	n, api := c.Nodes[0], c.Nodes[0].Admin()
	var small, large atomic.Value
	c.Model("small", echo(t, &small))
	c.Model("large", echo(t, &large))
	hookPlugin(t, n)
	in := newReceiver(t)
	if _, err := api.Callbacks().Create(t.Context(), fields{
		"name": "sink", "plugin": "webhook", "config": fields{"url": in.URL + "/sink", "format": "ndjson"}, "secrets": fields{"headers.Authorization": "Bearer sink-canary"},
	}); err != nil {
		t.Fatal(err)
	}
	may := []string{"model", "parameters", "content", "tags", "answer", "refuse", "headers", "error", "record"}
	g, err := api.Guardrails().Create(t.Context(), fields{"name": "general", "plugin": "hook", "may": may, "headers": []string{"X-Department"}, "deadline_ms": 5000})
	if err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string]fields{
		"closed": nil, "poor": {"budgets": []fields{{"usd": 0.000001, "per": "day"}}}, "busy": {"limits": fields{"rpm": 1}},
	} {
		c.Model(name, echo(t, &large))
		if _, err := api.Models().Patch(t.Context(), name, more); more != nil && err != nil {
			t.Fatal(err)
		}
	}
	key := c.Key(0, fields{"name": "mine", "models": []string{"small", "large", "poor", "busy", "none"}}).Secret
	say := func(text string, stream bool, headers ...string) (int, string) {
		status, body := n.Do("POST", "/v1/chat/completions", key, fields{
			"model": "small", "stream": stream, "user": "eve", "messages": []fields{{"role": "user", "content": text}},
		}, headers...)
		return status, string(body)
	}
	c.Await("the hook to run", func() bool {
		status, body := say("answer me", false)
		return status == 200 && strings.Contains(body, "answered by mine")
	})
	if status, body := say("answer me", true); status != 200 || !strings.Contains(body, `"content":"answered by mine"`) || !strings.Contains(body, "[DONE]") {
		t.Errorf("streamed: got %d %s", status, body)
	}
	if status, body := n.Do("POST", "/v1/embeddings", key, fields{"model": "small", "input": "answer me"}); status != 200 || !strings.Contains(string(body), `"embedding":[0.5]`) {
		t.Errorf("embeddings: got %d %s", status, body)
	}
	if small.Load() != nil {
		t.Errorf("a model was asked: %v", small.Load())
	}
	if status, body := say("hello", false, "X-Department", "large", "x-request-id", "routed"); status != 200 || large.Load() != "hello" || small.Load() != nil {
		t.Errorf("got %d %s, the models saw %v and %v", status, body, small.Load(), large.Load())
	}
	if status, body := say("refuse me", false); status != http.StatusUnavailableForLegalReasons || !strings.Contains(body, `"not_here"`) {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := say("hello", false, "X-Department", "none"); status != http.StatusNotFound || !strings.Contains(body, "[gateway] The model") {
		t.Errorf("got %d %s", status, body)
	}
	// What the hook makes of a request is decided about again; who it is for stays.
	for _, tt := range []struct {
		text, department string
		status           int
		says             string
	}{
		{"hello", "closed", http.StatusForbidden, "model_access_denied"},
		{"hello", "poor", http.StatusTooManyRequests, "budget_exceeded"},
		{"hello", "busy", http.StatusOK, "hello"},
		{"hello", "busy", http.StatusTooManyRequests, "rate_limit"},
		{"be eve", "", http.StatusServiceUnavailable, "guardrail_not_run"},
		{"say less", "", http.StatusOK, `"content":"less"`},
	} {
		var more []string
		if tt.department != "" {
			more = []string{"X-Department", tt.department}
		}
		if status, body := say(tt.text, false, more...); status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s for %q: got %d %s, want %d %s", tt.text, tt.department, status, body, tt.status, tt.says)
		}
	}
	if got := small.Load(); got != "less" {
		t.Errorf("the model that the client named saw %v", got)
	}
	answer, err := http.DefaultClient.Do(request(t, n, key, "mark me"))
	if err != nil {
		t.Fatal(err)
	}
	marked, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.Header.Get("X-Hook") != "seen" || !strings.Contains(string(marked), `"content":"marked"`) || !strings.Contains(string(marked), `"note":"seen by the hook"`) {
		t.Errorf("after: got %v %s, %v", answer.Header, marked, err)
	}
	if status, body := say("hello", false, "x-litellm-tags", "hidden", "x-request-id", "hidden-one"); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
	say("hello", false, "x-request-id", "last-one")
	c.Await("the sink to hear of the last request", func() bool { return strings.Contains(in.at("/sink"), "last-one") })
	if got := in.at("/sink"); strings.Contains(got, "hidden-one") || strings.Contains(got, `"eve"`) || !strings.Contains(got, `"somebody"`) || !strings.Contains(got, `"request_tags":["routed"]`) {
		t.Errorf("the sink heard %s", got)
	}
	c.Await("the request log to have what was dropped for sinks", func() bool {
		out, err := api.Explain(t.Context(), "hidden-one", url.Values{})
		return err == nil && len(out.Items) == 1 && strings.Contains(string(out.Raw), `"eve"`)
	})

	// What it may not do any more counts as not run, and so does a process that is dead.
	if _, err := api.Guardrails().Patch(t.Context(), g.ID, fields{"may": []string{"refuse"}}); err != nil {
		t.Fatal(err)
	}
	c.Await("an answer to be refused", func() bool { status, _ := say("answer me", false); return status == http.StatusServiceUnavailable })
	if _, err := api.Guardrails().Patch(t.Context(), g.ID, fields{"on_error": "pass"}); err != nil {
		t.Fatal(err)
	}
	c.Await("the request to pass", func() bool {
		status, body := say("answer me", false)
		return status == 200 && strings.Contains(body, `"content":"answer me"`)
	})
	for _, p := range running(t, n, "general")[n.Name] {
		if err := launch.Signal(p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if status, body := say("hello", false); status != 200 {
		t.Errorf("while it is dead: %d %s", status, body)
	}
}

// Guardrails of the mode log_only leave requests and answers as they are, and mask what is kept of them.
func TestGuardrails_LogOnly(t *testing.T) {
	c := nodetest.Start(t, 1)
	n, api := c.Nodes[0], c.Nodes[0].Admin()
	var seen atomic.Value
	c.Model("echo", echo(t, &seen))
	if _, err := api.Settings().Create(t.Context(), fields{"id": "log_content", "value": true}); err != nil {
		t.Fatal(err)
	}
	in := newReceiver(t)
	if _, err := api.Callbacks().Create(t.Context(), fields{
		"name": "sink", "plugin": "webhook", "content": true, "config": fields{"url": in.URL + "/sink", "format": "ndjson"}, "secrets": fields{"headers.Authorization": "Bearer sink-canary"},
	}); err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]fields{
		"pii": {}, "secrets": {}, "patterns": {"patterns": []fields{{"name": "order", "regex": "order-[0-9]+", "action": "mask"}}},
	} {
		if _, err := api.Guardrails().Create(t.Context(), fields{"name": name, "plugin": name, "mode": "log_only", "config": config, "deadline_ms": 5000}); err != nil {
			t.Fatal(err)
		}
	}
	c.Await("the guardrails to run", func() bool {
		for _, name := range []string{"pii", "secrets", "patterns"} {
			if ps := running(t, n, name)[n.Name]; len(ps) != 1 || ps[0].State != "running" {
				return false
			}
		}
		return true
	})
	key := c.Key(0, fields{"name": "masked"}).Secret
	words := []string{"me@example.com", "ghp_" + "x7Qm2Lr9TzK4vWb8NcYd3Hf6Js1Pg5AeRu0i", "order-4711"}
	text := "write to " + words[0] + " with " + words[1] + " about " + words[2] + " and take your time"
	for id, more := range map[string]fields{"whole": {}, "streamed": {"stream": true}} {
		body := nodetest.ChatBody(fields{"model": "echo", "messages": []fields{{"role": "user", "content": text}}})
		maps.Copy(body, more)
		status, b := n.Do("POST", "/v1/chat/completions", key, body, "x-request-id", id)
		if status != 200 || id == "whole" && !strings.Contains(string(b), text) || seen.Load() != text {
			t.Errorf("%s: got %d %s, the provider saw %v", id, status, b, seen.Load())
		}
		c.Await("the content of "+id, func() bool {
			out, err := api.Explain(t.Context(), id, url.Values{"content": {"true"}})
			if err != nil || out.Content == nil {
				return false
			}
			for _, w := range words {
				if strings.Contains(out.Content.Request+out.Content.Response, w) {
					t.Fatalf("%s is kept of %s: %+v", w, id, out.Content)
				}
			}
			return strings.Contains(out.Content.Request, "write to [EMAIL_ADDRESS]") && out.Content.Response != ""
		})
		c.Await("the sink to hear of "+id, func() bool { return strings.Contains(in.at("/sink"), `"`+id+`"`) })
	}
	got := in.at("/sink")
	for _, w := range words {
		if strings.Contains(got, w) {
			t.Errorf("the sink heard %s", w)
		}
	}
	if !strings.Contains(got, "[EMAIL_ADDRESS]") {
		t.Errorf("the sink heard no content: %s", got)
	}
	if status, _ := n.Do("POST", "/v1/chat/completions", key, nodetest.ChatBody(fields{"model": "echo", "messages": []fields{{"role": "user", "content": "hush"}}}),
		"x-request-id", "redacted", "x-litellm-enable-message-redaction", "true"); status != 200 {
		t.Errorf("got %d", status)
	}
	c.Await("the sink to hear of the redacted request", func() bool { return strings.Contains(in.at("/sink"), `"redacted"`) })
	if strings.Contains(in.at("/sink"), "hush") {
		t.Error("the sink heard what was to be redacted")
	}
}
