package gemini

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
)

// failure is an error as Google says it: {"error":{"code","message","status","details"}}, which
// streams put into an array.
type failure struct {
	code    int
	message string
	status  string
	reason  string // of the ErrorInfo
	quota   string // the quotaId of the first violation
	field   string // of the first violation of a BadRequest
	retry   time.Duration
	blocked string // no error, but a prompt that was not answered: its blockReason
}

// statuses are the HTTP statuses of Google's canonical codes.
var statuses = map[string]int{
	"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
	"PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ABORTED": 409, "ALREADY_EXISTS": 409,
	"RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "DATA_LOSS": 500, "UNKNOWN": 500, "INTERNAL": 500,
	"UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}

// kinds gives the kind of each status that is neither Invalid (other 4xx) nor Upstream (others).
var kinds = map[int]llm.Kind{
	401: llm.Upstream, 402: llm.Upstream, 403: llm.Upstream, 404: llm.NotFound, 405: llm.Upstream, 407: llm.Upstream,
	408: llm.Timeout, 409: llm.Unavailable, 410: llm.NotFound, 413: llm.TooLarge, 421: llm.Upstream, 424: llm.Upstream, 425: llm.Upstream,
	429: llm.RateLimited, 499: llm.Upstream, 503: llm.Unavailable, 504: llm.Timeout, 522: llm.Timeout, 524: llm.Timeout, 529: llm.Unavailable,
}

// Classify makes the error of an answer. What is a fault of the deployment's own key, account or
// address becomes an error of kind Upstream, and what Google says of it is left to the log.
//
// A status below 300 means that the error came in the body of a good answer.
func (Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	f := parseFailure(body)
	if f.blocked != "" {
		return promptBlocked(f.blocked)
	}
	if status < 300 || status > 599 {
		status = f.guess()
	}
	e := &llm.Error{
		Kind: kind(status), Status: status, Type: f.status, Code: f.kindCode(status), Param: f.field, Message: f.message,
		Body: bytes.Clone(body), Header: keep(h),
	}
	if f.ours(status) {
		return hide(e)
	}
	if e.Kind == llm.RateLimited || e.Kind >= llm.Unavailable {
		e.RetryAfter = max(f.retry, openai.RetryAfter(now, h))
	}
	if e.Message == "" {
		e.Message = "The provider answered with an error."
	}
	if f.code == 0 && f.status == "" {
		e.Body = nil // a proxy's page or words, which are not in Google's form
	}
	return e
}

// promptBlocked is a prompt that a filter refused.
func promptBlocked(reason string) *llm.Error {
	return &llm.Error{
		Kind: llm.Invalid, Status: http.StatusBadRequest, Type: "INVALID_ARGUMENT", Code: openai.CodeContent, NoRetry: true,
		Message: "The provider's filter refused the prompt: " + reason + ".",
	}
}

func kind(status int) llm.Kind {
	if k, ok := kinds[status]; ok {
		return k
	}
	if status >= 400 && status < 500 {
		return llm.Invalid
	}
	return llm.Upstream
}

// IsError says whether a body is an error in Google's form: with one of Google's canonical codes.
func IsError(body []byte) bool {
	f := parseFailure(body)
	_, ok := statuses[f.status]
	return ok
}

// said says whether the body was an error of Google's.
func (f *failure) said() bool { return f.code != 0 || f.message != "" || f.status != "" }

// guess is the status of an error that came with a good one.
func (f *failure) guess() int {
	if f.code >= 400 && f.code < 600 {
		return f.code
	}
	if s, ok := statuses[f.status]; ok {
		return s
	}
	return http.StatusBadGateway
}

// ours says that the gateway's own key, account or address is at fault.
func (f *failure) ours(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		return true
	case http.StatusNotFound:
		return !f.said() // not an API that says so, but a wrong address
	case http.StatusBadRequest:
		return strings.HasPrefix(f.reason, "API_KEY_") || f.reason == "SERVICE_DISABLED" ||
			f.status == "FAILED_PRECONDITION" && contains(f.message, "location is not supported", "billing") ||
			contains(f.message, "api key not valid", "api key expired", "api key not found", "please pass a valid api key")
	}
	return status >= 300 && status < 400
}

