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
