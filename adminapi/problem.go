package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// statuses gives the status and the hint of each code that package resource defines.
var statuses = map[string]struct {
	status int
	hint   string
}{
	"invalid":   {http.StatusBadRequest, ""},
	"not_found": {http.StatusNotFound, ""},
	"conflict":  {http.StatusConflict, "read the record again and repeat the change on it"},
	"exists":    {http.StatusConflict, "choose another name, or update the record that has it"},
	"dead":      {http.StatusConflict, "choose another id"},
	"owner":     {http.StatusConflict, "change it in the configuration file and run conclave apply"},
	"in_use":    {http.StatusConflict, "delete or change what refers to it first"},
	"forbidden": {http.StatusForbidden, ""},
	"no_leader": {http.StatusServiceUnavailable, "most of the cluster's voters must be up and able to reach each other"},
	"expired":   {http.StatusConflict, "try again"},
	"refused":   {http.StatusConflict, ""},

	"quota_exceeded": {http.StatusInsufficientStorage, "delete blobs that nobody needs, or raise the setting blob_quota_mb"},
	"overloaded":     {http.StatusServiceUnavailable, "nothing was done: the leader has as many changes under way as it takes; send it again after Retry-After, to whichever node"},
	"disk_full":      {http.StatusInsufficientStorage, "make room on the leader's disk; conclave cluster status shows how much is free"},
	"quorum":         {http.StatusConflict, "bring back or replace voters first; conclave cluster status shows them"},
}

// kinds names the code of an llm.Error that has none of its own.
var kinds = map[llm.Kind]string{
	llm.Unauthenticated: "unauthenticated",
	llm.Forbidden:       "forbidden",
	llm.Invalid:         "invalid",
	llm.NotFound:        "not_found",
	llm.Unavailable:     "unavailable",
}

// problemOf is the one function that gives an error its status on /api/v1.
func problemOf(err error) *client.Problem {
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*llm.Error](err); ok {
		code := e.Code
		if code == "" {
			code = kinds[e.Kind]
		}
		return newProblem(e.HTTPStatus(), code, e.Message, "")
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return newProblem(http.StatusServiceUnavailable, "timeout", "the cluster did not answer in time", "try again")
	}
	if errors.Is(err, records.ErrVersionRequired) {
		return newProblem(http.StatusPreconditionRequired, "version_required", err.Error(), "send If-Match or version as you read it, or PATCH")
	}
	code := resource.Code(err)
	row, ok := statuses[code]
	if !ok {
		return newProblem(http.StatusInternalServerError, "internal", "the node could not do this; its log says why", "")
	}
	p := newProblem(row.status, code, err.Error(), row.hint)
	if in, ok := errors.AsType[*resource.Invalid](err); ok && in.Field != "" {
		p.Fields = []client.Field{{Name: in.Field, Reason: in.Reason}}
	}
	if item, ok := errors.AsType[*records.ItemError](err); ok {
		p.Fields = []client.Field{fieldOfItem(item, p.Fields)}
	}
	return p
}

// fieldOfItem names one of several documents, and what is wrong in it: "[17].team_id".
func fieldOfItem(item *records.ItemError, inner []client.Field) client.Field {
	f := client.Field{Name: fmt.Sprintf("[%d]", item.Index), Reason: item.Err.Error()}
	if len(inner) > 0 {
		f.Name, f.Reason = f.Name+"."+inner[0].Name, inner[0].Reason
	}
	return f
}

func newProblem(status int, code, detail, hint string) *client.Problem {
	return &client.Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail, Hint: hint}
}

// invalid makes an *resource.Invalid.
func invalid(field, reason string) error { return &resource.Invalid{Field: field, Reason: reason} }

// newHumaError makes a problem of what huma itself finds wrong with a request.
func newHumaError(status int, msg string, errs ...error) huma.StatusError {
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest // one status for everything that is wrong with a request
	}
	p := newProblem(status, codeOfStatus(status), msg, "")
	for _, err := range errs {
		if d, ok := errors.AsType[*huma.ErrorDetail](err); ok {
			p.Fields = append(p.Fields, client.Field{Name: d.Location, Reason: d.Message})
		} else if err != nil {
			p.Fields = append(p.Fields, client.Field{Reason: err.Error()})
		}
	}
	return p
}

func codeOfStatus(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "invalid"
	case http.StatusNotFound:
		return "not_found"
	case http.StatusMethodNotAllowed:
		return "method_not_allowed"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	default:
		return "http_" + strconv.Itoa(status)
	}
}
