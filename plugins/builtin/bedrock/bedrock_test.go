package bedrock_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/bedrock"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serve is a stand-in for Bedrock: "attack" is blocked by the content filter, "Bob" is anonymized,
// "mention" is only detected.
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Source  string `json:"source"`
			Content []struct {
				Text struct {
					Text string `json:"text"`
				} `json:"text"`
			} `json:"content"`
		}
		servicetest.Read(t, r, &in)
		auth := r.Header.Get("Authorization")
		signed := strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261129/eu-west-1/bedrock/aws4_request, SignedHeaders=") && len(r.Header.Get("X-Amz-Date")) == 16
		if r.URL.Path != "/guardrail/gr-1/version/3/apply" || auth != "Bearer "+servicetest.Key && !signed || len(in.Content) != 1 || in.Source != "INPUT" && in.Source != "OUTPUT" {
			t.Logf("refused %s with %s", r.URL, auth)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		text := in.Content[0].Text.Text
		action, outputs, assessment := "NONE", []any{}, map[string]any{}
		if strings.Contains(text, "mention") {
			assessment["topicPolicy"] = map[string]any{"topics": []any{map[string]any{"name": "Sports", "type": "DENY", "action": "NONE", "detected": true}}}
		}
		if strings.Contains(text, "Bob") {
			action, outputs = "GUARDRAIL_INTERVENED", []any{map[string]string{"text": strings.ReplaceAll(text, "Bob", "{NAME}")}}
			assessment["sensitiveInformationPolicy"] = map[string]any{"piiEntities": []any{map[string]string{"type": "NAME", "match": "Bob", "action": "ANONYMIZED"}}, "regexes": []any{}}
		}
		if strings.Contains(text, "attack") {
			action, outputs = "GUARDRAIL_INTERVENED", []any{map[string]string{"text": "Sorry, this is blocked."}}
			assessment["contentPolicy"] = map[string]any{"filters": []any{map[string]string{"type": "PROMPT_ATTACK", "confidence": "HIGH", "action": "BLOCKED"}}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"action": action, "outputs": outputs, "assessments": []any{assessment}, "usage": map[string]int{"topicPolicyUnits": 1}})
	}
}

func config(base, keys string) string {
	return fmt.Sprintf(`{"api_base":%q,"guardrailIdentifier":"gr-1","guardrailVersion":"3"%s}`, base, keys)
}

const (
	bearer = `,"api_key":"` + servicetest.Key + `"`
	access = `,"aws_region_name":"eu-west-1","aws_access_key_id":"AKIDEXAMPLE","aws_secret_access_key":"wJalrXUtnFEMI"`
)

func TestBedrock(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t))
	clock := func() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) }
	for _, keys := range []string{bearer, access} {
		g := servicetest.Configured(t, bedrock.New(clock), config(base, keys))
		for _, hook := range []sdk.Hook{sdk.Before, sdk.After} {
			for text, want := range map[string]string{"hello": "pass []", "a mention": "pass []", "attack": "block [PROMPT_ATTACK]", "ask Bob": "rewrite []", "attack Bob": "block [PROMPT_ATTACK NAME]"} {
				v, err := g.Check(t.Context(), servicetest.Check(hook, "first", text))
				if got := fmt.Sprintf("%v %v", v.Action, v.Findings); err != nil || got != want {
					t.Errorf("%s %q: got %s, %v, want %s", hook, text, got, err, want)
				}
				if v.Action == guardrail.Rewrite && v.Replacements[0] != (sdk.Replacement{Index: 1, Text: "ask {NAME}"}) {
					t.Errorf("got %+v", v.Replacements)
				}
			}
		}
	}
}

func TestBedrock_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"api_base":"https://h"}`:                           "guardrailIdentifier: is missing",
		`{"api_base":"https://h","guardrailIdentifier":"x"}`: "give api_key, or aws_access_key_id",
		`{"api_base":"https://h","guardrailIdentifier":"x","aws_access_key_id":"a","aws_secret_access_key":"b"}`:         "aws_region_name: is missing",
		`{"api_base":"https://bedrock-runtime.x.y","guardrailIdentifier":"x","aws_access_key_id":"a","action":"redact"}`: "action",
	} {
		if _, err := bedrock.New(nil).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestBedrock_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return bedrock.New(nil) }, Config: func(base string) string { return config(base, bearer) }, Serve: serve(t), Keyed: true,
		Empty: []string{`{"action":"MAYBE"}`},
	})
}
