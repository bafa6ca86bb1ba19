package settings_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

func set(t *testing.T, h *adminapitest.Harness, name, value string) map[string]any {
	t.Helper()
	return h.Must("POST", "/config/field/update", `{"config_type":"general_settings","field_name":"`+name+`","field_value":`+value+`}`)
}

func TestFields(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	set(t, h, "max_request_size_mb", "8")
	set(t, h, "maximum_spend_logs_retention_period", `"14d"`)
	got := set(t, h, "service_account_settings", `{"enforced_params":["user"]}`)
	b, _ := json.Marshal(got)
	if want := `{"param_name":"general_settings","param_value":{"max_request_size_mb":8,"maximum_spend_logs_retention_period":"14d","service_account_settings":{"enforced_params":["user"]}}}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	s := h.State.Catalog().Settings()
	if s.MaxBodyBytes != 8<<20 || s.RequestLogDays != 14 || len(s.ServiceAccountParams) != 1 {
		t.Errorf("settings are %+v", s)
	}
	if got := h.Must("GET", "/config/field/info?field_name=maximum_spend_logs_retention_period", ""); got["field_value"] != "14d" {
		t.Errorf("got %v", got)
	}
	h.Must("POST", "/config/field/delete", `{"config_type":"general_settings","field_name":"max_request_size_mb"}`)
	if s := h.State.Catalog().Settings(); s.MaxBodyBytes != resource.DefaultSettings().MaxBodyBytes {
		t.Errorf("body is %d", s.MaxBodyBytes)
	}
	log, _ := json.Marshal(h.Must("GET", "/api/v1/audit", ""))
	if n := strings.Count(string(log), "max_request_size_mb"); n < 2 {
		t.Errorf("the audit log tells of it %d times: %s", n, log)
	}
}

func TestFields_List(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	set(t, h, "store_prompts_in_spend_logs", "true")
	var rows []struct {
		Name    string          `json:"field_name"`
		Type    string          `json:"field_type"`
		Help    string          `json:"field_description"`
		Value   json.RawMessage `json:"field_value"`
		Stored  *bool           `json:"stored_in_db"`
		Default json.RawMessage `json:"field_default_value"`
		Setting string          `json:"setting"`
	}
	a := h.Call(adminapitest.MasterKey, "GET", "/config/list?config_type=general_settings", "")
	if err := json.Unmarshal(a.Body, &rows); err != nil {
		t.Fatal(err)
	}
	types := map[string]string{
		"allowed_ips": "List", "background_health_checks": "Boolean", "health_check_interval": "Integer", "litellm_key_header_name": "String",
		"maximum_spend_logs_retention_period": "String", "service_account_settings": "Dict", "spend_capture_rate_check": "Dict", "store_prompts_in_spend_logs": "Boolean",
	}
	for _, r := range rows {
		if want, ok := types[r.Name]; ok && r.Type != want {
			t.Errorf("%s: type %s, want %s", r.Name, r.Type, want)
		}
		delete(types, r.Name)
		if r.Type == "" || r.Help == "" || len(r.Default) == 0 {
			t.Errorf("got %+v", r)
		}
		isSet := r.Name == "store_prompts_in_spend_logs"
		if (string(r.Value) == "true" && r.Setting == "log_content") != isSet || (r.Stored != nil && *r.Stored) != isSet {
			t.Errorf("got %+v", r)
		}
	}
	if len(types) > 0 {
		t.Errorf("not listed: %v", types)
	}
}

func TestFields_Refused(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	viewer, _ := h.Must("POST", "/api/v1/keys", `{"name":"v","role":"proxy_admin_viewer"}`)["secret"].(string)
	for name, tt := range map[string]struct {
		key, method, path, body string
		status                  int
		says                    string
	}{
		"no type":         {"", "POST", "/config/field/update", `{"field_name":"allowed_ips","field_value":[]}`, 400, "config_type"},
		"other type":      {"", "GET", "/config/list?config_type=router_settings", "", 400, "config_type"},
		"no name":         {"", "POST", "/config/field/update", `{"config_type":"general_settings","field_value":1}`, 400, "field_name"},
		"no value":        {"", "POST", "/config/field/update", `{"config_type":"general_settings","field_name":"allowed_ips"}`, 400, "field_value"},
		"no meaning":      {"", "POST", "/config/field/update", `{"config_type":"general_settings","field_name":"global_max_parallel_requests","field_value":1}`, 400, "no meaning here"},
		"no database":     {"", "POST", "/config/field/update", `{"config_type":"general_settings","field_name":"database_url","field_value":"x"}`, 400, "there is no database"},
		"wrong value":     {"", "POST", "/config/field/update", `{"config_type":"general_settings","field_name":"max_request_size_mb","field_value":"many"}`, 400, "field_value"},
		"wrong duration":  {"", "POST", "/config/field/update", `{"config_type":"general_settings","field_name":"maximum_spend_logs_retention_period","field_value":"1h"}`, 400, "field_value"},
		"not set":         {"", "GET", "/config/field/info?field_name=allowed_ips", "", 400, "not set"},
		"delete, not set": {"", "POST", "/config/field/delete", `{"config_type":"general_settings","field_name":"allowed_ips"}`, 400, "not set"},
		"a viewer writes": {viewer, "POST", "/config/field/update", `{"config_type":"general_settings","field_name":"allowed_ips","field_value":[]}`, 403, ""},
		"a viewer reads":  {viewer, "GET", "/config/list?config_type=general_settings", "", 200, "allowed_ips"},
	} {
		key := tt.key
		if key == "" {
			key = adminapitest.MasterKey
		}
		if a := h.Call(key, tt.method, tt.path, tt.body); a.Status != tt.status || !strings.Contains(string(a.Body), tt.says) {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
}
