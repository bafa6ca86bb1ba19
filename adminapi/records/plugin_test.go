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
	}}
	for _, tt := range []struct{ required, want string }{
		{`"url","token"`, ""},
		{`"url","token","region"`, `callback cb: config: does not fit the schema of sink`},
	} {
		next := &resource.Plugin{Name: "sink", Kind: "callback", Manifest: `{"format":1,"name":"sink","version":"2","kind":"callback",
			"schema":{"type":"object","required":[` + tt.required + `]},"binaries":[{"os":"any","arch":"any","size":1,"sha256":"` + strings.Repeat("a", 64) + `"}]}`}
		err := CheckPlugin(&resource.Settings{}, tables, next)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("required %s: got %v, want %q", tt.required, err, tt.want)
		}
	}
}
