package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// demoHouse is a server of models that does what the last message tells it to, and says which key it was given.
type demoHouse struct{ config map[string]string }

func (h *demoHouse) Configure(_ context.Context, s sdk.ProviderSettings) (sdk.ProviderDescription, error) {
	err := json.Unmarshal(s.Config, &h.config)
	models := []string{"house-1"}
	if more := h.config["more"]; more != "" {
		models = append(models, strings.Split(more, ",")...)
	}
	return sdk.ProviderDescription{Version: "1", Models: models}, err
}

func (h *demoHouse) Chat(_ context.Context, q *sdk.ProviderRequest) ([]byte, error) {
	switch lastOf(q) {
	case "full":
		return nil, &sdk.ProviderError{Status: http.StatusTooManyRequests, Code: "rate_limit_exceeded", Message: "The house is full.", RetryAfter: 7 * time.Second}
	case "wrong":
		return nil, &sdk.ProviderError{Status: http.StatusBadRequest, Code: "bad_word", Message: "Not in this house.", Param: "messages"}
	case "exit":
		os.Exit(7)
	case "nonsense":
		return []byte("<html>"), nil
	case "unsaid":
		return []byte(`{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("word ", 40) + `"},"finish_reason":"stop"}]}`), nil
	}
	return fmt.Appendf(nil, `{"id":"c","object":"chat.completion","model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":"key %s, region %s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`,
		q.Model, h.config["api_key"], h.config["region"]), nil
}

func (h *demoHouse) ChatStream(ctx context.Context, q *sdk.ProviderRequest, send func([]byte) error) error {
	word := func(w string) error {
		return send(fmt.Appendf(nil, `{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":%q}}]}`, w))
	}
	switch lastOf(q) {
	case "full":
		_, err := h.Chat(ctx, q)
		return err
	case "open":
		if err := word("first"); err != nil {
			return err
		}
		<-ctx.Done()
		if err := os.WriteFile(h.config["left"], []byte("the client left"), 0o600); err != nil {
			return err
		}
		return ctx.Err()
	}
	for _, w := range []string{"hello ", "from ", "home"} {
		if err := word(w); err != nil {
			return err
		}
	}
	return send([]byte(`{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}`))
}

// lastOf is the text of the last message.
func lastOf(q *sdk.ProviderRequest) string {
	var body struct{ Messages []struct{ Content string } }
	if json.Unmarshal(q.Body, &body) != nil || len(body.Messages) == 0 {
		return ""
	}
	return body.Messages[len(body.Messages)-1].Content
}

// TestProviders has a plugin's process answer requests, and takes it down with streams under way.
func TestProviders(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("runs a script")
	}
	c := nodetest.Start(t, 2)
	n := c.Nodes[0]
	left := t.TempDir() + "/left"
	deployment := nodetest.Fields{
		"name": "home", "provider": "plugin/demohouse", "model": "house-1", "api_key": "sk-house", "options": nodetest.Fields{"region": "eu", "left": left},
		"price": nodetest.Fields{"input": nodetest.PerMillion(1000), "output": nodetest.PerMillion(2000)}, // nanodollars for a token
	}
	model := func(name string, more ...nodetest.Fields) (int, string) {
		fields := nodetest.Fields{"name": name, "deployments": []nodetest.Fields{deployment}, "retries": 0}
		for _, m := range more {
			maps.Copy(fields, m)
		}
		status, body := n.Do("POST", "/api/v1/models", nodetest.MasterKey, fields)
		return status, string(body)
	}
	if status, body := model("house"); status != 400 || !strings.Contains(body, `there is no plugin \"demohouse\"`) || !strings.Contains(body, "conclave plugin upload") {
		t.Errorf("a plugin that is not registered: %d %s", status, body)
	}
	register(t, n, "router_filter", "demofilter")
	register(t, n, "provider", "demohouse")
	deployment["provider"] = "plugin/demofilter"
	if status, body := model("house"); status != 400 || !strings.Contains(body, "of the kind router_filter") {
		t.Errorf("a plugin of another kind: %d %s", status, body)
	}
	deployment["provider"] = "plugin/demohouse"
	for name, fields := range map[string]nodetest.Fields{"house": nil, "covered": {"fallbacks": []string{"demo"}}} {
		if status, body := model(name, fields); status >= 300 {
			t.Fatalf("create model %s: %d %s", name, status, body)
		}
	}
	ask := func(n *nodetest.Node, model, word string) (int, string) {
		status, body := n.Do("POST", "/v1/chat/completions", nodetest.MasterKey, nodetest.ChatBody(nodetest.Fields{
			"model": model, "messages": []nodetest.Fields{{"role": "user", "content": word}},
		}))
		return status, string(body)
	}
	for _, each := range c.Nodes {
		c.Await("the plugin answers on every node", func() bool {
			status, body := ask(each, "house", "hi")
			return status == 200 && strings.Contains(body, "key sk-house, region eu")
		})
	}
	for word, want := range map[string]string{
		"full": "429 rate_limit_exceeded", "wrong": "400 bad_word", "nonsense": "502 invalid_response",
	} {
		status, body := ask(n, "house", word)
		if got := fmt.Sprint(status, " ", body); !strings.HasPrefix(got, want[:3]) || !strings.Contains(body, want[4:]) {
			t.Errorf("%s: got %s, want %s", word, got, want)
		}
		if word == "full" { // the deployment rests, and the other model's fallback answers
			c.Await("it does not rest any more", func() bool { status, _ := ask(n, "house", "hi"); return status == 200 })
		}
	}
	if status, body := ask(n, "covered", "full"); status != 200 || strings.Contains(body, "house") {
		t.Errorf("with a fallback: %d %s", status, body)
	}
	if status, body := n.Do("POST", "/v1/embeddings", nodetest.MasterKey, nodetest.Fields{"model": "house", "input": "a"}); status != 404 || !strings.Contains(string(body), "endpoint_not_supported") {
		t.Errorf("embeddings: %d %s", status, body)
	}
	if status, body := n.Do("POST", "/v1/messages", nodetest.MasterKey, nodetest.Fields{"model": "house", "max_tokens": 8, "messages": []nodetest.Fields{{"role": "user", "content": "hi"}}}); status != 200 || !strings.Contains(string(body), `"type":"message"`) || !strings.Contains(string(body), "region eu") {
		t.Errorf("in Anthropic's words: %d %s", status, body)
	}
	s := n.Stream(nodetest.MasterKey, nodetest.Fields{"model": "house"})
	if text := s.Rest(); s.Status != 200 || !strings.Contains(text, `"hello "`) || !strings.HasSuffix(strings.TrimSpace(text), "data: [DONE]") {
		t.Errorf("a stream: %d %s", s.Status, text)
	}
	s.Close()
	key := c.Key(0, nodetest.Fields{})
	if status, body := n.Do("POST", "/v1/chat/completions", key.Secret, nodetest.ChatBody(nodetest.Fields{"model": "house"})); status != 200 {
		t.Fatalf("with a key: %d %s", status, body)
	}
	c.Await("its usage is charged", func() bool {
		_, body := n.Do("GET", "/api/v1/requests?limit=20&key="+key.ID, nodetest.MasterKey, nil)
		return strings.Contains(string(body), `"cost":0.000025`) // 11 × 1,000 + 7 × 2,000
	})
	if status, body := n.Do("POST", "/v1/chat/completions", key.Secret, nodetest.ChatBody(nodetest.Fields{"model": "house", "messages": []nodetest.Fields{{"role": "user", "content": "unsaid"}}})); status != 200 {
		t.Fatalf("without usage: %d %s", status, body)
	}
	c.Await("usage that is not said is estimated", func() bool {
		_, body := n.Do("GET", "/api/v1/requests?limit=20", nodetest.MasterKey, nil)
		return strings.Contains(string(body), `"usage_source":"estimated"`)
	})
	leaves(t, c, n, left)
	discovers(t, c, n)
	killed(t, c, n, ask)
	if status, body := n.Do("DELETE", "/api/v1/plugins/demohouse", nodetest.MasterKey, nil); status != 409 {
		t.Errorf("delete a plugin that is in use: %d %s", status, body)
	}
}

