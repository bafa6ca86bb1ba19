package agent

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// anyTools has one tool, whatever server is named.
type anyTools struct{}

func (anyTools) Tools(context.Context, *Server) ([]Tool, error) {
	return []Tool{{Name: "log", Full: "git-log"}}, nil
}

func (anyTools) Call(context.Context, *Server, string, json.RawMessage) (Result, error) {
	return Result{Text: "done"}, nil
}

// FuzzRun: no request and no answer of a model, whole or streamed, makes a round panic or go on
// for ever, and no request of a round names a server.
func FuzzRun(f *testing.F) {
	const tool = `{"type":"mcp","server_label":"git","server_url":"litellm_proxy","require_approval":"never"}`
	f.Add(uint8(0), []byte(`{"messages":[],"tools":[`+tool+`]}`), []byte(`{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","function":{"name":"git-log","arguments":"{}"}}]}}]}`))
	f.Add(uint8(1), []byte(`{"stream":true,"messages":[],"tools":[`+tool+`]}`), []byte("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"git-log\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"))
	f.Add(uint8(2), []byte(`{"input":[{"type":"mcp_approval_request","id":"x","server_label":"git","name":"log"},{"type":"mcp_approval_response","approval_request_id":"x","approve":true}],"tools":[`+tool+`]}`), []byte(`{"id":"r","output":[{"type":"function_call","name":"git-log","call_id":"a"}]}`))
	f.Add(uint8(3), []byte(`{"stream":true,"input":"x","tools":[`+tool+`]}`), []byte("event: response.output_item.added\ndata: {\"output_index\":0,\"item\":{\"type\":\"function_call\",\"name\":\"git-log\",\"call_id\":\"a\"}}\n\nevent: response.completed\ndata: {\"response\":{\"output\":[{\"type\":\"function_call\",\"name\":\"git-log\",\"call_id\":\"a\"}]}}\n\n"))
	f.Add(uint8(4), []byte(`{"messages":[{"role":"assistant","content":[{"type":"mcp_tool_use"},{"type":"mcp_tool_result"}]}],"mcp_servers":[{"type":"url","name":"git","url":"litellm_proxy"}],"tools":[{"type":"mcp_toolset","mcp_server_name":"git","configs":{"log":{"enabled":true}}}]}`), []byte(`{"content":[{"type":"tool_use","id":"a","name":"git-log","input":{}}],"stop_reason":"tool_use"}`))
	f.Add(uint8(5), []byte(`{"stream":true,"messages":[],"mcp_servers":[{"name":"git","url":"litellm_proxy"}]}`), []byte("event: message_start\ndata: {\"message\":{}}\n\nevent: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"name\":\"git-log\"}}\n\nevent: message_delta\ndata: {\"delta\":{\"stop_reason\":\"tool_use\"}}\n\nevent: message_stop\ndata: {}\n\n"))
	f.Fuzz(func(t *testing.T, which uint8, body, answer []byte) {
		at := [...]llm.Endpoint{llm.Chat, llm.Responses, llm.Messages}[which/2%3]
		fields, err := llm.Peek(body)
		if err != nil {
			return
		}
		r, err := Read(at, body, &fields)
		if err != nil || r == nil {
			return
		}
		rounds := 0
		out := newIntake(nil)
		_ = r.Run(t.Context(), Config{Tools: anyTools{}, Out: out, Ask: func(_ context.Context, n int, body []byte, to reply.Writer) *llm.Error {
			if rounds++; n >= maxRounds || !json.Valid(body) {
				t.Fatalf("round %d asks %s", n, body)
			}
			if again, err := llm.Peek(body); err == nil && again.HasMCP {
				if next, _ := Read(at, body, &again); next != nil && len(next.servers) > 0 {
					t.Fatalf("round %d names a server: %s", n, body)
				}
			}
			kind := "application/json"
			if fields.Stream {
				kind = "text/event-stream"
			}
			to.Header().Set("Content-Type", kind)
			to.Start(http.StatusOK)
			_, _ = to.Write(answer) // who does not listen any more has failed
			return nil
		}})
		if rounds > maxRounds {
			t.Fatalf("%d rounds", rounds)
		}
	})
}
