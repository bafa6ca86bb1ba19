package modelserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

// codeFailed is the code of a plugin that fails without saying more.
const codeFailed = "provider_plugin_failed"

// done is the event that ends a stream.
var done = []byte("data: [DONE]\n\n")

// Answer is the answer to one request, of which it reads the bytes: of JSON, or of server-sent events. Those
// that nobody reads stay with the plugin, which waits. It is not safe for concurrent use.
type Answer struct {
	client   *Client
	rpc      grpc.ServerStreamingClient[proto.ProviderAnswer]
	cancel   context.CancelFunc
	release  func() // gives the process back to its pool; nil: it has none
	streamed bool   // chunks may come

	failed *proto.ProviderError // that the first message is
	chunks bool                 // the first message is a chunk, so that all are
	buf    []byte               // of what is not read yet
	end    error                // behind buf
	closed bool
}

// first waits for the first message, which says what the answer is.
func (a *Answer) first() error {
	m, err := a.rpc.Recv()
	if errors.Is(err, io.EOF) {
		return invalid("The provider's plugin ended its answer without any.")
	}
	if err != nil {
		return err
	}
	switch k := m.GetKind().(type) {
	case *proto.ProviderAnswer_Error:
		a.failed = k.Error
		a.buf, a.end = errorBody(k.Error), io.EOF
		return nil
	case *proto.ProviderAnswer_Chunk:
		a.chunks = true
	}
	return a.take(m)
}

// take adds a message to what is to be read.
func (a *Answer) take(m *proto.ProviderAnswer) error {
	switch k := m.GetKind().(type) {
	case *proto.ProviderAnswer_Body:
		if !a.chunks {
			a.buf = k.Body
			return nil
		}
	case *proto.ProviderAnswer_Chunk:
		if a.chunks && a.streamed {
			return a.event(k.Chunk)
		}
	case *proto.ProviderAnswer_Error:
		if !a.chunks {
			return invalid("The provider's plugin failed within its answer.")
		}
		a.end = io.EOF
		return a.event(errorBody(k.Error))
	}
	return invalid("The provider's plugin answered with something else than it was asked for.")
}

// event makes an event of the JSON of a chunk, of one line.
func (a *Answer) event(chunk []byte) error {
	if bytes.ContainsAny(chunk, "\r\n") {
		var line bytes.Buffer
		if err := json.Compact(&line, chunk); err != nil {
			return invalid("The provider's plugin sent a chunk that is not JSON.")
		}
		chunk = line.Bytes()
	}
	a.buf = append(append(append(make([]byte, 0, len(chunk)+8), "data: "...), chunk...), '\n', '\n')
	return nil
}

// Read implements io.Reader.
func (a *Answer) Read(p []byte) (int, error) {
	for len(a.buf) == 0 {
		if a.end != nil {
			return 0, a.end
		}
		m, err := a.rpc.Recv()
		switch {
		case errors.Is(err, io.EOF):
			a.end = io.EOF
			if a.chunks {
				a.buf = done
			}
		case err != nil:
			a.end = err
		default:
			if err := a.take(m); err != nil {
				a.end = err
			}
		}
	}
	n := copy(p, a.buf)
	a.buf = a.buf[n:]
	return n, nil
}

// Close implements io.Closer: the plugin's context ends. It may be called more than once.
func (a *Answer) Close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	a.cancel()
	a.client.calls.Add(-1)
	if a.release != nil {
		a.release()
	}
	return nil
}

// Headers of answers, shared by all; they are only read.
var (
	jsonType    = []string{"application/json"}
	eventStream = []string{"text/event-stream"}
)

// response is the answer as one over HTTP, which the adapters of providers read.
func (a *Answer) response() *http.Response {
	res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": jsonType}, Body: a, ContentLength: -1}
	switch e := a.failed; {
	case e != nil:
		res.StatusCode = statusOf(e)
		res.ContentLength = int64(len(a.buf))
		if ms := min(e.GetRetryAfterMs(), uint64(longestRest/time.Millisecond)); ms > 0 {
			res.Header["Retry-After-Ms"] = []string{strconv.FormatUint(ms, 10)}
		}
	case a.chunks:
		res.Header["Content-Type"] = eventStream
	}
	return res
}

// longestRest bounds for how long a plugin may have its deployment left alone.
const longestRest = 24 * time.Hour

// statusOf is the status of a plugin's error: one that is none counts as 502.
func statusOf(e *proto.ProviderError) int {
	if s := e.GetStatus(); s >= 400 && s <= 599 {
		return int(s)
	}
	return http.StatusBadGateway
}

// errorBody is a plugin's error in OpenAI's words.
func errorBody(e *proto.ProviderError) []byte {
	return llm.AppendError(nil, &llm.Error{
		Status: statusOf(e), Type: wiretext.Line(e.GetType(), maxText), Code: wiretext.Line(e.GetCode(), maxText), Param: wiretext.Line(e.GetParam(), maxText),
		Message: wiretext.Line(e.GetMessage(), maxErrorText),
	})
}

// maxErrorText bounds the message of a plugin's error, in bytes.
const maxErrorText = 4096

func invalid(message string) *llm.Error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: message}
}
