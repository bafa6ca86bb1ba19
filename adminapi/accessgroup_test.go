package adminapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
)

// TestAccessGroups: a group is given from its side and from that of a key, gives what it says and no more than the
// team has, and is not deleted while somebody has it.
func TestAccessGroups(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, m := range []string{"gpt", "claude", "mini"} {
		h.Must("POST", "/api/v1/models", `{"name":"`+m+`"}`)
	}
	h.Must("POST", "/api/v1/access-groups", `{"id":"ag_1","name":"eng","models":["gpt"],"mcp_servers":["git"]}`)
	h.Must("POST", "/api/v1/teams", `{"id":"t1","models":["mini"],"access_group_ids":["eng"]}`) // by its name
	h.Must("POST", "/api/v1/keys", `{"id":"k1","name":"k1","team_id":"t1","models":["mini"]}`)
	h.Must("POST", "/api/v1/keys", `{"id":"k2","name":"k2","models":["no-default-models"]}`)
	allowed := func(key string) []string {
		t.Helper()
		e, err := h.Client(adminapitest.MasterKey).Effective(t.Context(), key, nil)
		if err != nil {
			t.Fatal(err)
		}
		return e.Models.Allowed
	}
	if d := cmp.Diff([]string{"mini"}, allowed("k1")); d != "" {
		t.Errorf("a key whose team has the group, not it (-want +got):\n%s", d)
	}
	g := h.Must("PATCH", "/api/v1/access-groups/eng", `{"assigned_key_ids":["k1","k2"],"description":"d"}`)
	if d := cmp.Diff([]any{"k1", "k2"}, g["assigned_key_ids"]); d != "" || g["description"] != "d" {
		t.Errorf("assigned: got %v", g)
	}
	if d := cmp.Diff([]any{"t1"}, g["assigned_team_ids"]); d != "" {
		t.Errorf("what was not said changed (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"gpt", "mini"}, allowed("k1")); d != "" {
		t.Errorf("a key with the group (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"gpt"}, allowed("k2")); d != "" {
		t.Errorf("a key that has the group alone (-want +got):\n%s", d)
	}
	h.Must("PATCH", "/api/v1/access-groups/eng", `{"models":["gpt","claude"]}`)
	h.Must("PATCH", "/api/v1/teams/t1", `{"models":["mini","gpt"],"access_group_ids":null}`)
	if d := cmp.Diff([]string{"gpt", "mini"}, allowed("k1")); d != "" {
		t.Errorf("what the team has not (-want +got):\n%s", d)
	}
	e, err := h.Client(adminapitest.MasterKey).Effective(t.Context(), "k1", map[string][]string{"model": {"claude"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []client.EffectiveGroup{{
		Level: client.EffectiveLevel{Kind: "key", ID: "k1", Name: "k1"}, ID: "ag_1", Name: "eng", Models: []string{"gpt", "claude"}, MCPServers: []string{"git"},
	}}
	if d := cmp.Diff(want, e.Groups); d != "" || len(e.Blocks) != 1 || e.Blocks[0].Level.Kind != "team" {
		t.Errorf("explained with %v (-want +got):\n%s", e.Blocks, d)
	}
	list := h.Must("GET", "/api/v1/keys?access_group_id=eng", "")
	if list["total"] != 2.0 {
		t.Errorf("keys of the group: %v", list)
	}
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"in use", "DELETE", "/api/v1/access-groups/eng", "", 409},
		{"a name twice", "POST", "/api/v1/access-groups", `{"name":"eng"}`, 409},
		{"without a name", "POST", "/api/v1/access-groups", `{"models":["gpt"]}`, 400},
		{"a group that is not there", "PATCH", "/api/v1/keys/k1", `{"access_group_ids":["gone"]}`, 400},
		{"a key that is not there", "PATCH", "/api/v1/access-groups/eng", `{"assigned_key_ids":["gone"]}`, 400},
		{"one twice", "PATCH", "/api/v1/keys/k1", `{"access_group_ids":["eng","ag_1"]}`, 400},
		{"more than the team has", "POST", "/api/v1/keys", `{"team_id":"t1","models":["mini"],"access_group_ids":["eng"]}`, 400},
		{"a setting", "PUT", "/api/v1/settings/key_defaults", `{"value":{"access_group_ids":["ag_1"]}}`, 400},
	} {
		if a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body); a.Status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.Status, a.Body, tt.status)
		}
	}
	h.Must("PATCH", "/api/v1/access-groups/eng", `{"assigned_key_ids":[]}`)
	if d := cmp.Diff([]string{}, allowed("k2")); d != "" {
		t.Errorf("a key that lost the group (-want +got):\n%s", d)
	}
	h.Must("DELETE", "/api/v1/access-groups/eng", "")
}
