//go:build e2e

package counterparts

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// aimock starts the mock of providers of that name, with the fixtures of js/aimock.mjs.
func aimock(t *testing.T) (url string) {
	t.Helper()
	node := os.Getenv("CONCLAVE_NODE")
	if node == "" {
		t.Fatal("CONCLAVE_NODE names no Node for which js/node_modules was installed; run make e2e")
	}
	port := freePort(t)
	start(t, "listening on", node, "js/aimock.mjs", port)
	return "http://127.0.0.1:" + port
}

// dialects are the parameters of a model whose provider is aimock, by the dialect that it is asked in; chat is
// OpenAI's chat completions alone.
func dialects(url string) map[string]map[string]any {
	return map[string]map[string]any{
		"openai":    {"custom_llm_provider": "openai", "api_base": url + "/v1"},
		"chat":      {"custom_llm_provider": "groq", "api_base": url + "/v1"},
		"anthropic": {"custom_llm_provider": "anthropic", "api_base": url},
		"gemini":    {"custom_llm_provider": "gemini", "api_base": url + "/v1beta"},
		"bedrock":   {"custom_llm_provider": "bedrock", "api_base": url, "aws_region_name": "eu-west-1", "aws_access_key_id": "id", "aws_secret_access_key": "secret"},
		"azure":     {"custom_llm_provider": "azure", "api_base": url, "api_version": "2024-10-21"},
		"ollama":    {"custom_llm_provider": "ollama", "api_base": url},
		"cohere":    {"custom_llm_provider": "cohere", "api_base": url + "/v2"},
	}
}

// serves adds a model that is asked at a provider under its own name.
func serves(t *testing.T, c *cluster.Cluster, name string, params map[string]any) {
	t.Helper()
	params = maps.Clone(params)
	params["model"], params["api_key"] = name, "sk-upstream"
	if status := c.Admin(0, http.MethodPost, "/model/new", map[string]any{"model_name": name, "litellm_params": params}, nil); status != http.StatusOK {
		t.Fatalf("model %s: got %d", name, status)
	}
}

// TestAimock runs aimock_upstreams.py: OpenAI's own client, answered by aimock as OpenAI, Anthropic, Gemini, Bedrock with its
// event stream, Azure, Ollama and Cohere.
func TestAimock(t *testing.T) {
	python := os.Getenv("CONCLAVE_FRAMEWORKS_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_FRAMEWORKS_PYTHON names no interpreter with the openai package; run make e2e")
	}
	url := aimock(t)
	c := cluster.Start(t, 1)
	for dialect, params := range dialects(url) {
		serves(t, c, dialect, params)
	}
	_, key := c.NewKey(0, map[string]any{})
	cmd := exec.CommandContext(t.Context(), python, "aimock_upstreams.py", c.Nodes[0].URL, url)
	cmd.Env = append(os.Environ(), "KEY="+key)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// exchange asks a node, and returns what it answers.
func exchange(t *testing.T, url, key string, body any) (status int, header http.Header, text string) {
	raw, err := json.Marshal(body)
	if err != nil {
		t.Error(err)
		return 0, nil, ""
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		t.Error(err)
		return 0, nil, ""
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, nil, ""
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	said, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s: %v", url, err)
	}
	return res.StatusCode, res.Header, string(said)
}
