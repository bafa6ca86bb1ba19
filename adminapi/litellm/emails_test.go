package litellm_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

// TestAlertEmails: addresses in LiteLLM's metadata become those of the budget's alerts, follow it when it
// comes later, and go with the metadata.
func TestAlertEmails(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/team/new", `{"team_id":"t","team_alias":"t"}`)
	h.Must("POST", "/key/generate", `{"key":"sk-0123456789abcdef","key_alias":"k"}`)
	for _, kind := range []struct{ name, path, ref, at string }{
		{"team", "/team/update", `"team_id":"t"`, "/api/v1/teams/t"},
		{"key", "/key/update", `"key":"sk-0123456789abcdef"`, "/api/v1/keys/k"},
	} {
		for _, tt := range []struct{ name, body, want string }{
			{"no budget to tell of", `"metadata":{"soft_budget_alerting_emails":["a@x.example"],"n":1}`, "[]"},
			{"a budget that comes later", `"soft_budget":5`, "[a@x.example]"},
			{"other metadata stay", `"max_budget":10`, "[a@x.example]"},
			{"one text", `"metadata":{"soft_budget_alerting_emails":"a@x.example, b@x.example"}`, "[a@x.example b@x.example]"},
			{"a field of its own", `"soft_budget_alerting_emails":["c@x.example"]`, "[c@x.example]"},
			{"none in it", `"metadata":{"soft_budget_alerting_emails":[]}`, "[]"},
			{"again", `"metadata":{"soft_budget_alerting_emails":["a@x.example"]}`, "[a@x.example]"},
			{"other metadata", `"metadata":{"n":2}`, "[]"},
		} {
			h.Must("POST", kind.path, "{"+kind.ref+","+tt.body+"}")
			a := h.Call(adminapitest.MasterKey, "GET", kind.at, "")
			var got struct {
				Budgets []resource.Terms `json:"budgets"`
			}
			if err := json.Unmarshal([]byte(a.Body), &got); err != nil || a.Status != 200 {
				t.Fatalf("%s: %d %s", kind.at, a.Status, a.Body)
			}
			emails := []string{}
			for i := range got.Budgets {
				if al := got.Budgets[i].Alerts; al != nil {
					emails = append(emails, al.Emails...)
				}
			}
			if fmt.Sprint(emails) != tt.want {
				t.Errorf("%s: %s: got %v, want %s", kind.name, tt.name, emails, tt.want)
			}
		}
		for _, bad := range []string{`["no address"]`, `{"a":1}`, `["x <a@x.example>"]`} {
			a := h.Call(adminapitest.MasterKey, "POST", kind.path, `{`+kind.ref+`,"metadata":{"soft_budget_alerting_emails":`+bad+`}}`)
			if a.Status != 400 || !strings.Contains(string(a.Body), "metadata.soft_budget_alerting_emails") {
				t.Errorf("%s: %s: got %d %s", kind.name, bad, a.Status, a.Body)
			}
		}
	}
}
