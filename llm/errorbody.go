package llm

import (
	"net/http"
	"strconv"
	"strings"
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
type ErrorFields struct {
	Message, Type, Code, Param string
	// Detailed says that they stood in an object or a list of details, which clients of OpenAI's do not read.
	Detailed bool
}

// ParseError reads an error body: {"error":{…}}, {"error":"text"}, or the members at the top
// ("message" or "detail", which may be an object of them, or a list of what is wrong and where). What is
// not there stays empty.
func ParseError(body []byte) ErrorFields {
	var f ErrorFields
	s := scanner{b: body}
	f.members(&s, 0)
	return f
}

func (f *ErrorFields) members(s *scanner, level int) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		key := string(s.key())
		if level == 0 && (key == "error" || key == "detail") && s.space() == '{' {
			f.members(s, 1)
			f.Detailed = f.Detailed || key == "detail"
			continue
		}
		if level == 0 && key == "detail" && s.space() == '[' {
			f.details(s)
			f.Detailed = true
			continue
		}
		v := scalar(s.value())
		if to := f.member(key); to != nil && (*to == "" || level == 1) {
			*to = v
		}
	}
}

// details reads a list of faults: [{"loc":["body","a",0],"msg":"text"}]. The first is what is told.
func (f *ErrorFields) details(s *scanner) {
	for n := 0; enterIf(s, '[', n) && s.next(']', n); n++ {
		var message, param string
		for m := 0; enterObject(s, m) && s.next('}', m); m++ {
			switch string(s.key()) {
			case "msg":
				message = scalar(s.value())
			case "loc":
				param = location(s)
			default:
				s.value()
			}
		}
		if f.Message == "" {
			f.Message, f.Param = message, param
		}
	}
}

// location is the path to what is wrong, without that it stands in the body.
func location(s *scanner) string {
	var path []string
	for n := 0; enterIf(s, '[', n) && s.next(']', n); n++ {
		if part := scalar(s.value()); n > 0 || part != "body" {
			path = append(path, part)
		}
	}
	return strings.Join(path, ".")
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
