package groups_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func cluster(t *testing.T) *adminapitest.Harness {
	t.Helper()
	h := adminapitest.New(t)
	for _, name := range []string{"gpt", "claude", "other"} {
		h.Must("POST", "/api/v1/models", `{"name":"`+name+`","deployments":[{"id":"`+name+`-1","provider":"openai"},{"id":"`+name+`-2","provider":"openai"}]}`)
	}
	return h
}

func TestGroups(t *testing.T) {
	t.Parallel()
	h := cluster(t)
	if got := h.Must("POST", "/access_group/new", `{"access_group":"beta","model_names":["gpt","claude"]}`); got["models_updated"] != 4.0 {
		t.Errorf("made: got %v", got)
	}
	h.Must("POST", "/key/generate", `{"key_alias":"k","models":["beta"]}`)
	allowed := func() string {
		return string(h.Call(adminapitest.MasterKey, "GET", "/api/v1/keys/k/effective", "").Body)
	}
	if got := allowed(); !strings.Contains(got, `"allowed":["claude","gpt"]`) {
		t.Errorf("a key of the group: got %s", got)
	}
	if got := string(h.Call(adminapitest.MasterKey, "GET", "/access_group/list", "").Body); got !=
		`{"access_groups":[{"access_group":"beta","deployment_count":4,"model_names":["claude","gpt"]}]}`+"\n" {
		t.Errorf("listed: got %s", got)
	}
	if got := h.Must("PUT", "/access_group/beta/update", `{"model_ids":["other-1","other-2"],"model_names":["gpt"]}`); got["models_updated"] != 4.0 {
		t.Errorf("changed: got %v", got)
	}
	if got := h.Must("GET", "/access_group/beta/info", ""); got["deployment_count"] != 4.0 {
		t.Errorf("info: got %v", got)
	}
	if got := allowed(); !strings.Contains(got, `"allowed":["gpt","other"]`) {
		t.Errorf("after the change: got %s", got)
	}
	if got := h.Must("DELETE", "/access_group/beta/delete", ""); got["models_updated"] != 4.0 {
		t.Errorf("deleted: got %v", got)
	}
	if got := allowed(); !strings.Contains(got, `"allowed":[]`) {
		t.Errorf("a key of a group that is gone: got %s", got)
	}
}

// TestGroups_budget: a group has a budget as long as it is asked for, and goes with the group.
func TestGroups_budget(t *testing.T) {
	t.Parallel()
	h := cluster(t)
	h.Must("POST", "/access_group/new", `{"access_group":"beta","model_names":["gpt","claude"]}`)
	show := func() string {
		return string(h.Call(adminapitest.MasterKey, "GET", "/access_group/beta/budget", "").Body)
	}
	if got := show(); got != `{"access_group":"beta","budget":null,"spend":0}`+"\n" {
		t.Errorf("none: got %s", got)
	}
	if got := h.Must("DELETE", "/access_group/beta/budget", ""); got["budget_deleted"] != false {
		t.Errorf("deleted none: got %v", got)
	}
	h.Must("PUT", "/access_group/beta/budget", `{"max_budget":12.5,"budget_duration":"1d"}`)
	if got := show(); !strings.Contains(got, `"max_budget":12.5`) || !strings.Contains(got, `"budget_duration":"1d"`) || !strings.Contains(got, `"budget_reset_at":"`) {
		t.Errorf("set: got %s", got)
	}
	h.Must("POST", "/budget/new", `{"budget_id":"shared","max_budget":3}`)
	if got := h.Must("PUT", "/access_group/beta/budget", `{"budget_id":"shared"}`); !strings.Contains(fmt.Sprint(got), "max_budget:3") || strings.Contains(fmt.Sprint(got), "12.5") {
		t.Errorf("another in its place: got %v", got)
	}
	h.Must("POST", "/key/generate", `{"key_alias":"k"}`)
	got := string(h.Call(adminapitest.MasterKey, "GET", "/api/v1/keys/k/effective?model=gpt", "").Body)
	if !strings.Contains(got, `"kind":"access_group"`) || !strings.Contains(got, `"shared":"shared"`) {
		t.Errorf("explained: got %s", got)
	}
	if got := string(h.Call(adminapitest.MasterKey, "GET", "/api/v1/keys/k/effective?model=other", "").Body); strings.Contains(got, `"kind":"access_group"`) {
		t.Errorf("explained for a model that is not in the group: got %s", got)
	}
	if got := h.Must("DELETE", "/access_group/beta/budget", ""); got["budget_deleted"] != true {
		t.Errorf("deleted: got %v", got)
	}
	if all := h.State.Catalog().Tables().AccessGroups; len(all) != 0 {
		t.Errorf("the record is left: %+v", all[0])
	}
	h.Must("PUT", "/access_group/beta/budget", `{"soft_budget":1}`)
	h.Must("POST", "/team/new", `{"team_id":"t","access_group_ids":["beta"]}`)
	if got := h.Must("DELETE", "/access_group/beta/delete", ""); got["models_updated"] != 4.0 {
		t.Errorf("deleted the group: got %v", got)
	}
	if all := h.State.Catalog().Tables().AccessGroups; len(all) != 1 || len(all[0].Budgets) != 0 {
		t.Errorf("the record that a team has: got %+v", all)
	}
}

