// Package ragflow knows the assistants and agents of a RAGFlow server, which speak OpenAI's chat
// completions at a path of each, as its HTTP API reference has them, but for their errors, which come
// with a good status.
package ragflow

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is the server's format.
type Codec struct{ openai.Codec }

// Path is that of an assistant, whose model is named "chat/ID" or "ID", or of an agent: "agent/ID". What
// follows the id, a model's name after LiteLLM's example, counts for nothing: the server knows its own.
func (Codec) Path(p llm.Place) string {
	kind, id, found := strings.Cut(p.Model, "/")
	if !found {
		kind, id = "chat", p.Model
	}
	id, _, _ = strings.Cut(id, "/")
	if kind != "agent" {
		return "/api/v1/chats_openai/" + url.PathEscape(id) + "/chat/completions"
	}
	return "/api/v1/agents_openai/" + url.PathEscape(id) + "/chat/completions"
}

// Read reads an answer, an event, or an error that came with a good status.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	r, err := c.Codec.Read(e, body)
	if err == nil && r.Seen == 0 {
		_, _, failed := fault(body)
		r.HasError = r.HasError || failed
	}
	return r, err
}

// fault reads {"code":102,"message":"text"}.
func fault(body []byte) (code int, message string, failed bool) {
	var got struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &got) != nil || got.Code == 0 {
		return 0, "", false
	}
	return got.Code, got.Message, true
}

// statuses are what the server's own codes mean; others are failures of its.
var statuses = map[int]int{
	101: http.StatusBadRequest,   // an argument
	102: http.StatusBadRequest,   // the data, such as an id
	108: http.StatusForbidden,    // permission
	109: http.StatusUnauthorized, // authentication
	400: http.StatusBadRequest, 401: http.StatusUnauthorized, 403: http.StatusForbidden, 404: http.StatusNotFound,
}

// Classify makes the error of an answer.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	code, message, failed := fault(body)
	if !failed {
		return c.Codec.Classify(now, status, h, body)
	}
	if status < 300 {
		status = http.StatusBadGateway
		if s, ok := statuses[code]; ok {
			status = s
		}
	}
	said := llm.AppendString([]byte(`{"error":{"message":`), message)
	said = strconv.AppendInt(append(said, `,"code":"`...), int64(code), 10)
	e := c.Codec.Classify(now, status, h, append(said, `"}}`...))
	e.Body = nil
	return e
}
