package openai

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// CodeContext and CodeContent are the codes of the two refusals for which a model may have
// fallbacks of their own.
const (
	CodeContext = "context_length_exceeded"
	CodeContent = "content_policy_violation"
)

// CodeCredentials is the code of an error that the deployment's key or account caused.
const CodeCredentials = "upstream_credentials" //nolint:gosec // a code, no secret

// kinds gives the kind of each status that is not Invalid (4xx) or Upstream (all others).
var kinds = map[int]llm.Kind{
	http.StatusUnauthorized: llm.Upstream, http.StatusPaymentRequired: llm.Upstream,
	http.StatusForbidden: llm.Upstream, http.StatusNotFound: llm.NotFound,
	http.StatusMethodNotAllowed: llm.Upstream, http.StatusProxyAuthRequired: llm.Upstream,
	http.StatusRequestTimeout: llm.Timeout, http.StatusConflict: llm.Upstream,
	http.StatusGone: llm.NotFound, http.StatusRequestEntityTooLarge: llm.TooLarge,
	http.StatusMisdirectedRequest: llm.Upstream, http.StatusFailedDependency: llm.Upstream,
	http.StatusTooEarly: llm.Upstream, http.StatusTooManyRequests: llm.RateLimited,
	499: llm.Upstream, http.StatusServiceUnavailable: llm.Unavailable,
	http.StatusGatewayTimeout: llm.Timeout,
	522:                       llm.Timeout, 524: llm.Timeout, // Cloudflare's
	529: llm.Unavailable, // "overloaded"
}

// kind gives the kind of an error.
func kind(status int, f llm.ErrorFields) llm.Kind {
	if ours(status, f) {
		return llm.Upstream
	}
	if k, ok := kinds[status]; ok {
		return k
	}
	if status >= 400 && status < 500 {
		return llm.Invalid
	}
	return llm.Upstream
}

// ours says that the gateway's own set-up is at fault: its key, its account or its address.
func ours(status int, f llm.ErrorFields) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden,
		http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		return true
	case http.StatusNotFound:
		return f == (llm.ErrorFields{}) // not an API that says so, but a wrong address
	case http.StatusBadRequest:
		return f.Code == "invalid_api_key" || contains(f.Message, "api key not valid", "invalid api key", "incorrect api key")
	}
	return status >= 300 && status < 400
}

// hide keeps what the provider says about the gateway's credentials from the client.
func hide(e *llm.Error) *llm.Error {
	return &llm.Error{
		Kind: llm.Upstream, Code: CodeCredentials, Header: e.Header,
		Message: "The provider refused the gateway's request: its key, account or address is wrong there.",
		Err:     fmt.Errorf("provider answered %d %s: %s", e.Status, e.Code, redact(e.Message)),
	}
}

// redact leaves out of a message every word that may be a key or a part of one.
func redact(message string) string {
	words := strings.Fields(message)
	for i, w := range words {
		if len(w) > 24 || strings.ContainsAny(w, "*") || strings.HasPrefix(w, "sk-") {
			words[i] = "…"
		}
	}
	return strings.Join(words[:min(len(words), 60)], " ")
}

// refine gives the code of a refused request, recognising in what words vendors refuse a
// prompt that is too long or unwelcome.
func refine(f llm.ErrorFields) string {
	switch {
	case f.Code == CodeContext || f.Type == "exceed_context_size_error" ||
		contains(f.Message, "maximum context length", "context window", "prompt is too long", "input is too long",
			"exceeds the context", "context length exceeded", "exceeds the available context", "reduce the length of the messages"):
		return CodeContext
	case f.Code == CodeContent || f.Code == "content_filter" ||
		contains(f.Message, "content management policy", "content policy", "usage policy", "safety system"):
		return CodeContent
	}
	return f.Code
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

// statusOf guesses the status of an error that came with a good one.
func statusOf(f llm.ErrorFields) int {
	if n, err := strconv.Atoi(f.Code); err == nil && n >= 400 && n < 600 {
		return n
	}
	switch words := f.Type + " " + f.Code; {
	case contains(words, "rate_limit", "too_many", "quota"):
		return http.StatusTooManyRequests
	case contains(words, "overloaded", "unavailable"):
		return http.StatusServiceUnavailable
	case contains(words, "timeout"):
		return http.StatusGatewayTimeout
	case contains(words, "invalid_request", "context_length", "content_"):
		return http.StatusBadRequest
	}
	return http.StatusBadGateway
}

// keep picks the headers of an answer that clients and operators read: request ids, limits and
// when to come again.
func keep(h http.Header) http.Header {
	var kept http.Header
	for k, v := range h {
		l := strings.ToLower(k)
		if strings.HasPrefix(l, "x-ratelimit-") || strings.HasPrefix(l, "retry-after") ||
			l == "x-request-id" || l == "x-should-retry" || l == "request-id" || l == "openai-processing-ms" || l == "openai-version" || l == "openai-model" {
			if kept == nil {
				kept = make(http.Header)
			}
			kept[k] = v
		}
	}
	return kept
}
