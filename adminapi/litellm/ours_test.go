package litellm_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// given are values of the records' fields that LiteLLM has none for; of all others a text is given.
var given = map[string]string{
	"allowed_ips": `["10.0.0.0/8"]`, "denied_ips": `["10.0.0.1"]`, "callbacks": `["none"]`, "log_content": `true`, "log_content_days": `3`,
	"max_request_mb": `1`, "max_response_mb": `2`, "expires_at": `"2199-01-01T00:00:00Z"`, "increase_cap": `5`, "role": `"proxy_admin_viewer"`,
	"organization_id": `"o"`, "service_account": `true`, "organization_admin": `true`,
}

// TestOurFields: no field of a record is ignored by LiteLLM's paths, whether they have a name of their own for it or not: it
// is kept, or the request is refused and says why.
func TestOurFields(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, body, record string // %s: the id
		of                 any
		kept               string // fields that are LiteLLM's by the same name, or kept under our own
	}{
		{"/key/generate", `"key_alias":"%s"`, "/api/v1/keys/%s", resource.Key{}, "allowed_ips callbacks denied_ips expires_at increase_cap log_content log_content_days max_request_mb max_response_mb role"},
		{"/team/new", `"team_id":"%s"`, "/api/v1/teams/%s", resource.Team{}, "allowed_ips callbacks denied_ips expires_at log_content log_content_days max_request_mb max_response_mb organization_id"},
		{"/user/new", `"user_id":"%s","auto_create_key":false`, "/api/v1/users/%s", resource.User{}, "allowed_ips callbacks denied_ips expires_at log_content log_content_days max_request_mb max_response_mb organization_id service_account"},
		{"/customer/new", `"user_id":"%s"`, "/api/v1/customers/%s", resource.Customer{}, "allowed_ips callbacks default_model denied_ips expires_at log_content log_content_days max_request_mb max_response_mb"},
		{"/organization/new", `"organization_id":"%s","organization_alias":"%[1]s"`, "/api/v1/organizations/%s", resource.Organization{}, "allowed_ips callbacks denied_ips expires_at log_content log_content_days max_request_mb max_response_mb"},
		{"/project/new", `"project_id":"%s","project_alias":"%[1]s","team_id":"t"`, "/api/v1/projects/%s", resource.Project{}, "allowed_ips callbacks denied_ips description expires_at log_content log_content_days max_request_mb max_response_mb"},
		{"/tag/new", `"name":"%s"`, "/api/v1/tags/%s", resource.Tag{}, "allowed_ips callbacks denied_ips description expires_at log_content log_content_days max_request_mb max_response_mb"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			h := adminapitest.New(t)
			h.Must("POST", "/organization/new", `{"organization_id":"o","organization_alias":"o"}`)
			h.Must("POST", "/team/new", `{"team_id":"t"}`)
			var kept []string
			for i, name := range fieldsOf(tt.of) {
				id := fmt.Sprintf("x%d", i)
				value := given[name]
				if value == "" {
					value = `"text"`
				}
				a := h.Call(adminapitest.MasterKey, "POST", tt.path, fmt.Sprintf("{"+tt.body+`,"`+name+`":`+value+"}", id))
				if strings.Contains(fmt.Sprintf(tt.body, id), `"`+name+`"`) {
					continue // what the record is called
				}
				if a.Status != 200 {
					if a.Status >= 500 {
						t.Errorf("%s: got %d %s", name, a.Status, a.Body)
					}
					continue
				}
				var want any
				if err := json.Unmarshal([]byte(value), &want); err != nil {
					t.Fatal(err)
				}
				if got := h.Must("GET", fmt.Sprintf(tt.record, id), "")[name]; !reflect.DeepEqual(got, want) && fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s is ignored: the record has %v", name, got)
				}
				if _, ours := given[name]; ours || name == "description" || name == "default_model" {
					kept = append(kept, name)
				}
			}
			if got := strings.Join(kept, " "); got != tt.kept {
				t.Errorf("kept under our names: got %s, want %s", got, tt.kept)
			}
		})
	}
}

// fieldsOf are the fields of a record that a client may write, by name.
func fieldsOf(record any) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(record)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" && name != "version" && !slices.Contains(records.ServerFields, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestOurFields_Named: a field that LiteLLM calls otherwise is refused with that name, one that says nothing is not.
func TestOurFields_Named(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/key/generate", `{"key_alias":"k"}`)
	h.Must("POST", "/key/update", `{"key":"k","allowed_ips":["10.0.0.0/8"],"max_request_mb":1}`)
	has(t, "changed", h.Must("GET", "/api/v1/keys/k", ""), map[string]any{"allowed_ips": []any{"10.0.0.0/8"}, "max_request_mb": 1.0})
	h.Must("POST", "/key/update", `{"key":"k","allowed_ips":[],"limits":{},"routes":null}`)
	has(t, "taken away", h.Must("GET", "/api/v1/keys/k", ""), map[string]any{"allowed_ips": nil, "max_request_mb": 1.0})
	for _, tt := range []struct{ path, body, says string }{
		{"/key/generate", `{"limits":{"rpm":5}}`, "rpm_limit"},
		{"/key/generate", `{"routes":["/v1/*"]}`, "allowed_routes"},
		{"/key/generate", `{"name":"x"}`, "key_alias"},
		{"/key/generate", `{"secret":"sk-0123456789abcdef"}`, "key"},
		{"/key/generate", `{"allowed_ips":["nowhere"]}`, "allowed_ips[0]"},
		{"/key/generate", `{"duration":"1h","expires_at":"2199-01-01T00:00:00Z"}`, "expires_at"},
		{"/key/update", `{"key":"k","budgets":[{"usd":1}]}`, "max_budget"},
		{"/key/update", `{"key":"k","denied_ips":"10.0.0.1"}`, "denied_ips"},
		{"/team/new", `{"member_defaults":{"budgets":[]}}`, "team_member_budget"},
		{"/user/new", `{"role":"proxy_admin"}`, "user_role"},
		{"/user/new", `{"organizations":["a"],"organization_id":"b"}`, "organization_id"},
		{"/customer/new", `{"user_id":"c","region":"eu"}`, "allowed_model_region"},
		{"/organization/new", `{"organization_alias":"o","customer_budget":"b"}`, "end_user_budget_id"},
		{"/budget/new", `{"limits":{"rpm":5}}`, "rpm_limit"},
		{"/budget/new", `{"max_budget":1,"terms":{"usd":5}}`, "max_budget"},
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", tt.path, tt.body); a.Status != 400 || !strings.Contains(string(a.Body), tt.says) {
			t.Errorf("%s %s: got %d %s, want 400 with %s", tt.path, tt.body, a.Status, a.Body, tt.says)
		}
	}
}
