package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

// agentBody is what a coding agent asks: thinking with its signature, tools, marks of the cache, in a spelling of its own.
const agentBody = `{ "model":"demo","max_tokens":32000, "thinking":{"type":"enabled","budget_tokens":16000},"stream":true,` +
	`"system":[{"type":"text","text":"You are an agent \u0026 help.","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":"list"},` +
	`{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"EqQBCgIYAhIk/+=="},{"type":"tool_use","id":"toolu_01A","name":"Bash","input":{"command":"ls","n":1.0}}]},` +
	"{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_01A\",\"content\":\"a\",\"cache_control\":{\"type\":\"ephemeral\"}}]}],\n" +
	`"tools":[{"name":"Bash","input_schema":{"type":"object","properties":{}},"cache_control":{"type":"ephemeral"}}],"metadata":{"user_id":"u1"},"unheard_of":{"b":1,"a":[ ]}}`

// agentAnswer is a stream with a thought, its signature and a call, in events that have members which nobody here knows.
const agentAnswer = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"gpt-x\",\"content\":[],\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":90,\"output_tokens\":1}}}\n\n" +
	"event: content_block_start\ndata: {\"type\":\"content_block_start\", \"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\n" +
	"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\",\"new\":1}}\n\n" +
	"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"Eq/+==\"}}\n\n" +
	"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n" +
	"event: ping\ndata: {\"type\": \"ping\"}\n\n" +
	"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":20}}\n\n" +
	"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

// TestMessages_Agent: what a coding agent says reaches Anthropic byte for byte but for the model's name, with the features
// under test that it asks for, and so does the answer reach the agent. What a cache held is counted as such.
func TestMessages_Agent(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"claude-code-20250219", "claude-code-20250219,interleaved-thinking-2025-05-14,never-heard-of-2031-01-01", ""} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			var body, betas string
			w := passWire(t, "anthropic", func(rw http.ResponseWriter, q *http.Request) {
				b, _ := io.ReadAll(q.Body)
				body, betas = string(b), strings.Join(q.Header["Anthropic-Beta"], "|")
				rw.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(rw, agentAnswer)
			})
			res, got := w.send(t.Context(), "POST", "/v1/messages?beta=true", agentBody, header("Anthropic-Beta", version)) //nolint:bodyclose // send closes it
			if res.StatusCode != 200 || got != agentAnswer {
				t.Errorf("got %d %s", res.StatusCode, got)
			}
			if want := strings.Replace(agentBody, `"demo"`, `"gpt-x"`, 1); body != want || betas != version {
				t.Errorf("the provider was asked for %q and got\n%s\nwant\n%s", betas, body, want)
			}
			if u := w.record().Usage; u.Input != 10 || u.CacheRead != 90 || u.Output != 20 || u.Source != llm.UsageProvider {
				t.Errorf("used %+v", u)
			}
		})
	}
}

// TestBetas: a deployment's option says which features under test its provider is asked for, and a client is told of those
// that are left out. A host that takes them in the body, and refuses others than it knows, is asked for none by itself.
func TestBetas(t *testing.T) {
	t.Parallel()
	const named = "a-2025-01-01, b-2025-02-02"
	for _, tt := range []struct {
		name, provider, model, path, option string
		header, member                      string // that the provider sees; member: "": none
		dropped                             bool
	}{
		{"by default", "anthropic", "m", "/v1/messages", "", named, "", false},
		{"all", "anthropic", "m", "/v1/messages", "pass", named, "", false},
		{"none", "anthropic", "m", "/v1/messages", "strip", "", "", true},
		{"one", "anthropic", "m", "/v1/messages", "c, b-2025-02-02", "b-2025-02-02", "", true},
		{"one, in its own words", "anthropic", "m", "/anthropic/v1/messages", "b-2025-02-02", "b-2025-02-02", "", true},
		{"Bedrock, by default", "bedrock", "invoke/anthropic.claude", "/v1/messages", "", "", "", true},
		{"Bedrock, all", "bedrock", "invoke/anthropic.claude", "/v1/messages", "pass", "", `"anthropic_beta":["a-2025-01-01","b-2025-02-02"]`, false},
		{"Bedrock, one", "bedrock", "invoke/anthropic.claude", "/v1/messages", "a-2025-01-01", "", `"anthropic_beta":["a-2025-01-01"]`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var betas, body string
			w := passWire(t, tt.provider, func(rw http.ResponseWriter, q *http.Request) {
				b, _ := io.ReadAll(q.Body)
				body, betas = string(b), strings.Join(q.Header["Anthropic-Beta"], "|")
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`)
			})
			d := w.tables.Deployments[0]
			d.Upstream = tt.model
			d.Options["region"] = "eu-central-1"
			if tt.option != "" {
				d.Options["anthropic_beta"] = tt.option
			}
			res, got := w.send(t.Context(), "POST", tt.path, `{"model":"demo","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, header("Anthropic-Beta", named)) //nolint:bodyclose // send closes it
			if res.StatusCode != 200 || betas != tt.header || tt.member != "" && !strings.Contains(body, tt.member) || tt.member == "" && strings.Contains(body, "anthropic_beta") {
				t.Errorf("got %d %s; the provider saw %q and %s", res.StatusCode, got, betas, body)
			}
			if told := strings.Contains(res.Header.Get("X-Conclave-Dropped-Params"), "anthropic-beta"); told != tt.dropped {
				t.Errorf("that some are left out is told: %t, want %t", told, tt.dropped)
			}
		})
	}
}
