package typesafe_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/typesafe"
)

const formType = `multipart/form-data; boundary="b"`

// formOf writes a form: a name, a content type and a value for each part.
func formOf(parts ...string) []byte {
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

// TestJoin: pictures that come beside the request stand in it.
func TestJoin(t *testing.T) {
	t.Parallel()
	got, err := typesafe.Join(formType, formOf(
		"request", "application/json", `{"model":"m","state":"see A","n":12345678901234567890,"assets":{"A":{"type":"image","part":"p"},"B":{"type":"image","part":"q"},"C":{"type":"image","format":"png","data_base64":"AA=="}}}`,
		"p", "image/jpeg", "JPEG", "q", "", "\x89PNG\r\n\x1a\n",
	))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"assets":{"A":{"type":"image","format":"jpeg","data_base64":"SlBFRw=="},"B":{"type":"image","format":"png","data_base64":"iVBORw0KGgo="},"C":{"type":"image","format":"png","data_base64":"AA=="}},"model":"m","n":12345678901234567890,"state":"see A"}`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
	if got, err := typesafe.Join("application/json", []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("what is no form: got %s, %v", got, err)
	}
}

// TestJoin_Bad: a form that is not as it must be is the client's fault.
func TestJoin_Bad(t *testing.T) {
	t.Parallel()
	for name, body := range map[string][]byte{
		"nothing":           nil,
		"no boundary":       []byte("--c--"),
		"cut":               formOf("request", "", "{}")[:40],
		"no request":        formOf("p", "", "x"),
		"no JSON":           formOf("request", "", "x"),
		"no object":         formOf("request", "", "[]"),
		"assets of a kind":  formOf("request", "", `{"assets":[]}`),
		"a part of nowhere": formOf("request", "", `{"assets":{"a":{"part":"p"}}}`),
		"the request":       formOf("request", "", `{"assets":{"a":{"part":"request"}}}`),
		"two of one name":   formOf("request", "", "{}", "request", "", "{}"),
	} {
		if _, err := typesafe.Join(formType, body); err == nil {
			t.Errorf("%s is taken", name)
		} else if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzJoin: no form makes the reader panic, and what is taken is JSON.
func FuzzJoin(f *testing.F) {
	f.Add(formOf("request", "", `{"assets":{"a":{"part":"p"}}}`, "p", "image/png", "x"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if got, err := typesafe.Join(formType, body); err == nil && !json.Valid(got) {
			t.Fatalf("%q became %q", body, got)
		}
	})
}