// discovers asks the plugin for its models, with no deployment that needs it, and sees them with what runs.
func discovers(t *testing.T, c *nodetest.Cluster, n *nodetest.Node) {
	t.Helper()
	before := len(running(t, n, "demohouse")[n.Name])
	if status, body := n.Do("POST", "/api/v1/credentials", nodetest.MasterKey, nodetest.Fields{
		"name": "guesthouse", "provider": "plugin/demohouse", "api_key": "sk-guest", "options": nodetest.Fields{"more": "house-9,house-10"},
	}); status != 201 {
		t.Fatalf("create credential: %d %s", status, body)
	}
	api, prefix := n.Admin(), "guest/"
	found, err := api.Discover(t.Context(), "plugin/demohouse", client.Discover{Credential: "guesthouse", Prefix: &prefix, Match: "house-1*", Apply: true})
	if err != nil || found.Made != 2 || len(found.Models) != 2 || found.Models[1].Name != "guest/house-10" {
		t.Fatalf("discover: %+v, %v, want two models made", found, err)
	}
	c.Await("a discovered model answers with its credential", func() bool {
		status, body := c.Nodes[1].Do("POST", "/v1/chat/completions", nodetest.MasterKey, nodetest.ChatBody(nodetest.Fields{"model": "guest/house-10"}))
		return status == 200 && strings.Contains(string(body), "key sk-guest")
	})
	c.Await("every node says what the process serves", func() bool {
		now := running(t, n, "demohouse")
		for _, processes := range now {
			if !slices.ContainsFunc(processes, func(p client.PluginProcess) bool {
				return slices.Equal(p.Models, []string{"house-1", "house-9", "house-10"}) && p.ModelCount == 3 && slices.Equal(p.Endpoints, []string{"chat"})
			}) {
				return false
			}
		}
		return len(now) == len(c.Nodes)
	})
	if _, err := api.Discover(t.Context(), "plugin/nobody", client.Discover{}); err == nil || !strings.Contains(err.Error(), "no provider plugin is registered") {
		t.Errorf("a plugin that there is not: %v", err)
	}
	if _, err := api.Discover(t.Context(), "plugin/demohouse", client.Discover{Credential: "guesthouse", APIBase: "http://elsewhere"}); err == nil {
		t.Error("a credential was told to a plugin for another address")
	}
	for _, m := range found.Models {
		if status, body := n.Do("DELETE", "/api/v1/models/"+url.PathEscape(m.Name), nodetest.MasterKey, nil); status >= 300 {
			t.Errorf("delete %s: %d %s", m.Name, status, body)
		}
	}
	c.Await("the process that no deployment names is gone", func() bool { return len(running(t, n, "demohouse")[n.Name]) == before })
}

