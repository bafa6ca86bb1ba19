package anthropic

import (
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
)

// The types of Anthropic's errors.
const (
	typeInvalid    = "invalid_request_error"
	typeAuth       = "authentication_error"
	typeBilling    = "billing_error"
	typePermission = "permission_error"
	typeNotFound   = "not_found_error"
	typeTooLarge   = "request_too_large"
	typeRate       = "rate_limit_error"
	typeTimeout    = "timeout_error"
	typeAPI        = "api_error"
	typeOverloaded = "overloaded_error"
)

// statuses are those that errors of each type come with, for one that came in a stream.
var statuses = map[string]int{
	typeInvalid: http.StatusBadRequest, typeAuth: http.StatusUnauthorized, typeBilling: http.StatusPaymentRequired,
	typePermission: http.StatusForbidden, typeNotFound: http.StatusNotFound, typeTooLarge: http.StatusRequestEntityTooLarge,
	typeRate: http.StatusTooManyRequests, typeTimeout: http.StatusGatewayTimeout,
	typeAPI: http.StatusInternalServerError, typeOverloaded: 529,
}

// types are those of errors that have none of Anthropic's, by their status. Others below 500 are
// typeInvalid, and from there on typeAPI.
var types = map[int]string{
	http.StatusUnauthorized: typeAuth, http.StatusPaymentRequired: typeBilling, http.StatusForbidden: typePermission,
	http.StatusNotFound: typeNotFound, http.StatusRequestEntityTooLarge: typeTooLarge, http.StatusTooManyRequests: typeRate,
	http.StatusRequestTimeout: typeTimeout, http.StatusGatewayTimeout: typeTimeout,
	http.StatusServiceUnavailable: typeOverloaded, 529: typeOverloaded,
}

// classify makes the error of an answer with OpenAI's rules, which are the gateway's, after it
// has translated what Anthropic says in words of its own.
func classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	f := llm.ParseError(body)
	if s, ok := statuses[f.Type]; ok && (status < 300 || status > 599) {
		status = s
	}
	if status == http.StatusBadRequest && account(f.Message) {
		status = http.StatusPaymentRequired
	}
	e := openai.Codec{}.Classify(now, status, h, body)
	if e.Type == "error" {
		e.Type = "" // of the body, which names none of its error
	}
	if e.Kind == llm.Invalid && e.Code == "" {
		e.Code = refine(f.Message)
	}
	if (e.Kind == llm.RateLimited || e.Kind >= llm.Unavailable) && e.RetryAfter == 0 {
		e.RetryAfter = untilReset(now, h)
	}
	keepLimits(e, h)
	return e
}

// account says that the gateway's own account at Anthropic cannot be served, which comes with the
// status of a request that is wrong.
func account(message string) bool {
	return contains(message, "credit balance is too low", "usage limits", "organization has been disabled", "workspace has been disabled")
}

// refine recognises the two refusals for which a model may have fallbacks of their own.
func refine(message string) string {
	switch {
	case contains(message, "exceed context limit", "exceed the context", "too many total text bytes"):
		return openai.CodeContext
	case contains(message, "content filtering policy"):
		return openai.CodeContent
	}
	return ""
}

// contains looks for any of the texts, which are in lower case.
func contains(s string, texts ...string) bool {
	s = strings.ToLower(s)
	for _, t := range texts {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

// limits are what Anthropic counts, in its headers' names.
var limits = [...]string{"Requests", "Tokens", "Input-Tokens", "Output-Tokens"}

// untilReset is how long it takes until everything of which nothing remains is filled again.
func untilReset(now time.Time, h http.Header) (wait time.Duration) {
	for _, what := range limits {
		if h.Get("Anthropic-Ratelimit-"+what+"-Remaining") != "0" {
			continue
		}
		if t, err := time.Parse(time.RFC3339, h.Get("Anthropic-Ratelimit-"+what+"-Reset")); err == nil {
			wait = max(wait, t.Sub(now))
		}
	}
	return min(wait, 24*time.Hour)
}

// keepLimits keeps the headers about limits.
func keepLimits(e *llm.Error, h http.Header) {
	for k, v := range h {
		if strings.HasPrefix(http.CanonicalHeaderKey(k), "Anthropic-Ratelimit-") {
			if e.Header == nil {
				e.Header = make(http.Header)
			}
			e.Header[k] = v
		}
	}
}

// errorType is Anthropic's type for an error. OpenAI has one type for many statuses.
func errorType(e *llm.Error) string {
	if _, ok := statuses[e.Type]; ok && e.Type != typeInvalid || e.Kind == llm.OverBudget && e.Type != "" {
		return e.Type
	}
	status := e.HTTPStatus()
	if typ, ok := types[status]; ok {
		return typ
	}
	if status >= 500 {
		return typeAPI
	}
	return typeInvalid
}

// AppendError appends e as a body in Anthropic's shape:
//
//	{"type":"error","error":{"type":…,"message":…},"request_id":…}
//
// The error has "code", "param", "scope", "entity" and "resets_at" (RFC 3339) beside, where they
// are known, and the request's id is the provider's. The cause is left out.
func AppendError(dst []byte, e *llm.Error) []byte {
	message := e.Message
	if message == "" {
		message = http.StatusText(e.HTTPStatus())
	}
	dst = append(dst, `{"type":"error","error":{"type":`...)
	dst = llm.AppendString(dst, errorType(e))
	dst = append(dst, `,"message":`...)
	dst = llm.AppendString(dst, message)
	for _, m := range [...]struct{ name, value string }{
		{"code", e.Code}, {"param", e.Param}, {"scope", e.Scope}, {"entity", e.Entity},
	} {
		if m.value != "" {
			dst = llm.AppendString(llm.AppendKey(dst, m.name), m.value)
		}
	}
	if !e.ResetsAt.IsZero() {
		dst = llm.AppendString(llm.AppendKey(dst, "resets_at"), e.ResetsAt.UTC().Format(time.RFC3339))
	}
	dst = append(dst, '}')
	if id := e.Header.Get("Request-Id"); id != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "request_id"), id)
	}
	return append(dst, '}')
}

// AppendErrorEvent appends the event with which an error ends a stream that has begun.
func AppendErrorEvent(dst []byte, e *llm.Error) []byte {
	return llm.AppendEvent(dst, "error", AppendError(nil, e))
}
