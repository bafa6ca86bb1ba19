package translate_test

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/translate"
)

// frame is one of Amazon's event stream.
func frame(kind, payload string) []byte {
	var head []byte
	for _, h := range [][2]string{{":event-type", kind}, {":message-type", "event"}} {
		head = append(append(head, byte(len(h[0]))), h[0]...)
		head = append(binary.BigEndian.AppendUint16(append(head, 7), uint16(len(h[1]))), h[1]...)
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(16+len(head)+len(payload)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
	out = append(append(out, head...), payload...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
}

// sse are server-sent events of data.
func sse(data ...string) (events [][]byte) {
	for _, d := range data {
		events = append(events, llm.AppendEvent(nil, "", []byte(d)))
	}
	return events
}

// A stream of any dialect makes the whole answer that the dialect has for it.
func TestAssembler(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		endpoint llm.Endpoint
		events   [][]byte
	}{
		{llm.Chat, sse(`{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}`, `{"id":"c","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}`, `[DONE]`)},
		{llm.Completions, sse(`{"id":"c","object":"text_completion","choices":[{"index":0,"text":"Hel"}]}`, `{"id":"c","choices":[{"index":0,"text":"lo","finish_reason":"stop"}]}`, `[DONE]`)},
		{llm.Responses, sse(`{"type":"response.created","response":{"id":"r","model":"m"}}`, `{"type":"response.output_text.delta","output_index":0,"delta":"Hel"}`, `{"type":"response.output_text.delta","output_index":0,"delta":"lo"}`, `{"type":"response.completed","response":{"id":"r","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello"}]}],"usage":{"input_tokens":4,"output_tokens":2,"total_tokens":6}}}`)},
		{llm.Messages, sse(`{"type":"message_start","message":{"id":"m","role":"assistant","content":[],"usage":{"input_tokens":4,"output_tokens":1}}}`, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}`, `{"type":"content_block_stop","index":0}`, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}`, `{"type":"message_stop"}`)},
		{llm.GenerateContent, sse(`{"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"}]},"index":0}]}`, `{"candidates":[{"content":{"role":"model","parts":[{"text":"lo"}]},"finishReason":"STOP","index":0}]}`)},
		{llm.Converse, [][]byte{
			frame("messageStart", `{"role":"assistant"}`), frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Hel"}}`), frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"lo"}}`),
			frame("contentBlockStop", `{"contentBlockIndex":0}`), frame("messageStop", `{"stopReason":"end_turn"}`), frame("metadata", `{"usage":{"inputTokens":4,"outputTokens":2,"totalTokens":6}}`),
		}},
	} {
		t.Run(tt.endpoint.String(), func(t *testing.T) {
			t.Parallel()
			assemble := translate.Assembler(tt.endpoint)
			body, err := assemble(tt.events)
			if err != nil || !json.Valid(body) {
				t.Fatalf("got %s, %v", body, err)
			}
			out, _ := provider.OutboundOf(tt.endpoint)
			res, err := out.DecodeResponse(body)
			if err != nil || len(res.Choices) != 1 || len(res.Choices[0].Parts) != 1 || res.Choices[0].Parts[0].Text != "Hello" || res.Choices[0].Finish.String() != "stop" {
				t.Errorf("got %s, which is %+v, %v", body, res, err)
			}
			if body, err := assemble(tt.events[:1]); err == nil {
				t.Errorf("a stream that is cut makes %s", body)
			}
		})
	}
	if translate.Assembler(llm.Speech) != nil {
		t.Error("speech is a conversation")
	}
}

// FuzzAssembler puts any bytes together: an answer that is JSON comes of them, or an error.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"), true)
	f.Add(frame("messageStop", `{"stopReason":"end_turn"}`), false)
	f.Fuzz(func(t *testing.T, raw []byte, events bool) {
		e := llm.Converse
		if events {
			e = llm.Chat
		}
		if body, err := translate.Assembler(e)([][]byte{raw}); err == nil && !json.Valid(body) {
			t.Errorf("%q makes %q", raw, body)
		}
	})
}
