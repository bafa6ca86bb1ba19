package logging_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestClusterCallbacks(t *testing.T) {
	t.Parallel()
	h := harness(t)
	h.Must("POST", "/api/v1/callbacks", `{"name":"traces","plugin":"langfuse","config":{"public_key":"pk-1"},"secrets":{"secret_key":"canary-secret"}}`)
	h.Must("POST", "/api/v1/callbacks", `{"name":"datadog","plugin":"datadog","statuses":["failure","blocked"],"secrets":{"api_key":"canary-key"}}`)
	h.Must("POST", "/api/v1/callbacks", `{"name":"own","plugin":"langsmith","selection":"chosen","secrets":{"api_key":"canary-own"}}`)
	h.Must("PUT", "/api/v1/settings/alerts", `{"value":{"channels":[{"name":"ops","type":"slack","url":"https://hooks.example/canary"}]}}`)
	if got := text(h.Must("GET", "/callbacks/list", "")); got != `{"failure":["datadog"],"success":[],"success_and_failure":["traces"]}` {
		t.Errorf("list: %s", got)
	}
	config := h.Must("GET", "/get/config/callbacks", "")
	if got := text(config["callbacks"]); !strings.Contains(got, `"LANGFUSE_PUBLIC_KEY":"pk-1"`) || !strings.Contains(got, `"LANGFUSE_SECRET_KEY":"****"`) ||
		!strings.Contains(got, `"LANGFUSE_HOST":null`) || !strings.Contains(got, `"name":"datadog","type":"failure"`) || strings.Contains(got, "own") {
		t.Errorf("callbacks: %s", got)
	}
	if got := text(config["alerts"]); !strings.Contains(got, `"channel":"ops"`) || !strings.Contains(got, `"budget_alerts"`) {
		t.Errorf("alerts: %s", got)
	}
	for _, path := range []string{"/active/callbacks", "/settings"} {
		got := h.Must("GET", path, "")
		if text(got["all_litellm_callbacks"]) != `["datadog","traces"]` || got["num_callbacks"] != 2.0 || text(got["alerting"]) != `["ops"]` || got["litellm.request_timeout"] != 600.0 {
			t.Errorf("%s: %v", path, got)
		}
	}
	a := h.Call(adminapitest.MasterKey, "GET", "/callbacks/configs", "")
	for _, want := range []string{
		`"id":"langfuse"`, `"langfuse_secret_key":{"description":"The field secret_key of the plugin langfuse.","required":true,"type":"password"`,
	} {
		if !strings.Contains(string(a.Body), want) {
			t.Errorf("configs lack %s: %s", want, a.Body)
		}
	}
	if all := text(config) + text(h.Must("GET", "/settings", "")) + string(a.Body); strings.Contains(all, "canary") {
		t.Error("a secret can be read")
	}
}

func TestClusterCallbacks_Delete(t *testing.T) {
	t.Parallel()
	h := harness(t)
	for _, name := range []string{"traces", "more"} {
		h.Must("POST", "/api/v1/callbacks", `{"name":"`+name+`","plugin":"langfuse","config":{"public_key":"pk-1"},"secrets":{"secret_key":"s"}}`)
	}
	h.Must("POST", "/api/v1/callbacks", `{"name":"own","plugin":"langsmith","selection":"chosen","secrets":{"api_key":"s"}}`)
	remove := func(key, name string) (int, string) {
		a := h.Call(key, "POST", "/config/callback/delete", `{"callback_name":"`+name+`"}`)
		return a.Status, string(a.Body)
	}
	viewer, _ := h.Must("POST", "/api/v1/keys", `{"name":"v","role":"proxy_admin_viewer"}`)["secret"].(string)
	for _, tt := range []struct {
		key, name string
		status    int
		says      string
	}{
		{viewer, "traces", 403, ""},
		{adminapitest.MasterKey, "", 400, "callback_name"},
		{adminapitest.MasterKey, "fax", 404, "fax"},
		{adminapitest.MasterKey, "own", 404, "own"},
		{adminapitest.MasterKey, "Langfuse", 400, "2 callbacks"},
		{adminapitest.MasterKey, "more", 200, `"remaining_callbacks":["traces"],"removed_callback":"more"`},
		{adminapitest.MasterKey, "Langfuse", 200, `"remaining_callbacks":[],"removed_callback":"traces"`},
	} {
		if status, body := remove(tt.key, tt.name); status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%q: got %d %s", tt.name, status, body)
		}
	}
	if log := text(h.Must("GET", "/api/v1/audit", "")); strings.Count(log, "delete") < 2 {
		t.Errorf("the audit log: %s", log)
	}
}

// A service of /health/services is also a callback of the cluster.
func TestServices_Callback(t *testing.T) {
	t.Parallel()
	h := harness(t)
	h.Must("POST", "/api/v1/callbacks", `{"name":"traces","plugin":"langfuse","config":{"public_key":"pk-1"},"secrets":{"secret_key":"s"}}`)
	h.Must("POST", "/api/v1/callbacks", `{"name":"broken","plugin":"langsmith","secrets":{"api_key":"s"}}`)
	for service, want := range map[string]struct {
		status int
		says   string
	}{
		"langfuse": {200, "callback traces"}, "traces": {200, "callback traces"}, "broken": {400, "canary-of-the-operator"}, "fax": {400, "fax"}, "": {400, "is missing"},
	} {
		if a := h.Call(adminapitest.MasterKey, "GET", "/health/services?service="+service, ""); a.Status != want.status || !strings.Contains(string(a.Body), want.says) {
			t.Errorf("%q: got %d %s", service, a.Status, a.Body)
		}
	}
}
