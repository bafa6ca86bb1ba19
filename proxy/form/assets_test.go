package form_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/form"
)

const assetsType = `multipart/form-data; boundary="b"`

// partsOf writes a form: a name, a content type and a value for each part.
func partsOf(parts ...string) []byte {
	var b strings.Builder
	for i := 0; i < len(parts); i += 3 {
		b.WriteString("--b\r\nContent-Disposition: form-data; name=\"" + parts[i] + "\"; filename=\"f\"\r\n")
		if parts[i+1] != "" {
			b.WriteString("Content-Type: " + parts[i+1] + "\r\n")
		}
		b.WriteString("\r\n" + parts[i+2] + "\r\n")
	}
	return []byte(b.String() + "--b--\r\n")
}

// TestAssets: pictures that come beside the request stand in it.
func TestAssets(t *testing.T) {
	t.Parallel()
	got, err := form.Assets(assetsType, partsOf(
		"request", "application/json", `{"model":"m","state":"see A","n":12345678901234567890,"assets":{"A":{"type":"image","part":"p"},"B":{"type":"image","part":"q"},"C":{"type":"image","format":"png","data_base64":"AA=="}}}`,
		"p", "image/jpeg", "JPEG", "q", "", "\x89PNG\r\n\x1a\n",
	))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"model":"m","state":"see A","n":12345678901234567890,"assets":{"A":{"type":"image","format":"jpeg","data_base64":"SlBFRw=="},"B":{"type":"image","format":"png","data_base64":"iVBORw0KGgo="},"C":{"type":"image","format":"png","data_base64":"AA=="}}}`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
}

// TestAssets_Bad: a form that is not as it must be is the client's fault.
func TestAssets_Bad(t *testing.T) {
	t.Parallel()
	for name, body := range map[string][]byte{
		"nothing":           nil,
		"no boundary":       []byte("--c--"),
		"cut":               partsOf("request", "", "{}")[:40],
		"no request":        partsOf("p", "", "x"),
		"no JSON":           partsOf("request", "", "x"),
		"no object":         partsOf("request", "", "[]"),
		"a part of nowhere": partsOf("request", "", `{"assets":{"a":{"part":"p"}}}`),
		"the request":       partsOf("request", "", `{"assets":{"a":{"part":"request"}}}`),
		"one part twice":    partsOf("request", "", `{"assets":{"a":{"part":"p"},"b":{"part":"p"}}}`, "p", "", "x"),
		"two of one name":   partsOf("request", "", "{}", "request", "", "{}"),
	} {
		if _, err := form.Assets(assetsType, body); err == nil {
			t.Errorf("%s is taken", name)
		} else if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzAssets: no form makes the reader panic, and what is taken is JSON.
func FuzzAssets(f *testing.F) {
	f.Add(partsOf("request", "", `{"assets":{"a":{"part":"p"}}}`, "p", "image/png", "x"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if got, err := form.Assets(assetsType, body); err == nil && !json.Valid(got) {
			t.Fatalf("%q became %q", body, got)
		}
	})
}
