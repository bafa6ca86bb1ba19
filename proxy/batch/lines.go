package batch

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	maxProblems = 100
	maxCustomID = 512
)

// line is one request of a batch.
type line struct {
	CustomID string          `json:"custom_id"`
	Method   string          `json:"method"`
	URL      string          `json:"url"`
	Body     json.RawMessage `json:"body"`
}

// readLines reads the file of a batch. What is wrong is told with the number of the line.
func readLines(body []byte, endpoint string, most int64) ([]line, []resource.BatchProblem) {
	var all []line
	var wrong []resource.BatchProblem
	seen := map[string]bool{}
	at := int64(0)
	for raw := range bytes.Lines(body) {
		at++
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue
		}
		if int64(len(all)) == most {
			return nil, []resource.BatchProblem{{Code: "too_many_tasks", Message: "The file has more than " + strconv.FormatInt(most, 10) + " lines."}}
		}
		l, p := readLine(raw, endpoint)
		if p == nil && seen[l.CustomID] {
			p = &resource.BatchProblem{Code: "duplicate_custom_id", Param: "custom_id", Message: "Another line has this custom_id."}
		}
		if p != nil {
			p.Line = at
			if wrong = append(wrong, *p); len(wrong) == maxProblems {
				return nil, wrong
			}
			continue
		}
		seen[l.CustomID] = true
		all = append(all, l)
	}
	if len(all) == 0 && len(wrong) == 0 {
		wrong = append(wrong, resource.BatchProblem{Code: "empty_file", Message: "The file has no line."})
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return all, nil
}

// readLine reads one line.
func readLine(raw []byte, endpoint string) (line, *resource.BatchProblem) {
	var l line
	wrong := func(code, param, message string) (line, *resource.BatchProblem) {
		return l, &resource.BatchProblem{Code: code, Param: param, Message: message}
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return wrong("invalid_json_line", "", "The line is not a JSON object of a request.")
	}
	switch {
	case l.CustomID == "":
		return wrong("missing_required_parameter", "custom_id", "The line has no custom_id.")
	case len(l.CustomID) > maxCustomID:
		return wrong("invalid_value", "custom_id", "The custom_id has more than 512 bytes.")
	case l.Method != "POST":
		return wrong("invalid_method", "method", "The method must be POST.")
	case l.URL != endpoint:
		return wrong("mismatched_endpoint", "url", "The url must be the endpoint of the batch, "+endpoint+".")
	case len(l.Body) == 0 || l.Body[0] != '{':
		return wrong("missing_required_parameter", "body", "The line has no body that is an object.")
	}
	f, err := llm.Peek(l.Body)
	switch {
	case err != nil:
		return wrong("invalid_request", "body", "The body cannot be read: "+strings.TrimSpace(errorText(err)))
	case f.Model == "":
		return wrong("missing_required_parameter", "body.model", "The body names no model.")
	case f.Stream:
		return wrong("invalid_value", "body.stream", "The answers of a batch do not stream.")
	}
	return l, nil
}

// errorText is what a client may read of an error.
func errorText(err error) string {
	if e, ok := err.(*llm.Error); ok { //nolint:errorlint // Peek's own
		return e.Message
	}
	return "it is not valid."
}

// answer is a line of an output or error file.
type answer struct {
	ID       string    `json:"id"`
	CustomID string    `json:"custom_id"`
	Response *response `json:"response"`
	Error    *failure  `json:"error"`
}

type response struct {
	Status    int             `json:"status_code"`
	RequestID string          `json:"request_id"`
	Body      json.RawMessage `json:"body"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// appendLine appends a line of a file.
func appendLine(dst []byte, a *answer) []byte {
	if a.Response != nil && !json.Valid(a.Response.Body) {
		text, err := json.Marshal(string(a.Response.Body))
		if err != nil {
			text = []byte(`""`)
		}
		a.Response.Body = text
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(a); err != nil { // the body is valid, the rest are texts
		return dst
	}
	return append(dst, b.Bytes()...)
}
