package node_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/node/nodetest"
)

// TestNode_prompts: a stored prompt and a template of a model reach every node, and the row of a request
// names the prompt.
func TestNode_prompts(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 8)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- r.URL.Path + " " + string(body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"c","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"hello","finish_reason":"stop"}]}`)
	}))
	t.Cleanup(upstream.Close)
	c := nodetest.Start(t, 3)
	admin := c.Nodes[0].Admin()
	const jinja = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
	sum := sha256.Sum256([]byte(jinja))
	digest := hex.EncodeToString(sum[:])
	first := fields{"name": "d", "provider": "hosted_vllm", "api_base": upstream.URL, "prompt_template": fields{"jinja": digest}}
	if _, err := admin.Models().Create(t.Context(), fields{"name": "base", "deployments": []fields{first}}); err == nil || !strings.Contains(err.Error(), "blob") {
		t.Errorf("a template that nobody has: got %v", err)
	}
	if _, err := admin.PutBlob(t.Context(), []byte(jinja), url.Values{"kind": {"template"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Models().Create(t.Context(), fields{"name": "base", "deployments": []fields{first}}); err != nil {
		t.Fatal(err)
	}
	prompt := fields{"name": "greet", "versions": []fields{{"model": "base", "messages": []fields{{"role": "system", "content": "Greet {{who}}."}}}}}
	if _, err := admin.Prompts().Create(t.Context(), prompt); err != nil {
		t.Fatal(err)
	}
	c.Sync(admin)
	key := c.Key(0, fields{"name": "k", "models": []string{"base"}}).Secret
	for _, n := range c.Nodes {
		status, raw := n.Do("POST", "/v1/chat/completions", key, fields{
			"model": "other", "prompt_id": "greet", "prompt_variables": fields{"who": n.Name}, "messages": []fields{{"role": "user", "content": "hi"}},
		})
		if status != 200 || !strings.Contains(string(raw), `"content":"hello"`) {
			t.Fatalf("%s: got %d %s", n.Name, status, raw)
		}
		if got, want := <-asked, fmt.Sprintf(`"prompt":"<system>Greet %s.<user>hi<assistant>"`, n.Name); !strings.HasPrefix(got, "/completions ") || !strings.Contains(got, want) {
			t.Errorf("%s: the model was asked %s, want %s", n.Name, got, want)
		}
	}
	c.Await("the rows name the prompt", func() bool {
		status, raw := c.Nodes[1].Do("GET", "/api/v1/requests?limit=10", nodetest.MasterKey, nil)
		return status == 200 && strings.Count(string(raw), `"prompt":"greet","prompt_version":1`) == 3
	})
	status, raw := c.Nodes[2].Do("POST", "/v1/chat/completions", key, fields{"model": "base", "prompt_id": "greet"})
	if status != 400 || errorCode(raw) != "missing_prompt_variable" {
		t.Errorf("without the variable: got %d %s", status, raw)
	}
}
