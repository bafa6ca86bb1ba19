package bedrock

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
)

var (
	errNoObject  = errors.New("it is no JSON object")
	errNoMessage = errors.New("it has no message")
)

// malformed is the error of an answer that cannot be read.
func malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

// cut is the error of a stream that ended before its answer did.
func cut() error {
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did."}
}

// The names of the exceptions with which errors of the gateway's are told.
const (
	exValidation  = "ValidationException"
	exDenied      = "AccessDeniedException"
	exNotFound    = "ResourceNotFoundException"
	exThrottling  = "ThrottlingException"
	exTimeout     = "ModelTimeoutException"
	exInternal    = "InternalServerException"
	exUnavailable = "ServiceUnavailableException"
	exModel       = "ModelErrorException"
)

// exceptions are the statuses that they mean. Amazon's own differ where its SDKs look at the
// name: an exceeded quota comes as 400, a model that is not ready as 429.
var exceptions = map[string]int{
	exValidation: http.StatusBadRequest, "SerializationException": http.StatusBadRequest, "ConflictException": http.StatusConflict,
	exDenied: http.StatusForbidden, "UnrecognizedClientException": http.StatusForbidden, "InvalidSignatureException": http.StatusForbidden,
	"SignatureDoesNotMatch": http.StatusForbidden, "IncompleteSignatureException": http.StatusForbidden, "IncompleteSignature": http.StatusForbidden,
	"ExpiredTokenException": http.StatusForbidden, "ExpiredToken": http.StatusForbidden, "InvalidClientTokenId": http.StatusForbidden,
	"MissingAuthenticationTokenException": http.StatusForbidden, "MissingAuthenticationToken": http.StatusForbidden,
	"RequestExpired": http.StatusForbidden, "NotAuthorizedException": http.StatusForbidden, "OptInRequired": http.StatusForbidden,
	exNotFound: http.StatusNotFound, "UnknownOperationException": http.StatusMethodNotAllowed,
	exThrottling: http.StatusTooManyRequests, "TooManyRequestsException": http.StatusTooManyRequests,
	"ServiceQuotaExceededException": http.StatusTooManyRequests, "LimitExceededException": http.StatusTooManyRequests,
	"ModelNotReadyException": http.StatusServiceUnavailable, exUnavailable: http.StatusServiceUnavailable, "ServiceUnavailable": http.StatusServiceUnavailable,
	exTimeout: http.StatusGatewayTimeout, exModel: http.StatusFailedDependency, "ModelStreamErrorException": http.StatusFailedDependency,
	exInternal: http.StatusInternalServerError, "InternalFailure": http.StatusInternalServerError, "InternalServerError": http.StatusInternalServerError,
}

// classify makes the error of an answer with OpenAI's rules, which are the gateway's, after it has
// read the name of Amazon's exception.
func classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	name, message := exception(h, body)
	if s, ok := exceptions[name]; ok {
		status = s
	} else if name != "" && status < 300 {
		status = http.StatusBadGateway
	}
	if status == http.StatusBadRequest && unknownModel(message) {
		status = http.StatusNotFound
	}
	said := body
	if message != "" {
		said = appendMessage(nil, message) // which Amazon spells in two ways
	}
	e := openai.Codec{}.Classify(now, status, h, said)
	if e.Code == openai.CodeCredentials {
		return e
	}
	if e.Body != nil {
		e.Body = body
	}
	if name != "" {
		e.Type = name
	}
	if message != "" {
		e.Message = message
	}
	e.Code = code(e.Kind, message)
	if e.Kind == llm.Upstream && status == http.StatusFailedDependency {
		e.Status = http.StatusBadGateway
	}
	keepID(e, h)
	return e
}

// exception reads the name of an exception, which stands in a header or in the body, with or
// without what it belongs to, and its message.
func exception(h http.Header, body []byte) (name, message string) {
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "__type":
			name = c.Text()
		case "message", "Message":
			message = c.Text()
		default:
			c.Raw()
		}
	}
	if v := h.Get("X-Amzn-Errortype"); v != "" {
		name = v
	}
	name, _, _ = strings.Cut(name, ":")
	name = name[strings.LastIndexByte(name, '#')+1:]
	if name != "" && name[0] >= 'a' && name[0] <= 'z' { // as in a stream
		name = string(name[0]-'a'+'A') + name[1:]
	}
	return name, message
}

