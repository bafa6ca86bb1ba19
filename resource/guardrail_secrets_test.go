package resource_test

import (
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestGuardrail_Secrets(t *testing.T) {
	t.Parallel()
	sealed := &resource.Sealed{DEK: "1", Box: []byte("box"), Fingerprint: "ab"}
	for _, tt := range []struct {
		name, config, secret string
		field, want          string // of the error, or the configuration of the process
	}{
		{"none", `{ "a": 1 }`, "", "", `{ "a": 1 }`},
		{"in its place", `{"a":1}`, "api_key", "", `{"a":1,"api_key":"opened api_key"}`},
		{"in an object", `{"headers":{"X-A":"b"}}`, "headers.Authorization", "", `{"headers":{"Authorization":"opened headers.Authorization","X-A":"b"}}`},
		{"twice", `{"api_key":"k"}`, "api_key", "secrets.api_key", ""},
		{"without a place", `[]`, "api_key", "config", ""},
		{"without a name", `{}`, ".x", "secrets..x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := resource.Guardrail{Name: "a", Plugin: "x", DeadlineMS: 1, Config: []byte(tt.config)}
			if tt.secret != "" {
				g.Secrets = map[string]*resource.Sealed{tt.secret: sealed}
			}
			err := g.Validate()
			bad, refused := errors.AsType[*resource.Invalid](err)
			if refused != (tt.field != "") || refused && bad.Field != tt.field {
				t.Fatalf("got %v, want an error of %q", err, tt.field)
			}
			if refused {
				return
			}
			got, err := g.Configured(func(field string, s *resource.Sealed) (string, error) { return "opened " + field, nil })
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
	g := resource.Guardrail{Config: []byte(`{}`), Secrets: map[string]*resource.Sealed{"k": sealed}}
	closed := errors.New("no data key")
	if _, err := g.Configured(func(string, *resource.Sealed) (string, error) { return "", closed }); !errors.Is(err, closed) {
		t.Errorf("got %v, want %v", err, closed)
	}
}
