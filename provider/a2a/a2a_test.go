package a2a_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/a2a"
)

// TestEncodeRequest: each request has a message id of its own, and the whole conversation as its text.
func TestEncodeRequest(t *testing.T) {
	t.Parallel()
	half := 0.5
	q := &chat.Request{
		Messages:    []chat.Message{{Role: chat.RoleSystem, Parts: []chat.Part{{Text: "Be short."}}}, {Role: chat.RoleUser, Parts: []chat.Part{{Text: "Hi"}}}},
		Temperature: &half, Extra: map[string]json.RawMessage{"context_id": json.RawMessage(`"c1"`)},
	}
	ids := map[string]bool{}
	for range 2 {
		target := llm.Target{Model: "planner"}
		raw, err := a2a.New().EncodeRequest(q, &target)
		var sent struct {
			Method string
			Params struct {
				Message struct {
					MessageID string
					ContextID string
					Role      string
					Parts     []struct{ Kind, Text string }
				}
			}
		}
		if err != nil || json.Unmarshal(raw, &sent) != nil {
			t.Fatalf("got %s, %v", raw, err)
		}
		m := sent.Params.Message
		if sent.Method != "message/send" || m.Role != "user" || m.ContextID != "c1" || len(m.Parts) != 1 || m.Parts[0].Kind != "text" || m.Parts[0].Text != "System: Be short.\n\nUser: Hi\n\nAssistant:" {
			t.Errorf("sent %s", raw)
		}
		if m.MessageID == "" || ids[m.MessageID] {
			t.Errorf("the id %q is none of its own", m.MessageID)
		}
		ids[m.MessageID] = true
		if got := target.Dropped(); len(got) != 1 || got[0] != "temperature" {
			t.Errorf("dropped %v", got)
		}
	}
}

func TestDecodeResponse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, want, fails string
		follows                 bool
	}{
		{name: "a message", body: `{"jsonrpc":"2.0","id":"1","result":{"kind":"message","messageId":"m","parts":[{"kind":"text","text":"Hel"},{"kind":"data","data":{}},{"kind":"text","text":"lo"}]}}`, want: "Hello"},
		{name: "a task", body: `{"result":{"kind":"task","id":"t","status":{"state":"completed","message":{"parts":[{"kind":"text","text":"done"}]}},"artifacts":[{"parts":[{"kind":"text","text":"Hello"}]}]}}`, want: "Hello"},
		{name: "a question", body: `{"result":{"kind":"task","id":"t","status":{"state":"input-required","message":{"parts":[{"kind":"text","text":"Where?"}]}}}}`, want: "Where?"},
		{name: "a task that goes on", body: `{"result":{"kind":"task","id":"t","status":{"state":"working"}}}`, fails: "invalid_response", follows: true},
		{name: "a task that failed", body: `{"result":{"kind":"task","id":"t","status":{"state":"failed","message":{"parts":[{"kind":"text","text":"no fuel"}]}}}}`, fails: "no fuel"},
		{name: "an error", body: `{"jsonrpc":"2.0","id":"1","error":{"code":-32001,"message":"Task not found"}}`, fails: "Task not found"},
		{name: "nothing", body: `{}`, fails: "invalid_response"},
		{name: "nonsense", body: `[`, fails: "invalid_response"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			step, _ := a2a.New().Follow([]byte(tt.body))
			if (step != nil) != tt.follows || step != nil && string(step.Body) != `{"jsonrpc":"2.0","id":"1","method":"tasks/get","params":{"id":"t"}}` {
				t.Errorf("follows with %+v", step)
			}
			res, err := a2a.New().DecodeResponse([]byte(tt.body))
			if tt.fails != "" {
				e, ok := errors.AsType[*llm.Error](err)
				if !ok || e.Kind != llm.Upstream || e.Code != tt.fails && !strings.Contains(e.Message, tt.fails) {
					t.Errorf("got %v, want %s", err, tt.fails)
				}
				return
			}
			if err != nil || chat.Text(res.Choices[0].Parts) != tt.want {
				t.Errorf("got %+v, %v, want %q", res, err, tt.want)
			}
		})
	}
}