func TestGroups_refused(t *testing.T) {
	t.Parallel()
	h := cluster(t)
	h.Must("POST", "/access_group/new", `{"access_group":"there","model_names":["gpt"]}`)
	h.Must("POST", "/access_group/new", `{"access_group":"own","model_names":["claude"]}`)
	h.Must("POST", "/api/v1/access-groups", `{"name":"own","models":["gpt","claude"]}`)
	client, _ := h.Must("POST", "/key/generate", `{}`)["key"].(string)
	for _, tt := range []struct {
		name, key, method, path, body string
		status                        int
	}{
		{"no name", adminapitest.MasterKey, "POST", "/access_group/new", `{"model_names":["gpt"]}`, 400},
		{"no models", adminapitest.MasterKey, "POST", "/access_group/new", `{"access_group":"g"}`, 400},
		{"a model that is not there", adminapitest.MasterKey, "POST", "/access_group/new", `{"access_group":"g","model_names":["none"]}`, 400},
		{"a deployment that is not there", adminapitest.MasterKey, "POST", "/access_group/new", `{"access_group":"g","model_ids":["none"]}`, 400},
		{"half a model", adminapitest.MasterKey, "POST", "/access_group/new", `{"access_group":"g","model_ids":["gpt-1"]}`, 400},
		{"a group that is there", adminapitest.MasterKey, "POST", "/access_group/new", `{"access_group":"there","model_names":["gpt"]}`, 409},
		{"no group", adminapitest.MasterKey, "GET", "/access_group/none/info", ``, 404},
		{"an update of none", adminapitest.MasterKey, "PUT", "/access_group/none/update", `{"model_names":["gpt"]}`, 404},
		{"a delete of none", adminapitest.MasterKey, "DELETE", "/access_group/none/delete", ``, 404},
		{"a budget of no group", adminapitest.MasterKey, "PUT", "/access_group/none/budget", `{"max_budget":1}`, 404},
		{"the budget of no group", adminapitest.MasterKey, "GET", "/access_group/none/budget", ``, 404},
		{"a budget of nothing", adminapitest.MasterKey, "PUT", "/access_group/there/budget", `{}`, 400},
		{"a period alone", adminapitest.MasterKey, "PUT", "/access_group/there/budget", `{"budget_duration":"1d"}`, 400},
		{"a budget below nothing", adminapitest.MasterKey, "PUT", "/access_group/there/budget", `{"max_budget":-1}`, 400},
		{"a shared budget that is not there", adminapitest.MasterKey, "PUT", "/access_group/there/budget", `{"budget_id":"none"}`, 400},
		{"a limit", adminapitest.MasterKey, "PUT", "/access_group/there/budget", `{"max_budget":1,"rpm_limit":5}`, 400},
		{"a record of other models", adminapitest.MasterKey, "PUT", "/access_group/own/budget", `{"max_budget":1}`, 409},
		{"a budget by nobody", client, "PUT", "/access_group/there/budget", `{"max_budget":1}`, 403},
		{"a key of nobody", client, "GET", "/access_group/list", ``, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if a := h.Call(tt.key, tt.method, tt.path, tt.body); a.Status != tt.status {
				t.Errorf("got %d %s, want %d", a.Status, a.Body, tt.status)
			}
		})
	}
	if got := h.Must(http.MethodGet, "/access_group/there/info", ""); got["deployment_count"] != 2.0 {
		t.Errorf("refused changes changed something: %v", got)
	}
}
