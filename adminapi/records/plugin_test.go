package records

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// A newer version's schema is asked about what is configured with its secrets in their places.
func TestCheckPlugin(t *testing.T) {
	t.Parallel()
	tables := &resource.Tables{Callbacks: []*resource.Callback{
		{Name: "cb", Plugin: "sink", Config: json.RawMessage(`{"url":"https://sink"}`), Secrets: map[string]*resource.Sealed{"token": {}}},
		{Name: "other", Plugin: "file"},
	}, Guardrails: []*resource.Guardrail{
		{Name: "g", Plugin: "judge", Config: json.RawMessage(`{"url":"https://judge"}`), Secrets: map[string]*resource.Sealed{"token": {}}},
	}}
	for _, tt := range []struct{ kind, name, required, want string }{
		{"callback", "sink", `"url","token"`, ""},
		{"callback", "sink", `"url","token","region"`, `callback cb: config: does not fit the schema of sink`},
		{"guardrail", "judge", `"url","token"`, ""},
		{"guardrail", "judge", `"url","token","region"`, `guardrail g: config: does not fit the schema of judge`},
	} {
		next := &resource.Plugin{Name: tt.name, Kind: tt.kind, Manifest: `{"format":1,"name":"` + tt.name + `","version":"2","kind":"` + tt.kind + `",
			"schema":{"type":"object","required":[` + tt.required + `]},"binaries":[{"os":"any","arch":"any","size":1,"sha256":"` + strings.Repeat("a", 64) + `"}]}`}
		err := CheckPlugin(&resource.Settings{}, tables, next)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("required %s: got %v, want %q", tt.required, err, tt.want)
		}
	}
}
