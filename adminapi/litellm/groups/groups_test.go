package groups_test

import (
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

func TestGroups_refused(t *testing.T) {
	t.Parallel()
	h := cluster(t)
	h.Must("POST", "/access_group/new", `{"access_group":"there","model_names":["gpt"]}`)
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
