//go:build e2e

package counterparts

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/presidio"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// presidios starts Presidio's engines.
func presidios(t *testing.T) (base string) {
	t.Helper()
	python := os.Getenv("CONCLAVE_PRESIDIO_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_PRESIDIO_PYTHON names no interpreter with Presidio; run make e2e")
	}
	port := freePort(t)
	start(t, "listening", python, "presidio_server.py", port)
	return "http://127.0.0.1:" + port
}

// TestPresidio: what Presidio's own engines find is masked, blocked, flagged and put back, by their kinds, scores and places.
func TestPresidio(t *testing.T) {
	base := presidios(t)
	const card, iban = "4012888888881881", "DE89370400440532013000"
	for _, tt := range []struct {
		config, text, left string
		want               guardrail.Action
		found              string
	}{
		{"", "nothing to see", "", guardrail.Pass, "[]"},
		{"", "größer 🌊: ada@example.org", "größer 🌊: <EMAIL_ADDRESS>", guardrail.Rewrite, "[EMAIL_ADDRESS]"},
		{"", "Ada Lovelace pays with " + card, "<PERSON> pays with <CREDIT_CARD>", guardrail.Rewrite, "[CREDIT_CARD PERSON]"},
		{`,"pii_entities_config":{"IBAN_CODE":"BLOCK","PERSON":"MASK"}`, "Ada Lovelace: " + iban, "", guardrail.Block, "[IBAN_CODE]"},
		{`,"pii_entities_config":{"IBAN_CODE":"BLOCK","PERSON":"MASK"}`, "Ada Lovelace has " + card, "<PERSON> has " + card, guardrail.Rewrite, "[PERSON]"},
		{`,"pii_entities_config":{"EMAIL_ADDRESS":"flag"}`, "ada@example.org", "", guardrail.Pass, "[EMAIL_ADDRESS]"},
		{`,"presidio_score_thresholds":{"ALL":0.9}`, "Ada Lovelace, " + card, "Ada Lovelace, <CREDIT_CARD>", guardrail.Rewrite, "[CREDIT_CARD]"}, // a name has 0.85
		{`,"presidio_entities_deny_list":["PERSON"]`, "Ada Lovelace, " + card, "Ada Lovelace, <CREDIT_CARD>", guardrail.Rewrite, "[CREDIT_CARD]"},
		{
			`,"presidio_ad_hoc_recognizers":[{"name":"tickets","supported_language":"en","supported_entity":"TICKET","patterns":[{"name":"t","regex":"T-\\d+","score":0.7}]}]`,
			"see T-1815", "see <TICKET>", guardrail.Rewrite, "[TICKET]",
		},
		{
			fmt.Sprintf(`,"presidio_anonymizer_api_base":%q,"anonymizers":{"DEFAULT":{"type":"mask","masking_char":"*","chars_to_mask":12,"from_end":false}}`, base),
			"ä " + card, "ä ************1881", guardrail.Rewrite, "[CREDIT_CARD]",
		},
	} {
		g := servicetest.Configured(t, &presidio.Presidio{}, fmt.Sprintf(`{"api_base":%q%s}`, base, tt.config))
		v, err := g.Check(t.Context(), servicetest.Check(sdk.Before, "first", tt.text))
		left := ""
		if len(v.Replacements) == 1 && v.Replacements[0].Index == 1 {
			left = v.Replacements[0].Text
		}
		slices.SortFunc(v.Findings, func(a, b sdk.Finding) int { return strings.Compare(a.Category, b.Category) })
		if err != nil || v.Action != tt.want || left != tt.left || fmt.Sprint(v.Findings) != tt.found {
			t.Errorf("%s %q: got %v %q %v, %v", tt.config, tt.text, v.Action, left, v.Findings, err)
		}
	}
	g := servicetest.Configured(t, &presidio.Presidio{}, fmt.Sprintf(`{"api_base":%q,"output_parse_pii":true}`, base))
	v, err := g.Check(t.Context(), servicetest.Check(sdk.Before, "ask Ada Lovelace"))
	if err != nil || len(v.Replacements) != 1 || v.Replacements[0].Text != "ask [<PERSON_1>]" {
		t.Fatalf("got %+v, %v", v, err)
	}
	v, err = g.Check(t.Context(), servicetest.Check(sdk.After, "[<PERSON_1>] says no"))
	if err != nil || len(v.Replacements) != 1 || v.Replacements[0].Text != "Ada Lovelace says no" {
		t.Errorf("got %+v, %v", v, err)
	}
	wrong := servicetest.Configured(t, &presidio.Presidio{}, fmt.Sprintf(`{"api_base":%q,"presidio_language":"xx"}`, base))
	if v, err := wrong.Check(t.Context(), servicetest.Check(sdk.Before, "ask Ada Lovelace")); err == nil {
		t.Errorf("with a language that it has not: %+v", v)
	}
}
