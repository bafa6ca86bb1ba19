package modelserver

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"google.golang.org/grpc"
	wire "google.golang.org/protobuf/proto"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/proto"
)

// messages is a plugin that says the messages.
type messages struct {
	grpc.ServerStreamingClient[proto.ProviderAnswer]
	all []*proto.ProviderAnswer
}

func (m *messages) Recv() (*proto.ProviderAnswer, error) {
	if len(m.all) == 0 {
		return nil, io.EOF
	}
	next := m.all[0]
	m.all = m.all[1:]
	return next, nil
}

// FuzzAnswer reads whatever a plugin may say: of a stream each event is one of its messages, so that none can
// say another's end.
func FuzzAnswer(f *testing.F) {
	add := func(stream bool, all ...*proto.ProviderAnswer) {
		var b []byte
		for _, m := range all {
			text, err := wire.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			b = append(append(b, byte(len(text))), text...)
		}
		f.Add(b, stream)
	}
	chunk := func(s string) *proto.ProviderAnswer {
		return &proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Chunk{Chunk: []byte(s)}}
	}
	body := &proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Body{Body: []byte(`{"choices":[]}`)}}
	failure := &proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Error{Error: &proto.ProviderError{Status: 429, Message: "a\nb", RetryAfterMs: 1 << 60}}}
	add(false, body, body)
	add(true, chunk(`{}`), chunk("{\r\n}"), chunk("\n\ndata: [DONE]"), failure)
	add(true, failure, chunk(`{}`))
	add(false, &proto.ProviderAnswer{})
	f.Fuzz(func(t *testing.T, b []byte, stream bool) {
		m := &messages{}
		for len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			a := &proto.ProviderAnswer{}
			if wire.Unmarshal(b[1:1+n], a) != nil {
				return
			}
			m.all, b = append(m.all, a), b[1+n:]
		}
		said := len(m.all)
		a := &Answer{client: &Client{}, rpc: m, cancel: func() {}, streamed: stream}
		if a.first() != nil {
			return
		}
		res := a.response() //nolint:bodyclose // it holds nothing
		if res.StatusCode != 200 && (res.StatusCode < 400 || res.StatusCode > 599) {
			t.Fatalf("status %d", res.StatusCode)
		}
		if !a.chunks {
			all, err := io.ReadAll(res.Body)
			if a.failed != nil && (err != nil || !json.Valid(all)) {
				t.Errorf("an error is %q, %v", all, err)
			}
			return
		}
		events := llm.NewSSEReader(res.Body, 0)
		n := 0
		for {
			e, err := events.Next()
			if err != nil {
				break
			}
			if e.Type != nil || bytes.ContainsAny(e.Data, "\r\n") {
				t.Errorf("event %q of type %q", e.Data, e.Type)
			}
			n++
		}
		if n > said+1 { // and the end
			t.Errorf("%d events of %d messages", n, said)
		}
	})
}

// FuzzAsChunk makes a chunk of whatever a plugin says is an answer.
func FuzzAsChunk(f *testing.F) {
	for _, s := range []string{
		`{"choices":[{"message":{"content":"a","tool_calls":[{"id":"t"}]}}],"usage":{}}`, `{}`, `{"choices":null}`, `{"choices":[null]}`,
		`{"choices":[{"message":{"tool_calls":[null]}}]}`, `{"choices":[{"message":null}]}`, `null`, `[]`, `{"choices":[{}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		chunk, err := asChunk(b)
		if err == nil && (!json.Valid(chunk) || bytes.ContainsAny(chunk, "\r\n")) {
			t.Errorf("%q becomes %q", b, chunk)
		}
	})
}
