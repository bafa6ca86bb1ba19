package adminapi_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/plugins/builtin"
)

// Every shipped plugin shows its schema, and is configured with nothing that does not fit it.
func TestPluginSchema(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, p := range builtin.Plugins() {
		got := h.Must("GET", "/api/v1/plugins/"+p.Name+"/schema", "")
		if s, _ := got["schema"].(map[string]any); got["plugin"] != p.Name || got["kind"] != p.Kind || s["type"] != "object" {
			t.Errorf("%s %s: got %v", p.Kind, p.Name, got)
		}
	}
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/plugins/pii/schema?kind=callback", ""); a.Status != 404 {
		t.Errorf("a callback pii: got %d %s", a.Status, a.Body)
	}
	for _, tt := range []struct{ path, body, want string }{
		{"guardrails", `{"name":"a","plugin":"lakera","config":{"api_base":"https://api.lakera.ai","api_key":"env://K"}}`, ""},
		{"guardrails", `{"name":"b","plugin":"lakera","config":{}}`, "api_base"},
		{"guardrails", `{"name":"c","plugin":"lakera","config":{"api_base":"https://api.lakera.ai","retries":9}}`, "retries"},
		{"callbacks", `{"name":"a","plugin":"honeycomb","secrets":{"api_key":"canary"}}`, ""},
		{"callbacks", `{"name":"b","plugin":"honeycomb","config":{"project":"llm"}}`, "api_key"},
		{"callbacks", `{"name":"c","plugin":"webhook","config":{"url":"https://sink","retry":1}}`, "retry"},
		{"callbacks", `{"name":"d","plugin":"webhook","config":{"url":"https://sink"},"secrets":{"headers.Authorization":"canary"}}`, ""},
		{"callbacks", `{"name":"e","plugin":"gcs","config":{"bucket":"b"},"secrets":{"service_account":"canary"}}`, ""},
	} {
		a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/"+tt.path, tt.body)
		if (a.Status < 300) != (tt.want == "") || !strings.Contains(string(a.Body), tt.want) || strings.Contains(string(a.Body), "canary") {
			t.Errorf("%s: got %d %s, want %q", tt.body, a.Status, a.Body, tt.want)
		}
	}
}
