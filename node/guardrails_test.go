package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// echo is an upstream that streams back what the last message says, three bytes an event.
func echo(t *testing.T, seen *atomic.Value) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages []struct{ Content string }
			Stream   bool
		}
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &in); err != nil || len(in.Messages) == 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		text := in.Messages[len(in.Messages)-1].Content
		seen.Store(text)
		const usage = `"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10}`
		if !in.Stream {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],%s}`, text, usage)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for at := 0; at < len(text); at += 3 {
			fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", text[at:min(len(text), at+3)])
		}
		fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],%s}\n\ndata: [DONE]\n\n", usage)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/v1"
}

// Shipped guardrails run as processes: what they mask does not reach the provider and is restored
// for the client, and the admin API asks them about a text.
func TestGuardrails(t *testing.T) {
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	var seen atomic.Value
	c.Model("echo", echo(t, &seen))
	key := c.Key(0, nodetest.Fields{"name": "judged"}).Secret
	for name, config := range map[string]nodetest.Fields{"pii": {"restore": true}, "secrets": {"action": "block"}} {
		doc := nodetest.Fields{"name": name, "plugin": name, "config": config, "deadline_ms": 5000}
		if status, body := n.Do("POST", "/api/v1/guardrails", nodetest.MasterKey, doc); status != 201 {
			t.Fatalf("create guardrail: %d %s", status, body)
		}
	}
	api := n.Admin()
	for _, name := range []string{"pii", "secrets"} {
		c.Await(name, func() bool {
			out, err := api.TryGuardrail(t.Context(), name, client.GuardrailTry{Text: "hello"})
			return err == nil && out.Status == "passed" && out.Text == "hello"
		})
	}
	for _, tt := range []struct {
		name, text, hook, status, found, left string
	}{
		{"pii", "mail me@example.com", "", "rewritten", "EMAIL_ADDRESS", "mail [<EMAIL_ADDRESS_1>]"},
		{"pii", "mail me@example.com", "during", "rewritten", "EMAIL_ADDRESS", "mail [EMAIL_ADDRESS]"},
		{"secrets", "ghp_" + "x7Qm2Lr9TzK4vWb8NcYd3Hf6Js1Pg5AeRu0i", "after", "blocked", "github-pat", ""},
	} {
		out, err := api.TryGuardrail(t.Context(), tt.name, client.GuardrailTry{Text: tt.text, Hook: tt.hook})
		if err != nil || out.Status != tt.status || out.Found != tt.found || out.Text != tt.left {
			t.Errorf("%s (%s): got %+v, %v", tt.text, tt.hook, out, err)
		}
	}
	if _, err := api.TryGuardrail(t.Context(), "none", client.GuardrailTry{Text: "x"}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a guardrail that there is not: %v", err)
	}

	const text = "write to me@example.com and not to DE89370400440532013000, please, and take your time"
	messages := []map[string]string{{"role": "user", "content": text}}
	status, body := n.Do("POST", "/v1/chat/completions", key, nodetest.ChatBody(nodetest.Fields{"model": "echo", "messages": messages}))
	if status != 200 || !strings.Contains(string(body), text) {
		t.Errorf("got %d %s", status, body)
	}
	if got := seen.Load().(string); strings.Contains(got, "@") || strings.Contains(got, "DE89") {
		t.Errorf("the provider saw %q", got)
	}
	s := n.Stream(key, nodetest.Fields{"model": "echo", "messages": messages})
	defer s.Close()
	got := ""
	for data := s.Next(); data != "" && data != "[DONE]"; data = s.Next() {
		var ev struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &ev); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		for _, ch := range ev.Choices {
			got += ch.Delta.Content
		}
	}
	if got != text {
		t.Errorf("the stream says %q", got)
	}
}

// A guardrail asks another model of the gateway: the request's own key pays for it, though it may not use
// that model itself, and a budget that is used up stops the question.
func TestGuardrails_Judge(t *testing.T) {
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	var seen, asked atomic.Value
	c.Model("echo", echo(t, &seen))
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked.Store(string(b))
		answer := "No"
		if strings.Contains(string(b), "bomb") {
			answer = "Yes, it does"
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"j","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":50,"completion_tokens":3,"total_tokens":53}}`, answer)
	}))
	t.Cleanup(judge.Close)
	c.Model("judge", judge.URL+"/v1")
	key := c.Key(0, nodetest.Fields{"name": "judged", "models": []string{"echo"}})
	api := n.Admin()
	if _, err := api.Guardrails().Create(t.Context(), nodetest.Fields{
		"name": "policy", "plugin": "judge", "deadline_ms": 10_000, "models": []string{"echo"}, "config": nodetest.Fields{"model": "judge", "criteria": "weapons"},
	}); err != nil {
		t.Fatal(err)
	}
	ask := func(text string, stream bool) (int, string) {
		status, body := n.Do("POST", "/v1/chat/completions", key.Secret, nodetest.Fields{
			"model": "echo", "stream": stream, "messages": []nodetest.Fields{{"role": "user", "content": text}},
		})
		return status, string(body)
	}
	c.Await("the judge", func() bool { status, _ := ask("hello", false); return status == 200 })
	for _, stream := range []bool{false, true} {
		if status, body := ask("how do I build a bomb?", stream); status != 400 || !strings.Contains(body, "guardrail_blocked") {
			t.Errorf("got %d %s", status, body)
		}
		if status, body := ask("how do I bake a cake?", stream); status != 200 || !strings.Contains(asked.Load().(string), "cake") {
			t.Errorf("got %d %s", status, body)
		}
	}
	if status, body := n.Do("POST", "/v1/chat/completions", key.Secret, nodetest.ChatBody(nodetest.Fields{"model": "judge"})); status != 403 {
		t.Errorf("the key may use the judge's model itself: %d %s", status, body)
	}
	out, err := api.TryGuardrail(t.Context(), "policy", client.GuardrailTry{Text: "x"})
	if err != nil || out.Status != "not_run" || !strings.Contains(out.Error, "no model may be asked here") {
		t.Errorf("got %+v, %v: nobody would pay for it", out, err)
	}
}

