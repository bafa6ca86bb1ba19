package reply

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/anthropic"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/gemini"
)

// The places that an error may come from, in x-conclave-error-origin.
const (
	originGateway  = "gateway"
	originProvider = "provider"
)

// defaultCodes are the codes of errors of our own that name none. Those that OpenAI has a
// word for use it; the others are marked as ours.
var defaultCodes = [...]string{
	llm.Internal:        "conclave_internal",
	llm.Invalid:         "conclave_invalid_request",
	llm.Unauthenticated: "invalid_api_key",
	llm.Forbidden:       "conclave_forbidden",
	llm.NotFound:        "model_not_found",
	llm.TooLarge:        "conclave_request_too_large",
	llm.RateLimited:     "rate_limit_exceeded",
	llm.OverBudget:      CodeBudget,
	llm.Blocked:         "guardrail_blocked",
	llm.Unavailable:     "conclave_unavailable",
	llm.Upstream:        "conclave_upstream_failed",
	llm.Timeout:         "conclave_upstream_timeout",
	llm.Canceled:        "conclave_canceled",
}

// CodeBudget is the type and code of a refusal for want of money.
const CodeBudget = "budget_exceeded"

// AsError makes an *llm.Error of any error. What is not one already is a fault of our own,
// of which the client learns nothing.
func AsError(err error) *llm.Error {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: err}
	}
	return &llm.Error{Kind: llm.Internal, Message: "The gateway failed.", Err: err}
}

// relayed says whether the error is a provider's answer, whose bytes are relayed.
func relayed(e *llm.Error) bool { return len(e.Body) > 0 && e.Status != 0 }

// shape is how an error looks in the dialect of a vendor.
type shape struct {
	body  func(dst []byte, e *llm.Error) []byte // of a whole answer
	event func(dst []byte, e *llm.Error) []byte // that ends a stream which has begun
}

// shapes are those of the vendors whose errors are not OpenAI's.
var shapes = map[llm.Vendor]shape{
	llm.VendorAnthropic: {anthropic.AppendError, anthropic.AppendErrorEvent},
	llm.VendorAmazon:    {bedrock.AppendError, bedrock.AppendErrorEvent},
	llm.VendorGoogle:    {gemini.AppendError, gemini.AppendErrorEvent},
}

// WriteError is the one place where an error becomes HTTP, in the shape of the vendor whose
// dialect the client speaks. A provider's own error is relayed with its status and bytes.
func WriteError(w Writer, e *llm.Error, v llm.Vendor) {
	h := w.Header()
	setRetryAfter(h, e)
	if e.NoRetry {
		h.Set("X-Should-Retry", "false")
	}
	body := e.Body
	origin := originProvider
	if relayed(e) {
		h.Set("Content-Type", typeOf(body))
		copyErrorHeaders(h, e.Header)
	} else {
		if !e.FromProvider && !providerFailed(e.Kind) {
			origin = originGateway
		}
		body = bodyFor(e, v)
		maps.Copy(h, e.Header) // how a limit of ours stands
		setRetryAfter(h, e)    // the provider's own may be a fraction, or a date of its clock
		h.Set("Content-Type", "application/json")
	}
	h.Set("X-Conclave-Error-Origin", origin)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Start(e.HTTPStatus())
	_, _ = w.Write(body) // a client that went away has no use for it
}

// setRetryAfter sets when to come again, in whole seconds.
func setRetryAfter(h http.Header, e *llm.Error) {
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(e.RetryAfter.Seconds())), 10))
	}
}

// bodyFor renders an error of our own.
func bodyFor(e *llm.Error, v llm.Vendor) []byte {
	s, ok := shapes[v]
	if !ok {
		return errorBody(e)
	}
	named := *e
	named.Code, named.Type = Code(e), "" // the vendor's own word follows from the status
	if named.Message == "" {
		named.Message = http.StatusText(e.HTTPStatus())
	}
	return s.body(nil, &named)
}

func providerFailed(k llm.Kind) bool { return k == llm.Upstream || k == llm.Timeout }

