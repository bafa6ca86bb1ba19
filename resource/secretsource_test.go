package resource_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestParseSecretRef(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want resource.SecretRef // zero: it is refused
		says string             // how it is written; "": as it was
	}{
		{"vault://secret/llm/openai#key", resource.SecretRef{Source: "vault", Path: "secret/llm/openai", Field: "key"}, ""},
		{"secret://vault/secret/x", resource.SecretRef{Source: "vault", Path: "secret/x"}, "vault://secret/x"},
		{"secret://my store/x#a b", resource.SecretRef{Source: "my store", Path: "x", Field: "a b"}, ""},
		{"aws-sm://arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf#k", resource.SecretRef{Source: "aws-sm", Path: "arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf", Field: "k"}, ""},
		{"vault://", resource.SecretRef{}, ""},
		{"vault://#key", resource.SecretRef{}, ""},
		{"vault://a#b#c", resource.SecretRef{}, ""},
		{"secret://vault", resource.SecretRef{}, ""},
		{"secret:///x", resource.SecretRef{}, ""},
		{"vault://a\nb", resource.SecretRef{}, ""},
		{"vault://" + strings.Repeat("x", 1025), resource.SecretRef{}, ""},
	} {
		got, err := resource.ParseSecretRef(tt.text)
		if !resource.IsSecretRef(tt.text) || got != tt.want || (err != nil) != (tt.want == resource.SecretRef{}) {
			t.Errorf("%.60q: got %+v, %v", tt.text, got, err)
			continue
		}
		if want := tt.says; err == nil {
			if want == "" {
				want = tt.text
			}
			if got.String() != want {
				t.Errorf("%q is written %q", tt.text, got.String())
			}
		}
	}
	for _, other := range []string{"https://hooks.example/secret", "env://X", "os.environ/X", "vault:x", "sk-vault://x", "Vault://x/y", ""} {
		if resource.IsSecretRef(other) {
			t.Errorf("%q is taken for a reference", other)
		}
	}
}

func FuzzParseSecretRef(f *testing.F) {
	f.Add("vault://a/b#c")
	f.Add("secret://x/y")
	f.Fuzz(func(t *testing.T, text string) {
		if !resource.IsSecretRef(text) {
			return
		}
		r, err := resource.ParseSecretRef(text)
		if err != nil {
			return
		}
		if again, err := resource.ParseSecretRef(r.String()); err != nil || again != r {
			t.Errorf("%q is %+v, which is written %q and read as %+v, %v", text, r, r.String(), again, err)
		}
	})
}

func TestSecretSource_Validate(t *testing.T) {
	t.Parallel()
	sealed := map[string]*resource.Sealed{"token": {}}
	for _, tt := range []struct {
		name  string
		s     resource.SecretSource
		field string // that is wrong; "": none
	}{
		{"good", resource.SecretSource{Name: "vault", Plugin: "vault", Config: json.RawMessage(`{"a":"env://X"}`), Secrets: sealed}, ""},
		{"a name that ends early in a reference", resource.SecretSource{Name: "a/b", Plugin: "vault"}, "name"},
		{"no plugin", resource.SecretSource{Name: "vault"}, "plugin"},
		{"config that is not JSON", resource.SecretSource{Name: "vault", Plugin: "vault", Config: json.RawMessage(`{`)}, "config"},
		{"config that needs another source", resource.SecretSource{Name: "vault", Plugin: "vault", Config: json.RawMessage(`{"a":["x",{"b":"aws-sm://x"}]}`)}, "config"},
		{"a secret twice", resource.SecretSource{Name: "vault", Plugin: "vault", Config: json.RawMessage(`{"token":"x"}`), Secrets: sealed}, "secrets.token"},
		{"stale before it is refreshed", resource.SecretSource{Name: "vault", Plugin: "vault", RefreshSeconds: 60, MaxStaleSeconds: 30}, "max_stale_seconds"},
		{"a negative refresh time", resource.SecretSource{Name: "vault", Plugin: "vault", RefreshSeconds: -1}, "refresh_seconds"},
		{"too little memory", resource.SecretSource{Name: "vault", Plugin: "vault", MemoryMB: 1}, "memory_mb"},
	} {
		s := tt.s
		s.Canonicalize()
		err := s.Validate()
		if in, ok := errors.AsType[*resource.Invalid](err); ok != (tt.field != "") || ok && in.Field != tt.field {
			t.Errorf("%s: got %v, want field %q", tt.name, err, tt.field)
		}
	}
	s := resource.SecretSource{RefreshSeconds: 200_000}
	if s.Canonicalize(); s.MaxStaleSeconds != 200_000 {
		t.Errorf("the default stale time is %d, shorter than the refresh time", s.MaxStaleSeconds)
	}
}
