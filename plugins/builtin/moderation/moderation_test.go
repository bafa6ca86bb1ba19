package moderation_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/moderation"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serve is a stand-in for OpenAI's endpoint: texts with "hate" are flagged, texts with "mild" score 0.4.
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Model string   `json:"model"`
			Input []string `json:"input"`
		}
		servicetest.Read(t, r, &in)
		if r.URL.Path != "/v1/moderations" || r.Header.Get("Authorization") != "Bearer "+servicetest.Key || in.Model != "omni-moderation-latest" || len(in.Input) > 32 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var results []map[string]any
		for _, text := range in.Input {
			hate, violence := 0.01, 0.02
			if strings.Contains(text, "hate") {
				hate = 0.97
			}
			if strings.Contains(text, "mild") {
				violence = 0.4
			}
			results = append(results, map[string]any{
				"flagged": hate > 0.5 || strings.Contains(text, "else"), "categories": map[string]bool{"hate": hate > 0.5, "violence": false},
				"category_scores": map[string]float64{"hate": hate, "violence": violence}, "category_applied_input_types": map[string]any{},
			})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id": "modr-1", "model": "omni-moderation-latest", "results": results})
	}
}

func TestModeration(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t)) + "/v1"
	for _, tt := range []struct{ config, text, found string }{
		{"", "hello", "[]"},
		{"", "I hate you", "[hate 0.97]"},
		{"", "mild", "[]"},
		{`,"threshold":0.3`, "mild", "[violence 0.40]"},
		{`,"thresholds":{"violence":0.5}`, "mild and hate", "[hate 0.97]"}, // OpenAI judges the others
		{`,"thresholds":{"violence":0.3}`, "mild", "[violence 0.40]"},
		{`,"thresholds":{"violence":0.5}`, "mild", "[]"},
		{`,"thresholds":{"hate":0.98}`, "hate", "[]"},
		{`,"threshold":0.99`, "hate", "[]"},
		{`,"thresholds":{"violence":0.5}`, "else", "[flagged 1.00]"}, // for no reason that is named
		{`,"threshold":0.99,"thresholds":{"violence":0.3}`, "mild and hate", "[violence 0.40]"},
		{`,"action":"flag"`, "hate", "[hate 0.97]"},
	} {
		g := servicetest.Configured(t, &moderation.Moderation{}, fmt.Sprintf(`{"api_base":%q,"api_key":%q%s}`, base, servicetest.Key, tt.config))
		texts := make([]string, 70)
		for i := range texts {
			texts[i] = "hello"
		}
		for _, hook := range []sdk.Hook{sdk.Before, sdk.After} {
			v, err := g.Check(t.Context(), servicetest.Check(hook, append(texts, tt.text)...))
			block := tt.found != "[]" && !strings.Contains(tt.config, "flag")
			if err != nil || fmt.Sprint(v.Findings) != tt.found || (v.Action == guardrail.Block) != block {
				t.Errorf("%s %q: got %v, %v, %v, want %s", tt.config, tt.text, v.Action, v.Findings, err, tt.found)
			}
		}
	}
}

// With the action mask only what is found in is masked, in whichever request it was asked about.
func TestModeration_Masks(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t)) + "/v1"
	g := servicetest.Configured(t, &moderation.Moderation{}, fmt.Sprintf(`{"api_base":%q,"api_key":%q,"action":"mask"}`, base, servicetest.Key))
	texts := make([]string, 40)
	for i := range texts {
		texts[i] = "hello"
	}
	texts[3], texts[35] = "hate", "I hate you"
	v, err := g.Check(t.Context(), servicetest.Check(sdk.After, texts...))
	if err != nil || v.Action != guardrail.Rewrite || fmt.Sprint(v.Replacements) != "[{3 [masked]  0 0} {35 [masked]  0 0}]" || fmt.Sprint(v.Findings) != "[hate 0.97]" {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestModeration_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &moderation.Moderation{} },
		Config: func(base string) string {
			return fmt.Sprintf(`{"api_base":%q,"api_key":%q}`, within(base), servicetest.Key)
		},
		Serve: serve(t), Keyed: true, Empty: []string{`{"results":[]}`, `{"results":[{}]}`},
	})
}

func within(base string) string {
	if strings.HasPrefix(base, "http://127") {
		return base + "/v1"
	}
	return base
}

func TestModeration_Thresholds(t *testing.T) {
	t.Parallel()
	_, err := (&moderation.Moderation{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"api_base":"http://h","thresholds":{"rudeness":0.5}}`)})
	if err == nil || !strings.Contains(err.Error(), "thresholds.rudeness: there is no such category; there are harassment, ") {
		t.Errorf("got %v", err)
	}
}
