package pass

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/form"
	"github.com/conclave-llm/conclave/resource"
)

// The fields that say when what is made expires, in JSON and in a form.
const (
	fileExpiry   = "expires_after"
	outputExpiry = "output_expires_after"
	formAnchor   = "expires_after[anchor]"
	formSeconds  = "expires_after[seconds]"
)

// ExpiryFields are the fields of a form that say when its file expires.
var ExpiryFields = []string{formAnchor, formSeconds}

// Expires finds what the team forces on what a request makes at a provider that understands OpenAI's words, and in which
// field a body of JSON says it; nil: nothing. files and outputs are the team's, nil for none.
func Expires(provider, method, rest string, files, outputs *resource.Expiry) (*resource.Expiry, string) {
	if method != http.MethodPost || !slices.Contains(Files.Providers, provider) {
		return nil, ""
	}
	plain, err := url.PathUnescape(rest)
	if err != nil {
		return nil, ""
	}
	plain = strings.TrimSuffix(plain, "/")
	switch plain[strings.LastIndexByte(plain, '/')+1:] {
	case "files", "uploads":
		if strings.Contains("/"+plain, "/vector_stores/") || strings.Contains("/"+plain, "/containers/") { // what is there was uploaded before
			return nil, ""
		}
		return files, fileExpiry
	case "batches":
		return outputs, outputExpiry
	}
	return nil, ""
}

// ExpiryForm are the fields of a form that say it.
func ExpiryForm(e *resource.Expiry) []form.Field {
	return []form.Field{{Name: formAnchor, Value: e.Anchor}, {Name: formSeconds, Value: strconv.FormatInt(e.Seconds, 10)}}
}

// WithExpiry gives a body, an object of JSON, the field in the place of the client's.
func WithExpiry(body []byte, field string, e *resource.Expiry) []byte {
	open, ok := bytes.CutSuffix(bytes.TrimSpace(Without(body, []string{field})), []byte("}"))
	if !ok {
		return body
	}
	m := llm.Member{Name: field, Value: []byte(`{"anchor":"` + e.Anchor + `","seconds":` + strconv.FormatInt(e.Seconds, 10) + `}`)}
	return append(m.Append(slices.Clone(open)), '}')
}