// leaves is a client that goes away within a stream: the plugin's context ends.
func leaves(t *testing.T, c *nodetest.Cluster, n *nodetest.Node, left string) {
	t.Helper()
	s := n.Stream(nodetest.MasterKey, nodetest.Fields{"model": "house", "messages": []nodetest.Fields{{"role": "user", "content": "open"}}})
	if first := s.Next(); !strings.Contains(first, "first") {
		t.Fatalf("a stream: %d %s", s.Status, first)
	}
	s.Close()
	c.Await("the plugin is told that the client left", func() bool {
		_, err := os.Stat(left)
		return err == nil
	})
}

// killed ends the process with streams under way, and by a request that it does not live through.
func killed(t *testing.T, c *nodetest.Cluster, n *nodetest.Node, ask func(*nodetest.Node, string, string) (int, string)) {
	t.Helper()
	var open []*nodetest.Stream
	for range 5 {
		s := n.Stream(nodetest.MasterKey, nodetest.Fields{"model": "house", "messages": []nodetest.Fields{{"role": "user", "content": "open"}}})
		if first := s.Next(); !strings.Contains(first, "first") {
			t.Fatalf("a stream: %d %s", s.Status, first)
		}
		open = append(open, s)
	}
	for _, processes := range running(t, n, "demohouse") {
		for _, p := range processes {
			if err := launch.Signal(p.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	var wg sync.WaitGroup
	for _, s := range open {
		wg.Go(func() {
			if rest := s.Rest(); !strings.Contains(rest, "upstream_cut") || strings.Contains(rest, "[DONE]") {
				t.Errorf("a stream of a process that was killed: %s", rest)
			}
			s.Close()
		})
	}
	wg.Wait()
	works := func() bool { status, _ := ask(n, "house", "hi"); return status == 200 }
	c.Await("another process answers", works)
	if status, body := ask(n, "house", "exit"); status != 502 || !strings.Contains(body, "provider_plugin_failed") {
		t.Errorf("a process that exits: %d %s", status, body)
	}
	c.Await("another process answers", works)
	if status, body := ask(n, "covered", "exit"); status != 200 {
		t.Errorf("a process that exits, with a fallback: %d %s", status, body)
	}
	c.Await("another process answers", works)
}
