package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// Management is what the paths begin with that LiteLLM answers with problem documents (RFC 9457), refusing
// parameters and fields that it does not know.
const Management = "/management/v1"

// Problem is an error of a path below Management that has a type of its own.
type Problem struct {
	Type   string   `json:"type"` // without the beginning of all: "unknown-query-parameter"
	Title  string   `json:"title"`
	Status int      `json:"status"`
	Detail string   `json:"detail"`
	Allow  []string `json:"allowed,omitempty"` // what may stand there instead
}

// Error implements error.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// problemType is what the types of all problems begin with.
const problemType = "urn:litellm:error:"

// WriteProblem writes an error of a path below Management; p is what /api/v1 would say about it. What is wrong with
// a body is unprocessable there, what is wrong with a query a bad request.
func WriteProblem(w http.ResponseWriter, method string, err error, p *client.Problem) {
	out, ok := errors.AsType[*Problem](err)
	if !ok {
		out = &Problem{Type: strings.ReplaceAll(p.Code, "_", "-"), Title: p.Title, Status: p.Status, Detail: p.Detail}
		if p.Status == http.StatusInternalServerError {
			out.Type = "internal-server-error"
		}
		if _, ok := errors.AsType[*resource.Invalid](err); ok {
			out.Type, out.Title = "invalid-query-parameter", "Invalid query parameter"
			if method != http.MethodGet {
				out.Type, out.Title, out.Status = "invalid-request-body", "Invalid request body", http.StatusUnprocessableEntity
			}
		}
	}
	body := *out
	body.Type = problemType + out.Type
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(body.Status)
	_ = json.NewEncoder(w).Encode(body) // who does not listen any more needs no answer
}

// KnownParams refuses parameters of a query that are not among the allowed ones.
func KnownParams(q url.Values, allowed ...string) error {
	var unknown []string
	for name := range q {
		if !slices.Contains(allowed, name) {
			unknown = append(unknown, fmt.Sprintf("%.60q", name))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return &Problem{
		Type: "unknown-query-parameter", Title: "Unknown query parameter", Status: http.StatusBadRequest,
		Detail: "There is no parameter " + strings.Join(unknown, ", ") + ".", Allow: slices.Sorted(slices.Values(allowed)),
	}
}

// KnownFields refuses members of a document that are not among the allowed ones; in is where it stands, "" for the body.
func KnownFields(in string, doc records.Document, allowed ...string) error {
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		if slices.Contains(allowed, name) {
			continue
		}
		if in != "" {
			name = in + "." + name
		}
		return Invalid(name, "is not a field of it")
	}
	return nil
}

// Positive reads a parameter that is a number from 1 on; most is its bound, which is taken for larger ones.
func Positive(q url.Values, name string, otherwise, most int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, Invalid(name, "is not a number from 1 on")
	}
	return min(n, most), nil
}

// MostPage bounds the number of a page.
const MostPage = 1_000_000

// PageLink is the address of another page of an answer.
func PageLink(r *http.Request, page int) string {
	q := maps.Clone(r.URL.Query())
	q.Set("page", strconv.Itoa(page))
	return r.URL.Path + "?" + q.Encode()
}
