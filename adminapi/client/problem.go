package client

import (
	"fmt"
	"net/http"
	"strings"
)

// Problem is an error of the admin API, in the form of RFC 9457 with a code.
type Problem struct {
	Title  string  `json:"title"`            // of the status
	Status int     `json:"status"`           // HTTP status
	Code   string  `json:"code"`             // for programs: "not_found", "conflict", "invalid", …
	Detail string  `json:"detail,omitempty"` // what went wrong this time
	Hint   string  `json:"hint,omitempty"`   // what to do about it
	Fields []Field `json:"fields,omitempty"` // that are wrong
}

// Field says what is wrong with one field of a request.
type Field struct {
	Name   string `json:"name"` // path in the body: "budgets[0].usd"; or a parameter
	Reason string `json:"reason"`
}

// Error implements error.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Title)
	if p.Detail != "" {
		fmt.Fprintf(&b, ": %s", p.Detail)
	}
	if p.Hint != "" {
		fmt.Fprintf(&b, " (%s)", p.Hint)
	}
	return b.String()
}

// GetStatus returns the HTTP status. Its name is huma's, which asks errors for it.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers of an answer that it is: when to try again, if that may help.
// Its name is huma's, which asks errors for it.
func (p *Problem) GetHeaders() http.Header {
	if p.Status != http.StatusServiceUnavailable && p.Status != http.StatusTooManyRequests {
		return nil
	}
	return http.Header{"Retry-After": {"1"}}
}

// ContentType names RFC 9457's media type in place of plain JSON.
func (p *Problem) ContentType(ct string) string {
	if ct == "application/json" {
		return "application/problem+json"
	}
	return ct
}
