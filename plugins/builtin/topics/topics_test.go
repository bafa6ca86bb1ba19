package topics_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/topics"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

const config = `{"topics":{"billing":["invoice*","credit card","Rechnung"],"politics":["election","vote*"]},"allow":["billing"],"deny":["politics"],"answers":true}`

func TestTopics(t *testing.T) {
	t.Parallel()
	g := &topics.Topics{}
	if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		hook  sdk.Hook
		text  string
		found string
	}{
		{sdk.Before, "Where are my invoices, please?", "[]"},
		{sdk.Before, "I lost my Credit-Card\nyesterday evening", "[]"},
		{sdk.Before, "Wo ist meine RECHNUNG vom Mai?", "[]"},
		{sdk.Before, "Tell me a joke about cats", "[off_topic]"},
		{sdk.Before, "the invoiced amount of the voter", "[politics]"},
		{sdk.Before, "discredit cards are no topic here", "[off_topic]"},
		{sdk.Before, "selection of an electionlike thing, invoice", "[]"},
		{sdk.Before, "Thank you!", "[]"},
		{sdk.Before, "", "[]"},
		{sdk.After, "I do not know, sorry, ask my colleague", "[]"},
		{sdk.After, "Go and vote.", "[politics]"},
	} {
		v, err := g.Check(t.Context(), &sdk.Check{Hook: tt.hook, Texts: []sdk.Text{{Role: "user", Text: tt.text}}})
		if err != nil || fmt.Sprint(v.Findings) != tt.found || (v.Action == guardrail.Block) != (tt.found != "[]") {
			t.Errorf("%q: got %v, %v, %v, want %s", tt.text, v.Action, v.Findings, err, tt.found)
		}
	}
	// Only what stands behind the last answer is asked for its topic.
	v, err := g.Check(t.Context(), &sdk.Check{Hook: sdk.Before, Texts: []sdk.Text{
		{Role: "user", Text: "my invoice is wrong, please help"}, {Role: "assistant", Text: "how?"}, {Role: "user", Text: "and now a poem about the sea"},
	}})
	if err != nil || v.Action != guardrail.Block {
		t.Errorf("got %v, %v for a conversation that has left its topic", v.Action, err)
	}
}

func TestTopics_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`: "give topics to allow or to deny", `{"topics":{"a":["x"]},"allow":["b"]}`: `allow[0]: there is no topic "b"`,
		`{"topics":{"a":["*"]},"deny":["a"]}`: "topics.a[0]", `{"topics":{"a":["x"]},"deny":["a"],"min_words":-1}`: "min_words",
	} {
		_, err := (&topics.Topics{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestTopics_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &topics.Topics{} }, plugintest.GuardrailCase{
		Config: []byte(config), Passes: "an invoice", Stops: "the election",
	})
}
