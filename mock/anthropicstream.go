package mock

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// streamMessage sends the reply as Anthropic's events.
func (x *exchange) streamMessage(rp *reply, id uint64) error {
	x.w.Header()["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	x.w.Header()["Cache-Control"] = []string{"no-cache"}
	begun := rp.usage
	begun.completion, begun.reasoning = 1, 0
	data := append([]byte(`{"type":"message_start","message":`), x.messageHead(id)...)
	data = append(data, `],"stop_reason":null,"stop_sequence":null,"usage":`...)
	data = append(begun.appendAnthropic(data), "}}"...)
	m := messageStream{rp: rp, index: -1, out: llm.AppendEvent(make([]byte, 0, 4<<10), "message_start", data)}
	m.event("ping", "}")
	for i := range rp.tokens() + 1 {
		if going, sent := x.pace(&m.out, i); !going {
			x.bill(rp, sent, false)
			return nil
		}
		if i < rp.tokens() {
			m.token(i)
		}
	}
	m.end()
	_, err := x.w.Write(m.out)
	x.bill(rp, rp.tokens(), err == nil)
	return nil
}

// messageStream writes the events of one message.
type messageStream struct {
	rp    *reply
	out   []byte
	index int // of the block that is open; -1: none is
}

// event appends an event of the type, whose data goes on with rest.
func (m *messageStream) event(typ, rest string) {
	m.out = llm.AppendEvent(m.out, typ, []byte(`{"type":"`+typ+`"`+rest))
}

// block appends an event of the open block.
func (m *messageStream) block(typ, rest string) {
	m.event(typ, `,"index":`+strconv.Itoa(m.index)+rest)
}

// token appends the events of the token number i.
func (m *messageStream) token(i int) {
	n := len(m.rp.thinks)
	if i == 0 || i == n {
		m.begin(i < n)
	}
	switch {
	case i < n:
		m.block("content_block_delta", `,"delta":{"type":"thinking_delta","thinking":"`+m.rp.thinks[i]+`"}}`)
	case m.rp.tool != "":
		m.block("content_block_delta", `,"delta":{"type":"input_json_delta","partial_json":"`+m.rp.args[i-n]+`"}}`)
	default:
		m.block("content_block_delta", `,"delta":{"type":"text_delta","text":"`+m.rp.pieces[i-n]+`"}}`)
	}
	if i == n-1 {
		m.block("content_block_delta", `,"delta":{"type":"signature_delta","signature":"`+signature+`"}}`)
	}
}

// begin closes the open block and opens the next.
func (m *messageStream) begin(thinking bool) {
	m.close()
	m.index++
	switch {
	case thinking:
		m.block("content_block_start", `,"content_block":{"type":"thinking","thinking":"","signature":""}}`)
	case m.rp.tool != "":
		m.block("content_block_start", `,"content_block":`+string(m.rp.appendCall(nil))+`{}}}`)
	default:
		m.block("content_block_start", `,"content_block":{"type":"text","text":""}}`)
	}
}

func (m *messageStream) close() {
	if m.index >= 0 {
		m.block("content_block_stop", "}")
	}
}

// end appends what ends the message.
func (m *messageStream) end() {
	m.close()
	usage := m.rp.usage.appendAnthropic(nil)
	m.event("message_delta", `,"delta":{"stop_reason":"`+m.rp.finish+`","stop_sequence":null},"usage":`+string(usage)+`}`)
	m.event("message_stop", "}")
}