// typeOf is the content type of a provider's error that does not name its own.
func typeOf(body []byte) string {
	if json.Valid(body) {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// copyErrorHeaders copies what clients act on: the kind of the body and when to try again.
func copyErrorHeaders(to, from http.Header) {
	for _, name := range [...]string{"Content-Type", "Retry-After", "Retry-After-Ms", "X-Should-Retry"} {
		if v := from.Get(name); v != "" {
			to.Set(name, v)
		}
	}
}

// errorReply is OpenAI's error, with what our own limits and budgets add.
type errorReply struct {
	Error struct {
		Message   string     `json:"message"`
		Type      string     `json:"type"`
		Param     *string    `json:"param"`
		Code      string     `json:"code"`
		Scope     string     `json:"scope,omitempty"`
		Entity    string     `json:"entity,omitempty"`
		ResetsAt  *time.Time `json:"resets_at,omitempty"`
		RequestID string     `json:"request_id,omitempty"`
	} `json:"error"`
}

// errorBody renders an error of our own.
func errorBody(e *llm.Error) []byte {
	var r errorReply
	r.Error.Message = e.Message
	if r.Error.Message == "" {
		r.Error.Message = http.StatusText(e.HTTPStatus())
	}
	r.Error.Type = Type(e)
	r.Error.Code = Code(e)
	if e.Param != "" {
		r.Error.Param = &e.Param
	}
	r.Error.Scope, r.Error.Entity = e.Scope, e.Entity
	if !e.ResetsAt.IsZero() {
		at := e.ResetsAt.UTC()
		r.Error.ResetsAt = &at
	}
	b, err := json.Marshal(&r)
	if err != nil { // invalid UTF-8 is replaced, so that nothing is left to fail
		return []byte(`{"error":{"message":"The gateway failed.","type":"internal_server_error","param":null,"code":"conclave_internal"}}`)
	}
	return b
}

// Code is the code of an error: its own, else its kind's. Some providers say a sentence there, or the
// status again, neither of which is one.
func Code(e *llm.Error) string {
	if e.Code != "" && (!e.FromProvider || isCode(e.Code)) {
		return e.Code
	}
	return defaultCodes[e.Kind]
}

// Recorded is Code for records and logs, which outlive the answer: of a provider's, which may quote the prompt in it,
// only what is a word or a number.
func Recorded(e *llm.Error) string {
	code := Code(e)
	if e.FromProvider && !isWord(code) {
		return "upstream_error"
	}
	return code
}

// isWord says whether a code is a short word, such as "context_length_exceeded", or a number.
func isWord(code string) bool {
	letter := func(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' || strings.ContainsRune("_-.", r) }
	digit := func(r rune) bool { return r >= '0' && r <= '9' }
	other := func(is func(rune) bool) bool { return strings.ContainsFunc(code, func(r rune) bool { return !is(r) }) }
	return len(code) <= 64 && !other(letter) || len(code) <= 8 && !other(digit)
}

func isCode(code string) bool {
	status, err := strconv.Atoi(code)
	return !strings.ContainsAny(code, " \t\n") && (err != nil || status < 400 || status > 599)
}

// openAITypes are the types of errors that clients of OpenAI's know. What other vendors call theirs says
// the same as the status.
var openAITypes = map[string]bool{
	"invalid_request_error": true, "authentication_error": true, "permission_error": true, "not_found_error": true, "rate_limit_error": true,
	"server_error": true, "api_error": true, "timeout_error": true, "overloaded_error": true, "insufficient_quota": true, "tokens": true, "requests": true,
	"image_generation_user_error": true,
}

// Type names the class of an error as LiteLLM does.
func Type(e *llm.Error) string {
	if e.Type != "" && (!e.FromProvider || openAITypes[e.Type]) {
		return e.Type
	}
	if e.Kind == llm.OverBudget {
		return CodeBudget
	}
	switch status := e.HTTPStatus(); {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status < http.StatusInternalServerError:
		return "invalid_request_error"
	default:
		return "internal_server_error"
	}
}

// ErrorEvent renders an error that comes when a stream has begun which answers a request for the endpoint, in the shape of
// the vendor whose dialect the client speaks.
func ErrorEvent(e *llm.Error, v llm.Vendor, at llm.Endpoint) []byte {
	if s, ok := shapes[v]; ok {
		return s.event(nil, e)
	}
	if at == llm.Responses {
		return responsesEvent(e)
	}
	body := errorBody(e)
	if relayed(e) && json.Valid(e.Body) {
		if one, err := json.Marshal(json.RawMessage(e.Body)); err == nil { // on one line
			body = one
		}
	}
	ev := make([]byte, 0, len(body)+8)
	ev = append(ev, "data: "...)
	ev = append(ev, body...)
	return append(ev, "\n\n"...)
}

// responsesEvent is the event with which OpenAI's responses end when they fail. How many events
// went before is not known here, and clients do not count.
func responsesEvent(e *llm.Error) []byte {
	ev := llm.AppendString([]byte(`{"type":"error","code":`), Code(e))
	message := e.Message
	if message == "" {
		message = http.StatusText(e.HTTPStatus())
	}
	ev = llm.AppendString(append(ev, `,"message":`...), message)
	ev = append(ev, `,"param":`...)
	if e.Param == "" {
		ev = append(ev, "null"...)
	} else {
		ev = llm.AppendString(ev, e.Param)
	}
	return llm.AppendEvent(nil, "error", append(ev, `,"sequence_number":0}`...))
}
