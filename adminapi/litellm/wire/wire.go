// Package wire is what LiteLLM's paths have in common on the wire: how a body is read, how an
// answer, a page of rows and an error are written.
package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Handler answers a request of an admitted caller, or returns the error for WriteError.
type Handler func(w http.ResponseWriter, r *http.Request, by records.Caller) error

// Route is a path with what answers it.
type Route struct {
	ID      string // name of its row in the table of rights
	Method  string
	Pattern string
	Handler Handler
}

// errorTypes names the type of an error by its status, where no code says more.
var errorTypes = map[int]string{
	http.StatusBadRequest:          "bad_request_error",
	http.StatusUnauthorized:        "auth_error",
	http.StatusForbidden:           "permission_error",
	http.StatusNotFound:            "not_found_error",
	http.StatusConflict:            "bad_request_error",
	http.StatusUnprocessableEntity: "bad_request_error",
	http.StatusTooManyRequests:     "rate_limit_error",
	http.StatusServiceUnavailable:  "internal_server_error",
}

// WriteError writes an error in OpenAI's shape, as LiteLLM's clients expect; p is what
// /api/v1 would say about it.
func WriteError(w http.ResponseWriter, err error, p *client.Problem) {
	var body struct {
		Error struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		} `json:"error"`
	}
	body.Error.Message = p.Detail
	body.Error.Type = cmp.Or(errorTypes[p.Status], "internal_server_error")
	if p.Code == "overloaded" {
		body.Error.Type = "overloaded_error"
	}
	if len(p.Fields) > 0 {
		body.Error.Param = &p.Fields[0].Name
	}
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Type != "" {
		body.Error.Type = e.Type
	}
	body.Error.Code = strconv.Itoa(p.Status)
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(body) // who does not listen any more needs no answer
}

// Answer writes v with the headers of a write.
func Answer(w http.ResponseWriter, wr records.Written, v any) error {
	return AnswerWith(w, http.StatusOK, wr, v)
}

// AnswerWith is Answer with another status; with http.StatusNoContent v is not written.
func AnswerWith(w http.ResponseWriter, status int, wr records.Written, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	if wr.Index != "" {
		w.Header().Set(client.HeaderIndex, wr.Index)
	}
	wr.Receipt.Put(w.Header())
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // who does not listen any more needs no answer
	return nil
}

// Invalid makes an *resource.Invalid.
func Invalid(field, reason string) error { return &resource.Invalid{Field: field, Reason: reason} }

// ReadBody reads a body of LiteLLM's: fields that neither LiteLLM nor a record knows are ignored there and here, but see
// fields.Refuse and fields.Ours.
func ReadBody(r *http.Request) (records.Document, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", errors.Join(err, &llm.Error{Kind: llm.TooLarge, Message: "the body is over 1 MiB"}))
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return records.Document{}, nil
	}
	return records.ParseDocument(b)
}

// Rows writes records.
func Rows[P any](all []P, row func(P) map[string]any) []map[string]any {
	out := make([]map[string]any, 0, len(all))
	for _, r := range all {
		out = append(out, row(r))
	}
	return out
}

// Stamps writes when and by whom a record was made.
func Stamps(row map[string]any, m *resource.Meta) {
	row["created_at"], row["created_by"] = m.CreatedAt, m.CreatedBy
	row["updated_at"], row["updated_by"] = m.UpdatedAt, m.UpdatedBy
}

// Selects says whether a value passes a filter of a query; an empty one passes all.
func Selects(asked, value string) bool { return asked == "" || asked == value }
