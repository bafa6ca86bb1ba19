package models_test

import (
	"encoding/json"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestDeprecations(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t) // it is 2026-03-11
	for name, date := range map[string]string{"gone": "2026-03-10", "today": "2026-03-11", "soon": "2026-04-10", "later": "2026-04-11", "never": "", "wrong": "next year"} {
		h.Must("POST", "/model/new", `{"model_name":"`+name+`","litellm_params":{"model":"openai/`+name+`"},"model_info":{"deprecation_date":"`+date+`"}}`)
	}
	h.Must("POST", "/model/new", `{"model_name":"listed","litellm_params":{"model":"openai/gpt-4-0613"}}`)
	names := func(v any) string {
		var out []any
		for _, one := range v.([]any) {
			row := one.(map[string]any)
			out = append(out, row["model_name"], row["days_until_deprecation"])
		}
		b, _ := json.Marshal(out)
		return string(b)
	}
	for _, tt := range []struct{ path, deprecated, imminent, upcoming string }{
		{"/model/deprecations", `["gone",-1]`, `["today",0,"soon",30]`, `["later",31,"listed",226]`},
		{"/v1/model/deprecations?warn_within_days=0", `["gone",-1]`, `["today",0]`, `["soon",30,"later",31,"listed",226]`},
	} {
		got := h.Must("GET", tt.path, "")
		if names(got["deprecated"]) != tt.deprecated || names(got["imminent"]) != tt.imminent || names(got["upcoming"]) != tt.upcoming {
			t.Errorf("%s: got %v", tt.path, got)
		}
	}
	if a := h.Call(adminapitest.MasterKey, "GET", "/model/deprecations?warn_within_days=soon", ""); a.Status != 400 {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
}