// The words that the setting bans are refused in prompts, answers and streams, however they are cut, and
// a change of the setting counts without a restart.
func TestGuardrails_BannedKeywords(t *testing.T) {
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	api := n.Admin()
	said := new(atomic.Value)
	said.Store("nothing")
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		text := said.Load().(string)
		if !strings.Contains(string(b), `"stream":true`) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, text)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, r := range text {
			fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", string(r))
		}
		fmt.Fprint(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(upstream.Close)
	c.Model("m", upstream.URL+"/v1")
	key := c.Key(0, nodetest.Fields{"name": "k"}).Secret
	if _, err := api.Guardrails().Create(t.Context(), nodetest.Fields{"name": "banned", "plugin": "keywords", "deadline_ms": 5000, "config": nodetest.Fields{"stored": true}}); err != nil {
		t.Fatal(err)
	}
	ask := func(text string, stream bool) (int, string) {
		status, body := n.Do("POST", "/v1/chat/completions", key, nodetest.Fields{"model": "m", "stream": stream, "messages": []nodetest.Fields{{"role": "user", "content": text}}})
		return status, string(body)
	}
	c.Await("the guardrail without words", func() bool { status, _ := ask("xyzzy", false); return status == 200 })
	ban := func(words ...string) {
		t.Helper()
		if status, body := n.Do("PUT", "/api/v1/settings/banned_keywords_list", nodetest.MasterKey, nodetest.Fields{"value": words}); status/100 != 2 {
			t.Fatalf("got %d %s", status, body)
		}
	}
	ban("Secret Project", "xyzzy")
	c.Await("the words", func() bool { status, _ := ask("say XYZZY", false); return status == 400 })
	said.Store("it is the sEcReT pRoJeCt, of course")
	for _, stream := range []bool{false, true} {
		if status, body := ask("hello", stream); strings.Contains(strings.ToLower(body), "roject") || !strings.Contains(body, "guardrail_blocked") {
			t.Errorf("got %d %s", status, body)
		}
	}
	ban("plugh")
	c.Await("other words", func() bool {
		status, _ := ask("say plugh", false)
		free, _ := ask("hello", false)
		return status == 400 && free == 200
	})
}

// A guardrail's key is sealed: the process is given it, after an exchange of the data key and a restart of the
// node too, and no file of the node has it.
func TestGuardrails_Secrets(t *testing.T) {
	const canary = "guardrail-canary-41d7"
	c := nodetest.Config{Edit: quick}.Start(t, 1)
	n := c.Nodes[0]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+canary || r.Header.Get("X-Tenant") != canary {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"action":"NONE"}`)
	}))
	t.Cleanup(srv.Close)
	status, body := n.Do("POST", "/api/v1/guardrails", nodetest.MasterKey, nodetest.Fields{
		"name": "service", "plugin": "generic_guardrail_api", "deadline_ms": 5000, "config": nodetest.Fields{"api_base": srv.URL, "api_key": canary},
		"secrets": nodetest.Fields{"headers.X-Tenant": canary},
	})
	if status != 201 || strings.Contains(string(body), canary) {
		t.Fatalf("got %d %s", status, body)
	}
	passes := func() bool {
		out, err := n.Admin().TryGuardrail(t.Context(), "service", client.GuardrailTry{Text: "hello"})
		return err == nil && out.Status == "passed"
	}
	c.Await("the guardrail", passes)
	rotate(t, c, n, "dek", "done")
	c.Await("the guardrail under the new data key", passes)
	n.Stop()
	scan(t, n.Dir, map[string]string{"key of the guardrail": canary})
	n.Start()
	n.AwaitReady()
	c.Await("the guardrail of the node that was started again", passes)
}
