package llm

import (
	"net/http"
	"strconv"
	"time"
)

// ErrorType gives OpenAI's "type" for a status, for an Error that has none.
func ErrorType(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusNotFound:
		return "not_found_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status == http.StatusServiceUnavailable:
		return "overloaded_error"
	case status == http.StatusGatewayTimeout || status == http.StatusRequestTimeout:
		return "timeout_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// AppendError appends e as a body in OpenAI's shape:
//
//	{"error":{"message":…,"type":…,"param":…,"code":…}}
//
// with "scope", "entity" and "resets_at" (RFC 3339) where the error has them. The cause is left out.
func AppendError(dst []byte, e *Error) []byte {
	typ := e.Type
	if typ == "" {
		typ = ErrorType(e.HTTPStatus())
	}
	message := e.Message
	if message == "" {
		message = http.StatusText(e.HTTPStatus())
	}
	dst = append(dst, `{"error":{"message":`...)
	dst = AppendString(dst, message)
	dst = append(dst, `,"type":`...)
	dst = AppendString(dst, typ)
	dst = append(dst, `,"param":`...)
	dst = appendOrNull(dst, e.Param)
	dst = append(dst, `,"code":`...)
	dst = appendOrNull(dst, e.Code)
	if e.Scope != "" {
		dst = append(dst, `,"scope":`...)
		dst = AppendString(dst, e.Scope)
	}
	if e.Entity != "" {
		dst = append(dst, `,"entity":`...)
		dst = AppendString(dst, e.Entity)
	}
	if !e.ResetsAt.IsZero() {
		dst = append(dst, `,"resets_at":"`...)
		dst = e.ResetsAt.UTC().AppendFormat(dst, time.RFC3339)
		dst = append(dst, '"')
	}
	return append(dst, "}}"...)
}

func appendOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return AppendString(dst, s)
}

// SetErrorHeaders sets the headers that clients' retry loops read: Retry-After in whole
// seconds, rounded up, retry-after-ms and x-should-retry.
func SetErrorHeaders(h http.Header, e *Error) {
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
		h.Set("Retry-After-Ms", strconv.FormatInt(int64((e.RetryAfter+time.Millisecond-1)/time.Millisecond), 10))
	}
	if e.NoRetry {
		h.Set("X-Should-Retry", "false")
	}
}

// ErrorFields are the members of an error body in OpenAI's shape, or in the shapes of those who
// nearly follow it.
type ErrorFields struct{ Message, Type, Code, Param string }

// ParseError reads an error body: {"error":{…}}, {"error":"text"}, or the members at the top
// ("message" or "detail"). What is not there stays empty.
func ParseError(body []byte) ErrorFields {
	var f ErrorFields
	s := scanner{b: body}
	f.members(&s, 0)
	return f
}

func (f *ErrorFields) members(s *scanner, level int) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		key := string(s.key())
		if key == "error" && level == 0 && s.space() == '{' {
			f.members(s, 1)
			continue
		}
		v := scalar(s.value())
		if to := f.member(key); to != nil && (*to == "" || level == 1) {
			*to = v
		}
	}
}

// member is where the member of an error goes, nil if nowhere.
func (f *ErrorFields) member(key string) *string {
	switch key {
	case "message", "error", "detail":
		return &f.Message
	case "type":
		return &f.Type
	case "code":
		return &f.Code
	case "param":
		return &f.Param
	}
	return nil
}

// scalar gives the text of a string or number, else "".
func scalar(v []byte) string {
	switch {
	case len(v) == 0 || v[0] == 'n' || v[0] == '{' || v[0] == '[':
		return ""
	case v[0] == '"':
		return unquote(v)
	}
	return string(v)
}
