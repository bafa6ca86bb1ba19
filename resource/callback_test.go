package resource_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestCallback_Validate(t *testing.T) {
	t.Parallel()
	sealed := &resource.Sealed{DEK: "1", Box: []byte("box"), Fingerprint: "ab"}
	for _, tt := range []struct {
		name  string
		c     resource.Callback
		field string // of the error; "": none
	}{
		{"plain", resource.Callback{Name: "a", Plugin: "file"}, ""},
		{"secrets in their places", resource.Callback{
			Name: "a", Plugin: "webhook", Config: []byte(`{"url":"https://x"}`), Selection: resource.SelectChosen, Statuses: []string{"failure"},
			Secrets: map[string]*resource.Sealed{"secret": sealed, "headers.Authorization": sealed},
		}, ""},
		{"a name that means none", resource.Callback{Name: "none", Plugin: "file"}, "name"},
		{"another selection", resource.Callback{Name: "a", Plugin: "file", Selection: "sometimes"}, "selection"},
		{"another status", resource.Callback{Name: "a", Plugin: "file", Statuses: []string{"lost"}}, "statuses"},
		{"a secret twice", resource.Callback{Name: "a", Plugin: "x", Config: []byte(`{"key":"k"}`), Secrets: map[string]*resource.Sealed{"key": sealed}}, "secrets.key"},
		{"a secret without a place", resource.Callback{Name: "a", Plugin: "x", Config: []byte(`[]`), Secrets: map[string]*resource.Sealed{"key": sealed}}, "config"},
		{"a secret without a name", resource.Callback{Name: "a", Plugin: "x", Secrets: map[string]*resource.Sealed{"headers.": sealed}}, "secrets.headers."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.c.Validate()
			var bad *resource.Invalid
			if errors.As(err, &bad) != (tt.field != "") || bad != nil && bad.Field != tt.field {
				t.Errorf("got %v, want an error of %q", err, tt.field)
			}
		})
	}
}

func TestCallback_Configured(t *testing.T) {
	t.Parallel()
	c := resource.Callback{
		Config:  json.RawMessage(`{"url":"https://x","headers":{"a":"b"}}`),
		Secrets: map[string]*resource.Sealed{"secret": {Fingerprint: "1"}, "headers.Authorization": {Fingerprint: "2"}},
	}
	got, err := c.Configured(func(field string, s *resource.Sealed) (string, error) { return field + s.Fingerprint, nil })
	if want := `{"headers":{"Authorization":"headers.Authorization2","a":"b"},"secret":"secret1","url":"https://x"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if _, err := c.Configured(func(string, *resource.Sealed) (string, error) { return "", resource.ErrNotFound }); !errors.Is(err, resource.ErrNotFound) {
		t.Errorf("got %v, want the error of who opens", err)
	}
}
