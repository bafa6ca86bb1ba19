//go:build e2e

package counterparts

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// llamacpp starts a real llama.cpp server.
func llamacpp(t *testing.T) (address string) {
	t.Helper()
	python := os.Getenv("CONCLAVE_LLAMACPP_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_LLAMACPP_PYTHON names no interpreter with xllamacpp; run make e2e")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	cmd := exec.CommandContext(t.Context(), python, "llamacpp.py", filepath.Join(t.TempDir(), "tiny.gguf"), port)
	if _, err := cmd.StdinPipe(); err != nil { // which ends with us
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for said := bufio.NewScanner(out); said.Scan(); {
		if at, ok := strings.CutPrefix(said.Text(), "listening on "); ok {
			return at
		}
	}
	t.Fatal("llama.cpp has ended before it listened")
	return ""
}

// TestLlamaCpp: clients of every dialect are answered by a server that this project did not write, whole and
// streamed, with its own counts; its grammar makes what a schema demands.
func TestLlamaCpp(t *testing.T) {
	upstream := llamacpp(t)
	c := cluster.Start(t, 1)
	if status := c.Admin(0, "POST", "/model/new", map[string]any{"model_name": "tiny", "litellm_params": map[string]any{
		"model": "llamafile/tiny", "api_base": upstream + "/v1", "input_cost_per_token": 0.001, "output_cost_per_token": 0.001,
	}}, nil); status != 200 {
		t.Fatalf("model: got %d", status)
	}
	_, key := c.NewKey(0, map[string]any{})
	hello := []map[string]any{{"role": "user", "content": "hello"}}
	contents := map[string]any{"contents": []map[string]any{{"role": "user", "parts": []map[string]any{{"text": "hello"}}}}, "generationConfig": map[string]any{"maxOutputTokens": 6}}
	for _, tt := range []struct {
		name, path string
		body       map[string]any
		want       []string
	}{
		{"chat", "/v1/chat/completions", map[string]any{"model": "tiny", "max_tokens": 6, "messages": hello}, []string{`"completion_tokens":6`, `"finish_reason":"length"`}},
		{"chat, streamed", "/v1/chat/completions", map[string]any{"model": "tiny", "max_tokens": 6, "messages": hello, "stream": true}, []string{"chat.completion.chunk", "data: [DONE]"}},
		{"completions", "/v1/completions", map[string]any{"model": "tiny", "max_tokens": 6, "prompt": "hello"}, []string{`"text_completion"`, `"completion_tokens":6`}},
		{"messages", "/v1/messages", map[string]any{"model": "tiny", "max_tokens": 6, "messages": hello}, []string{`"type":"message"`, `"stop_reason":"max_tokens"`, `"output_tokens":6`}},
		{"messages, streamed", "/v1/messages", map[string]any{"model": "tiny", "max_tokens": 6, "messages": hello, "stream": true}, []string{"event: message_stop", `"output_tokens":6`}},
		{"responses", "/v1/responses", map[string]any{"model": "tiny", "max_output_tokens": 6, "input": "hello"}, []string{`"status":"incomplete"`, `"output_tokens":6`}},
		{"responses, streamed", "/v1/responses", map[string]any{"model": "tiny", "max_output_tokens": 6, "input": "hello", "stream": true}, []string{"response.incomplete", `"output_tokens":6`}},
		{"generateContent", "/v1beta/models/tiny:generateContent", contents, []string{`"finishReason":"MAX_TOKENS"`, `"candidatesTokenCount":6`}},
		{"generateContent, streamed", "/v1beta/models/tiny:streamGenerateContent?alt=sse", contents, []string{`"finishReason":"MAX_TOKENS"`, `"candidatesTokenCount":6`}},
	} {
		status, raw := cluster.CallRaw(t, "POST", c.Nodes[0].URL+tt.path, key, tt.body)
		if status != 200 {
			t.Errorf("%s: got %d %s", tt.name, status, raw)
		}
		for _, part := range tt.want {
			if !strings.Contains(strings.ReplaceAll(string(raw), `": `, `":`), part) {
				t.Errorf("%s: got %s, want %s in it", tt.name, raw, part)
			}
		}
	}
	saysWhatASchemaDemands(t, c.Nodes[0].URL+"/v1/messages", key)
	if status, raw := cluster.CallRaw(t, "POST", c.Nodes[0].URL+"/v1/chat/completions", key, map[string]any{"model": "tiny", "messages": "none"}); status != 400 {
		t.Errorf("what llama.cpp refuses: got %d %s", status, raw)
	} else if !json.Valid(raw) {
		t.Errorf("got %s", raw)
	}
}

// saysWhatASchemaDemands: llama.cpp's grammar makes an object of it, with blanks as the model likes.
func saysWhatASchemaDemands(t *testing.T, url, key string) {
	t.Helper()
	schema := map[string]any{
		"type": "object", "properties": map[string]any{"a": map[string]any{"type": "boolean"}}, "required": []string{"a"}, "additionalProperties": false,
	}
	status, raw := cluster.CallRaw(t, "POST", url, key, map[string]any{
		"model": "tiny", "max_tokens": 200, "messages": []map[string]any{{"role": "user", "content": "hello"}},
		"output_config": map[string]any{"format": map[string]any{"type": "json_schema", "schema": schema}},
	})
	var said struct {
		StopReason string `json:"stop_reason"`
		Content    []struct{ Text string }
	}
	if err := json.Unmarshal(raw, &said); err != nil || status != 200 || len(said.Content) != 1 || said.StopReason != "end_turn" {
		t.Fatalf("a schema: got %d %s (%v)", status, raw, err)
	}
	var object map[string]bool
	if err := json.Unmarshal([]byte(said.Content[0].Text), &object); err != nil {
		t.Errorf("a schema: got %q (%v)", said.Content[0].Text, err)
	}
	if _, ok := object["a"]; !ok || len(object) != 1 {
		t.Errorf("a schema: got %q, want the member a alone", said.Content[0].Text)
	}
}