// kindCode is the error's code in OpenAI's words, else Google's reason or status in lower case.
func (f *failure) kindCode(status int) string {
	switch {
	case status == http.StatusTooManyRequests && (strings.Contains(f.quota, "PerDay") || contains(f.message, "check your plan and billing")):
		return "insufficient_quota"
	case status == http.StatusTooManyRequests:
		return "rate_limit_exceeded"
	case status == http.StatusNotFound && contains(f.message, "models/", "publisher model", "model"):
		return "model_not_found"
	case status >= 500 || status == http.StatusConflict:
	case contains(f.message, "exceeds the maximum number of tokens", "input token count", "context window", "prompt is too long"):
		return openai.CodeContext
	case contains(f.message, "prohibited use policy", "content policy", "safety filter", "responsible ai", "usage guidelines"):
		return openai.CodeContent
	}
	if f.reason != "" {
		return strings.ToLower(f.reason)
	}
	return strings.ToLower(f.status)
}

// hide keeps what Google says about the gateway's credentials from the client.
func hide(e *llm.Error) *llm.Error {
	return &llm.Error{
		Kind: llm.Upstream, Code: openai.CodeCredentials, Header: e.Header,
		Message: "The provider refused the gateway's request: its key, account or address is wrong there.",
		Err:     fmt.Errorf("provider answered %d %s: %s", e.Status, e.Code, redact(e.Message)),
	}
}

// redact leaves out of a message every word that may be a key, an address of an account or a
// part of one.
func redact(message string) string {
	words := strings.Fields(message)
	for i, w := range words {
		if len(w) > 24 || strings.ContainsAny(w, "*@") || strings.HasPrefix(w, "AIza") || strings.HasPrefix(w, "sk-") || strings.HasPrefix(w, "ya29.") {
			words[i] = "…"
		}
	}
	return strings.Join(words[:min(len(words), 60)], " ")
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

// keep picks the headers of an answer that clients and operators read.
func keep(h http.Header) http.Header {
	var kept http.Header
	for k, v := range h {
		l := strings.ToLower(k)
		if strings.HasPrefix(l, "retry-after") || l == "x-request-id" || l == "x-goog-request-id" || l == "x-vertex-ai-internal-prediction-backend" || strings.HasPrefix(l, "x-ratelimit-") {
			if kept == nil {
				kept = make(http.Header)
			}
			kept[k] = v
		}
	}
	return kept
}

// parseFailure reads an error body, whole or as the one element of a stream's array.
func parseFailure(body []byte) failure {
	var f failure
	s := llm.NewCursor(body)
	if s.Next() == '[' {
		if s.Element(0) {
			f.body(&s)
		}
		return f
	}
	f.body(&s)
	return f
}

func (f *failure) body(s *llm.Cursor) {
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "error":
			f.error(s)
		case "promptFeedback":
			f.blocked = blocked(s)
		default:
			s.Raw()
		}
	}
}

func (f *failure) error(s *llm.Cursor) {
	if s.Next() == '"' {
		f.message = s.Text()
		return
	}
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "code":
			v := s.Raw()
			if f.code, _ = strconv.Atoi(string(v)); f.code == 0 {
				f.reason = unquote(v)
			}
		case "message":
			f.message = s.Text()
		case "status":
			f.status = s.Text()
		case "details":
			for m := 0; s.Element(m); m++ {
				f.detail(s)
			}
		default:
			s.Raw()
		}
	}
}

// detail reads one of the details: RetryInfo, QuotaFailure, ErrorInfo, BadRequest.
func (f *failure) detail(s *llm.Cursor) {
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "retryDelay":
			f.retry = delay(s.Raw())
		case "reason":
			f.reason = s.Text()
		case "violations", "fieldViolations":
			for m := 0; s.Element(m); m++ {
				f.violation(s)
			}
		default:
			s.Raw()
		}
	}
}

