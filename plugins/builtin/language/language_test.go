package language_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/language"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

const (
	english = "Please write a short summary of the report that I have sent you this morning."
	german  = "Bitte schreibe eine kurze Zusammenfassung des Berichts, den ich dir heute Morgen geschickt habe."
	french  = "Veuillez écrire un court résumé du rapport que je vous ai envoyé ce matin, s'il vous plaît."
	russian = "Пожалуйста, напишите краткое изложение отчёта, который я отправил вам сегодня утром."
	chinese = "请把我今天早上发给你的报告写成一份简短的摘要。"
)

func TestLanguage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ config, role, text, found string }{
		{`{"allow":["en","de"]}`, "user", english, "[]"},
		{`{"allow":["eng","de"]}`, "user", german, "[]"},
		{`{"allow":["en","de"]}`, "user", french, "[fr]"},
		{`{"allow":["en","de"]}`, "user", russian, "[Cyrillic]"},
		{`{"allow":["en"]}`, "user", chinese, "[zh]"},
		{`{"allow":["zh"]}`, "user", chinese, "[]"},
		{`{"allow":["en"]}`, "user", "Bonjour", "[]"},
		{`{"allow":["en"]}`, "system", french, "[]"},
		{`{"allow":["en"],"roles":["system"]}`, "system", french, "[fr]"},
		{`{"allow":["en"],"action":"flag"}`, "user", french, "[fr]"},
		{`{"allow":["en"]}`, "user", "12345 67890 +++ {}[] == != 12345", "[]"},
	} {
		g := &language.Language{}
		if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(tt.config)}); err != nil {
			t.Fatal(err)
		}
		v, err := g.Check(t.Context(), &sdk.Check{Hook: sdk.Before, Texts: []sdk.Text{{Role: tt.role, Text: tt.text}}})
		block := tt.found != "[]" && !strings.Contains(tt.config, "flag")
		if err != nil || fmt.Sprint(v.Findings) != tt.found || (v.Action == guardrail.Block) != block {
			t.Errorf("%s %q: got %v, %v, %v, want %s", tt.config, tt.text, v.Action, v.Findings, err, tt.found)
		}
	}
}

// What stands behind a long text in a language that is allowed is judged, too, and a check that takes too long was
// not made.
func TestLanguage_Long(t *testing.T) {
	t.Parallel()
	g := &language.Language{}
	if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"allow":["en"]}`)}); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat(english+" ", 400)
	for text, want := range map[string]string{
		long: "[]", long + strings.Repeat(french+" ", 60): "[fr]", long + strings.Repeat(russian, 60) + long: "[Cyrillic]",
	} {
		c := &sdk.Check{Hook: sdk.Before, Texts: []sdk.Text{{Role: "user", Text: text}}}
		if v, err := g.Check(t.Context(), c); err != nil || fmt.Sprint(v.Findings) != want {
			t.Errorf("%d bytes: got %v, %v, want %s", len(text), v.Findings, err, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if v, err := g.Check(ctx, c); err == nil {
			t.Errorf("got %v without time", v.Action)
		}
	}
}

func TestLanguage_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`: "allow: give at least one", `{"allow":["xx"]}`: `allow[0]: "xx" is not the code of a language that is known here; there are af, `,
		`{"allow":["en"],"unsure":"x"}`: "unsure", `{"allow":["en"],"min_letters":0}`: "min_letters",
	} {
		_, err := (&language.Language{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestLanguage_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &language.Language{} }, plugintest.GuardrailCase{
		Config: []byte(`{"allow":["en"],"answers":true}`), Passes: english, Stops: german,
	})
}
