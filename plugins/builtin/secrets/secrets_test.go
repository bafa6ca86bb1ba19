package secrets_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/secrets"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

// The secrets of these tests are put together when they run, so that no scanner takes the source
// for a leak.
var (
	github  = "ghp_" + "x7Qm2Lr9TzK4vWb8NcYd3Hf6Js1Pg5AeRu0i"
	aws     = "AKIA" + "Y3FDSNDKQ7ZRTLXW"
	pemKey  = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + strings.Repeat("MIIEowIBAAKCAQEAx3Bz9Qk7 ", 40) + "\n-----END RSA " + "PRIVATE KEY-----"
	token   = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + "." + "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvZSJ9" + "." + "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	generic = "api_" + `key = "8dF2kQ9zXw71LmNv03RtYb6H"`
)

func configured(t testing.TB, config string) *secrets.Secrets {
	t.Helper()
	s := &secrets.Secrets{}
	if _, err := s.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	return s
}

func check(t testing.TB, s *secrets.Secrets, text string) sdk.Verdict {
	t.Helper()
	v, err := s.Check(t.Context(), &sdk.Check{Hook: sdk.Before, Texts: []sdk.Text{{Text: text}}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, config, text, want, found string }{
		{"a token", "", "use " + github + " please", "use [REDACTED] please", "[github-pat]"},
		{"two of one kind", "", aws + " or " + aws, "[REDACTED] or [REDACTED]", "[aws-access-token 2]"},
		{"the vendor's example", "", "AKIA" + "IOSFODNN7EXAMPLE", "", "[]"},
		{"a private key", "", "a\n" + pemKey + "\nb", "a\n[REDACTED]\nb", "[private-key]"},
		{"one without its end", "", pemKey[:400], "[REDACTED]", "[private-key]"},
		{"a web token", "", "Authorization: Bearer " + token + "\n", "Authorization: Bearer [REDACTED]\n", "[jwt]"},
		{"behind a name, unasked", "", generic, "", "[]"},
		{"behind a name", `{"generic":true}`, generic, `api_key = "[REDACTED]"`, "[generic-api-key]"},
		{"another mask", `{"mask":"***"}`, github, "***", "[github-pat]"},
		{"allowed", `{"actions":{"github-pat":"allow"}}`, github, "", "[]"},
		{"flagged", `{"action":"flag"}`, github, "", "[github-pat]"},
		{"prose", "", strings.Repeat("they said the key to money is monkeys. ", 200), "", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := check(t, configured(t, tt.config), tt.text)
			got := ""
			if len(v.Replacements) > 0 {
				got = v.Replacements[0].Text
			}
			if got != tt.want || fmt.Sprint(v.Findings) != tt.found {
				t.Errorf("got %q, found %v, want %q, %s", got, v.Findings, tt.want, tt.found)
			}
		})
	}
}

func TestSecrets_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"action":"eat"}`:                   `action: "eat" is not one of`,
		`{"actions":{"no-such":"mask"}}`:     "actions.no-such: there is no such rule",
		`{"actions":{"github-pat":"x"}}`:     "actions.github-pat",
		`{"longest":1}`:                      "longest: 1 is not from",
		`{"unknown":1}`:                      "unknown",
		`{"action":"block","action":"mask"}`: "duplicate",
	} {
		_, err := (&secrets.Secrets{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestSecrets_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &secrets.Secrets{} }, plugintest.GuardrailCase{
		Config: []byte(`{"action":"block"}`), Passes: "a text without any", Stops: "the token is " + github + " and more",
	})
}

// Every shipped expression compiles: each is tried on a text of all keywords.
func TestSecrets_AllRules(t *testing.T) {
	t.Parallel()
	s := configured(t, `{"generic":true}`)
	for _, w := range secrets.Keywords(s) {
		check(t, s, "the "+w+" here")
	}
}

func FuzzSecrets(f *testing.F) {
	for _, x := range []string{github, aws, pemKey, token, generic} {
		f.Add(x, 3)
	}
	s := configured(f, "")
	f.Fuzz(func(t *testing.T, text string, _ int) {
		v, err := s.Check(t.Context(), &sdk.Check{Texts: []sdk.Text{{Text: text}}})
		if err == nil && len(v.Replacements) > 0 && len(v.Findings) == 0 {
			t.Errorf("%q was masked and nothing found", text)
		}
	})
}

func BenchmarkSecrets(b *testing.B) {
	s := configured(b, "")
	prompt := strings.Repeat("They asked us how the new key exchange works; the token is passed on, and money changes hands daily. ", 100)
	for name, text := range map[string]string{"prose of 10 kB": prompt[:10_000], "with a secret": prompt[:9_900] + github} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				check(b, s, text)
			}
		})
	}
}