// unknownModel recognises the refusals of a model that is not there, or not so, which come as
// faults of the request.
func unknownModel(message string) bool {
	return contains(message, "model identifier is invalid", "on-demand throughput isn", "marked by provider as legacy", "end of its life",
		"provided model doesn't support on-demand", "could not resolve the foundation model")
}

// code is the code of an error: one of the two for which a model may have fallbacks, or what
// OpenAI calls it.
func code(k llm.Kind, message string) string {
	switch {
	case k == llm.Invalid && contains(message, "input is too long", "prompt is too long", "too many input tokens", "input tokens exceeded", "maximum context length",
		"context window", "context limit", "exceeds the maximum number of tokens", "too large for model with", "expected maxlength", "input length and `max_tokens` exceed"):
		return openai.CodeContext
	case k == llm.Invalid && contains(message, "content filter", "content policy", "blocked by", "responsible ai policy"):
		return openai.CodeContent
	case k == llm.RateLimited:
		return "rate_limit_exceeded"
	case k == llm.NotFound:
		return "model_not_found"
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

// keepID keeps the headers that Amazon's clients and its support ask for.
func keepID(e *llm.Error, h http.Header) {
	for _, name := range [...]string{"X-Amzn-Requestid", "X-Amzn-Errortype"} {
		if v := h.Values(name); len(v) > 0 {
			if e.Header == nil {
				e.Header = make(http.Header)
			}
			e.Header[name] = v
		}
	}
}

// exceptionOf is the name of the exception that tells of an error.
func exceptionOf(e *llm.Error) string {
	if _, ok := exceptions[e.Type]; ok {
		return e.Type
	}
	switch status := e.HTTPStatus(); {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return exDenied
	case status == http.StatusNotFound:
		return exNotFound
	case status == http.StatusTooManyRequests:
		return exThrottling
	case status == http.StatusRequestTimeout || status == http.StatusGatewayTimeout:
		return exTimeout
	case status == http.StatusServiceUnavailable:
		return exUnavailable
	case status == http.StatusBadGateway || status == http.StatusFailedDependency:
		return exModel
	case status >= 500:
		return exInternal
	}
	return exValidation
}

// AppendError appends e as a body in Amazon's shape, in which its SDKs find the exception's name:
//
//	{"__type":…,"message":…}
//
// "reason", which is the gateway's code, "param", "scope", "entity" and "resets_at" (RFC 3339)
// stand beside, where they are known. The cause is left out.
func AppendError(dst []byte, e *llm.Error) []byte {
	dst = append(dst, `{"__type":`...)
	dst = llm.AppendString(dst, exceptionOf(e))
	dst = append(dst, `,"message":`...)
	dst = llm.AppendString(dst, messageOf(e))
	for _, m := range [...]struct{ name, value string }{
		{"reason", e.Code}, {"param", e.Param}, {"scope", e.Scope}, {"entity", e.Entity},
	} {
		if m.value != "" {
			dst = llm.AppendString(llm.AppendKey(dst, m.name), m.value)
		}
	}
	if !e.ResetsAt.IsZero() {
		dst = llm.AppendString(llm.AppendKey(dst, "resets_at"), e.ResetsAt.UTC().Format(time.RFC3339))
	}
	return append(dst, '}')
}

func messageOf(e *llm.Error) string {
	if e.Message == "" {
		return http.StatusText(e.HTTPStatus())
	}
	return e.Message
}

// AppendErrorEvent appends the frame with which an error ends a stream that has begun: one of the
// exceptions that a stream of Converse may have.
func AppendErrorEvent(dst []byte, e *llm.Error) []byte {
	name := "internalServerException"
	switch exceptions[exceptionOf(e)] {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound:
		name = "validationException"
	case http.StatusTooManyRequests:
		name = "throttlingException"
	case http.StatusServiceUnavailable:
		name = "serviceUnavailableException"
	case http.StatusFailedDependency, http.StatusGatewayTimeout:
		name = "modelStreamErrorException"
	}
	return AppendException(dst, name, messageOf(e))
}
