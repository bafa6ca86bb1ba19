// Package secretstore is what the shipped secret sources share that ask a service over HTTP: one
// exchange, what its status means to a node, and the fields of secrets that are JSON.
package secretstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 2 << 20

// Request is one request to a store.
type Request struct {
	Method string
	URL    string
	Header map[string]string
	Body   []byte
	// Sign puts the proof of who asks into the request; nil: nothing.
	Sign func(r *http.Request, body []byte) error
}

// Do asks the store named so and returns the status and the body of its answer. It asks once: the
// node asks again.
func Do(ctx context.Context, c *http.Client, name string, r *Request) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return 0, nil, Malformed("the path cannot stand in a URL")
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	if r.Sign != nil {
		if err := r.Sign(req, r.Body); err != nil {
			return 0, nil, &sdk.SecretError{Reason: sdk.SecretDenied, Text: fmt.Sprintf("sign the request to %s: %v", name, err)}
		}
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, &sdk.SecretError{Reason: sdk.SecretUnavailable, Text: fmt.Sprintf("%s: %v", name, service.Unquoted(err))}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return 0, nil, &sdk.SecretError{Reason: sdk.SecretUnavailable, Text: name + ": its answer breaks off, or is too large"}
	}
	return resp.StatusCode, body, nil
}

// Refused is what a status that is not 200 means. What the store says beside it is not repeated.
func Refused(name string, status int) error {
	why := sdk.SecretUnavailable
	switch status {
	case http.StatusNotFound, http.StatusGone:
		why = sdk.SecretNotFound
	case http.StatusForbidden, http.StatusUnauthorized:
		why = sdk.SecretDenied
	case http.StatusBadRequest:
		why = sdk.SecretMalformed
	}
	return &sdk.SecretError{Reason: why, Text: fmt.Sprintf("%s answers %d %s", name, status, http.StatusText(status))}
}

// Malformed is the error of a path or a field that cannot be one of the store's.
func Malformed(text string) error {
	return &sdk.SecretError{Reason: sdk.SecretMalformed, Text: text}
}

// Value is the secret that a store has as one text. With a field it is an object in JSON, and the value
// is the field.
func Value(text, field, version string) (sdk.SecretValue, error) {
	if field != "" {
		var doc map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &doc) != nil {
			return sdk.SecretValue{}, Malformed("the secret is no JSON object, so it has no fields: leave #field out")
		}
		raw, ok := doc[field]
		if !ok {
			return sdk.SecretValue{}, &sdk.SecretError{Reason: sdk.SecretNotFound, Text: "the secret has no such field"}
		}
		if json.Unmarshal(raw, &text) != nil { // a number or an object, as it is written
			text = string(raw)
		}
	}
	return sdk.SecretValue{Text: sdk.NewSecret(text), Version: version}, nil
}

// Path checks that a path has at least least parts, none of which leads elsewhere, and returns them.
func Path(path string, least, most int, example string) ([]string, error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	bad := func(part string) bool {
		return part == "" || part == "." || part == ".." || strings.ContainsAny(part, "?#%\\ \"")
	}
	if len(parts) < least || len(parts) > most || slices.ContainsFunc(parts, bad) {
		return nil, Malformed("the path is not one such as " + example)
	}
	return parts, nil
}

// ReadJSON reads an answer.
func ReadJSON(name string, body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return &sdk.SecretError{Reason: sdk.SecretUnavailable, Text: name + ": its answer is not the JSON that is expected"}
	}
	return nil
}

// Client makes a client that connects to these URLs and to nobody else. field is the name of the first
// in the configuration.
func Client(field, ca, proxy, base string, also ...string) (*http.Client, error) {
	s, err := service.New(service.Config{APIBase: base, CA: ca, Proxy: proxy}, "https://host", also...)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "api_base", field))
	}
	return s.HTTP(), nil
}
