package generic_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/generic"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serve is a service as people write them: it blocks "forbidden" and changes "Bob".
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in generic.Request
		servicetest.Read(t, r, &in)
		if r.URL.Path != "/beta/litellm_basic_guardrail_api" || r.Header.Get("Authorization") != "Bearer "+servicetest.Key || r.Header.Get("X-Tenant") != "a" ||
			in.InputType == "request" && len(in.Messages) != len(in.Texts) || in.CallID != "r-1" || in.Data.TeamID != "t" || string(in.Params) != `{"level":3}` {
			t.Errorf("got %s %v %+v", r.URL, r.Header, in)
		}
		out := map[string]any{"action": "NONE"}
		all := strings.Join(in.Texts, "\x00")
		switch {
		case strings.Contains(all, "forbidden"):
			out = map[string]any{"action": "BLOCKED", "blocked_reason": "we do not talk about that"}
		case strings.Contains(all, "Bob"):
			out = map[string]any{"action": "GUARDRAIL_INTERVENED", "texts": strings.Split(strings.ReplaceAll(all, "Bob", "<PERSON>"), "\x00")}
		}
		_ = json.NewEncoder(w).Encode(out)
	}
}

func config(base, more string) string {
	return fmt.Sprintf(`{"api_base":%q,"api_key":%q,"headers":{"X-Tenant":"a"},"additional_provider_specific_params":{"level":3}%s}`, base, servicetest.Key, more)
}

func TestGeneric(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t))
	for _, tt := range []struct {
		config, text, message, left string
		want                        guardrail.Action
	}{
		{"", "hello", "", "", guardrail.Pass},
		{"", "forbidden", "the text violates a policy", "", guardrail.Block},
		{`,"show_reason":true`, "forbidden", "we do not talk about that", "", guardrail.Block},
		{`,"action":"flag","show_reason":true`, "forbidden", "", "", guardrail.Pass},
		{"", "ask Bob", "", "ask <PERSON>", guardrail.Rewrite},
		{`,"action":"flag"`, "ask Bob", "", "", guardrail.Pass},
	} {
		g := servicetest.Configured(t, &generic.Generic{}, config(base, tt.config))
		for _, hook := range []sdk.Hook{sdk.Before, sdk.After} {
			v, err := g.Check(t.Context(), servicetest.Check(hook, "first", tt.text))
			left := ""
			if len(v.Replacements) == 1 && v.Replacements[0].Index == 1 {
				left = v.Replacements[0].Text
			}
			if err != nil || v.Action != tt.want || v.Message != tt.message || left != tt.left {
				t.Errorf("%s %q: got %+v, %v", hook, tt.text, v, err)
			}
		}
	}
}

func TestGeneric_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &generic.Generic{} }, Config: func(base string) string { return config(base, "") }, Serve: serve(t), Keyed: true,
		Empty: []string{`{"action":"none"}`, `{"action":"GUARDRAIL_INTERVENED"}`, `{"action":"GUARDRAIL_INTERVENED","texts":["a","b","c"]}`},
	})
}