func (f *failure) violation(s *llm.Cursor) {
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "quotaId":
			if v := s.Text(); f.quota == "" {
				f.quota = v
			}
		case "field":
			if v := s.Text(); f.field == "" {
				f.field = v
			}
		default:
			s.Raw()
		}
	}
}

// maxDelay bounds what Google may ask for; longer waits are taken for mistakes.
const maxDelay = 24 * time.Hour

// delay reads a duration: "45.837906927s", or {"seconds":…,"nanos":…}.
func delay(v []byte) time.Duration {
	var d time.Duration
	if len(v) > 0 && v[0] == '{' {
		s := llm.NewCursor(v)
		for n := 0; s.Member(n); n++ {
			unit := time.Nanosecond
			if string(s.Name()) == "seconds" {
				unit = time.Second
			}
			t := strings.Trim(string(s.Raw()), `"`)
			if n, err := strconv.ParseInt(t, 10, 32); err == nil {
				d += time.Duration(n) * unit
			}
		}
	} else if parsed, err := time.ParseDuration(unquote(v)); err == nil {
		d = parsed
	}
	return min(max(d, 0), maxDelay)
}

// canonical are Google's canonical codes for the statuses of our own errors.
var canonical = map[int]string{
	400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
	413: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED",
	502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}

// AppendError appends e as a body in Google's shape. The error's code, parameter, scope and entity
// stand in an ErrorInfo, and when to come again in a RetryInfo.
func AppendError(dst []byte, e *llm.Error) []byte {
	status := e.HTTPStatus()
	message := e.Message
	if message == "" {
		message = http.StatusText(status)
	}
	word := e.Type
	if _, ok := statuses[word]; !ok {
		word = canonicalFor(status)
	}
	dst = strconv.AppendInt(append(dst, `{"error":{"code":`...), int64(status), 10)
	dst = llm.AppendString(append(dst, `,"message":`...), message)
	dst = llm.AppendString(append(dst, `,"status":`...), word)
	return append(appendDetails(dst, e), "}}"...)
}

func canonicalFor(status int) string {
	switch word, ok := canonical[status]; {
	case ok:
		return word
	case status < 500:
		return "INVALID_ARGUMENT"
	}
	return "INTERNAL"
}

func appendDetails(dst []byte, e *llm.Error) []byte {
	if e.Code == "" && e.RetryAfter <= 0 {
		return dst
	}
	dst = append(dst, `,"details":[`...)
	if e.Code != "" {
		dst = append(dst, `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":`...)
		dst = llm.AppendString(dst, e.Code)
		dst = append(dst, `,"domain":"conclave"`...)
		dst = append(appendMetadata(dst, e), '}')
	}
	if e.RetryAfter > 0 {
		if e.Code != "" {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"`...)
		dst = strconv.AppendFloat(dst, e.RetryAfter.Seconds(), 'f', -1, 64)
		dst = append(dst, `s"}`...)
	}
	return append(dst, ']')
}

func appendMetadata(dst []byte, e *llm.Error) []byte {
	start := len(dst)
	add := func(name, value string) {
		if value == "" {
			return
		}
		sep := `,"metadata":{`
		if len(dst) > start {
			sep = ","
		}
		dst = llm.AppendString(append(dst, sep...), name)
		dst = llm.AppendString(append(dst, ':'), value)
	}
	add("param", e.Param)
	add("scope", e.Scope)
	add("entity", e.Entity)
	if !e.ResetsAt.IsZero() {
		add("resets_at", e.ResetsAt.UTC().Format(time.RFC3339))
	}
	if len(dst) > start {
		dst = append(dst, '}')
	}
	return dst
}

// AppendErrorEvent appends the event with which an error ends a stream that has begun.
func AppendErrorEvent(dst []byte, e *llm.Error) []byte {
	return append(AppendError(append(dst, "data: "...), e), "\r\n\r\n"...)
}
