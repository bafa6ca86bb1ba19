package groups_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestUnified(t *testing.T) {
	t.Parallel()
	h := cluster(t)
	team, _ := h.Must("POST", "/team/new", `{"team_alias":"research","models":["other"]}`)["team_id"].(string)
	key := h.Must("POST", "/key/generate", `{"key_alias":"k","team_id":"`+team+`"}`)
	hash, _ := key["token"].(string)
	made := h.Call(adminapitest.MasterKey, "POST", "/v1/access_group",
		`{"access_group_name":"eng","access_model_names":["gpt"],"access_mcp_server_ids":["git"],"mcp_tool_permissions":{"mail":["send"]},"access_agent_ids":[],"assigned_team_ids":["`+team+`"],"assigned_key_ids":["`+hash+`"]}`)
	if made.Status != 201 {
		t.Fatalf("made: got %d %s", made.Status, made.Body)
	}
	row := made.Object(t)
	id, _ := row["access_group_id"].(string)
	for field, want := range map[string]any{
		"access_group_name": "eng", "description": nil, "access_model_names": []any{"gpt"}, "access_mcp_server_ids": []any{"git"},
		"mcp_tool_permissions": map[string]any{"mail": []any{"send"}}, "assigned_team_ids": []any{team}, "assigned_key_ids": []any{hash},
	} {
		if d := cmp.Diff(want, row[field]); d != "" {
			t.Errorf("%s (-want +got):\n%s", field, d)
		}
	}
	shown, _ := h.Must("GET", "/key/info?key="+hash, "")["info"].(map[string]any)
	if d := cmp.Diff([]any{id}, shown["access_group_ids"]); d != "" {
		t.Errorf("the key's groups (-want +got):\n%s", d)
	}
	allowed := func() string {
		return string(h.Call(adminapitest.MasterKey, "GET", "/api/v1/keys/k/effective", "").Body)
	}
	if got := allowed(); !strings.Contains(got, `"allowed":["gpt"]`) {
		t.Errorf("a key of the group's team: got %s", got)
	}

	row = h.Must("PUT", "/v1/unified_access_group/"+id, `{"description":"for all","access_model_names":["claude"],"mcp_tool_permissions":{"wiki":["read"]},"assigned_key_ids":null}`)
	for field, want := range map[string]any{
		"access_group_name": "eng", "description": "for all", "access_model_names": []any{"claude"}, "access_mcp_server_ids": []any{"git"},
		"mcp_tool_permissions": map[string]any{"wiki": []any{"read"}}, "assigned_team_ids": []any{team}, "assigned_key_ids": []any{},
	} {
		if d := cmp.Diff(want, row[field]); d != "" {
			t.Errorf("after the update, %s (-want +got):\n%s", field, d)
		}
	}
	if got := allowed(); !strings.Contains(got, `"models":{"allowed":[],`) {
		t.Errorf("a key that had the group's models alone, after it is out of the group: got %s", got)
	}
	h.Must("POST", "/key/update", `{"key":"`+hash+`","access_group_ids":["`+id+`"]}`)
	list := h.Must("GET", "/key/list?access_group_id="+id, "")
	if d := cmp.Diff([]any{hash}, list["keys"]); d != "" {
		t.Errorf("keys of the group (-want +got):\n%s", d)
	}
	if got := string(h.Call(adminapitest.MasterKey, "GET", "/v1/access_group", "").Body); !strings.HasPrefix(got, "[{") || !strings.Contains(got, hash) {
		t.Errorf("listed: got %s", got)
	}
	if a := h.Call(adminapitest.MasterKey, "DELETE", "/v1/access_group/"+id, ""); a.Status != 409 {
		t.Errorf("deleted in use: got %d %s", a.Status, a.Body)
	}
	h.Must("PUT", "/v1/access_group/"+id, `{"assigned_team_ids":[],"assigned_key_ids":[]}`)
	if a := h.Call(adminapitest.MasterKey, "DELETE", "/v1/access_group/"+id, ""); a.Status != 204 || len(a.Body) > 0 {
		t.Errorf("deleted: got %d %s", a.Status, a.Body)
	}
	if a := h.Call(adminapitest.MasterKey, "GET", "/v1/access_group/"+id, ""); a.Status != 404 {
		t.Errorf("after it was deleted: got %d", a.Status)
	}
}

func TestUnified_refused(t *testing.T) {
	t.Parallel()
	h := cluster(t)
	h.Call(adminapitest.MasterKey, "POST", "/v1/access_group", `{"access_group_name":"there"}`)
	client, _ := h.Must("POST", "/key/generate", `{}`)["key"].(string)
	for _, tt := range []struct {
		name, key, method, path, body, says string
		status                              int
	}{
		{"no name", adminapitest.MasterKey, "POST", "/v1/access_group", `{}`, "access_group_name", 400},
		{"a name that is there", adminapitest.MasterKey, "POST", "/v1/access_group", `{"access_group_name":"there"}`, "", 409},
		{"agents", adminapitest.MasterKey, "POST", "/v1/access_group", `{"access_group_name":"g","access_agent_ids":["a"]}`, "access_agent_ids", 400},
		{"skills", adminapitest.MasterKey, "PUT", "/v1/access_group/there", `{"access_skill_names":["a"]}`, "access_skill_names", 400},
		{"a key that is not there", adminapitest.MasterKey, "POST", "/v1/access_group", `{"access_group_name":"g","assigned_key_ids":["none"]}`, "assigned_key_ids", 400},
		{"a model that is no text", adminapitest.MasterKey, "POST", "/v1/access_group", `{"access_group_name":"g","access_model_names":[1]}`, "", 400},
		{"an empty name of a model", adminapitest.MasterKey, "POST", "/v1/access_group", `{"access_group_name":"g","access_model_names":[""]}`, "access_model_names", 400},
		{"no group", adminapitest.MasterKey, "PUT", "/v1/access_group/none", `{}`, "", 404},
		{"a key of nobody", client, "GET", "/v1/access_group", ``, "", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if a := h.Call(tt.key, tt.method, tt.path, tt.body); a.Status != tt.status || !strings.Contains(string(a.Body), tt.says) {
				t.Errorf("got %d %s, want %d about %q", a.Status, a.Body, tt.status, tt.says)
			}
		})
	}
}
