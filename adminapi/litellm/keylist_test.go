package litellm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

// column is one column of the rows of a list.
func column(body map[string]any, list, name string) string {
	rows, _ := body[list].([]any)
	out := make([]string, 0, len(rows))
	for _, r := range rows {
		row, _ := r.(map[string]any)
		out = append(out, fmt.Sprint(row[name]))
	}
	return strings.Join(out, " ")
}

func TestKeyList_Filters(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/organization/new", `{"organization_id":"o1","organization_alias":"acme"}`)
	h.Must("POST", "/team/new", `{"team_id":"t1","team_alias":"red","organization_id":"o1","members_with_roles":[{"role":"admin","user_id":"ada"}]}`)
	h.Must("POST", "/team/new", `{"team_id":"t2"}`)

	tokens := map[string]string{}
	for _, body := range []string{
		`{"key_alias":"Ada-1","user_id":"ada","max_budget":3}`,
		`{"key_alias":"red-1","team_id":"t1","max_budget":1}`,
		`{"key_alias":"blue-1","team_id":"t2","duration":"1h"}`,
		`{"key_alias":"old","duration":"1m"}`,
		`{"key_alias":"shut"}`,
	} {
		k := h.Must("POST", "/key/generate", body)
		tokens[k["key_alias"].(string)] = k["token"].(string)
		h.Advance(time.Second)
	}
	h.Must("POST", "/key/block", `{"key":"shut"}`)
	h.Advance(2 * time.Minute)
	for query, want := range map[string]string{
		"sort_order=asc":                                        "Ada-1 red-1 blue-1 old shut",
		"organization_id=o1":                                    "red-1",
		"organization_id=acme":                                  "red-1",
		"organization_id=zzz":                                   "",
		"status=active":                                         "blue-1 red-1 Ada-1",
		"status=expired":                                        "old",
		"status=revoked":                                        "shut",
		"expires=expired":                                       "old",
		"expires=active&size=2":                                 "shut blue-1",
		"expires=active&size=2&page=2":                          "red-1 Ada-1",
		"key_alias=ada-1":                                       "",
		"key_alias=Ada-1":                                       "Ada-1",
		"key_alias=Ada-1&team_id=t1":                            "",
		"key_alias=-1&substring_matching=true":                  "blue-1 red-1 Ada-1",
		"user_id=AD&substring_matching=true":                    "Ada-1",
		"user_id=ada":                                           "Ada-1",
		"user_id=ada&include_team_keys=true":                    "red-1 Ada-1",
		"search=" + tokens["red-1"]:                             "red-1",
		"key_hash=" + tokens["red-1"]:                           "red-1",
		"sort_by=max_budget&sort_order=asc&user_id=ada":         "Ada-1",
		"sort_by=max_budget&sort_order=asc&size=2":              "red-1 Ada-1",
		"sort_by=spend&sort_order=asc&key_alias=red-1":          "red-1",
		"sort_by=key_alias&sort_order=asc&expires=active":       "Ada-1 blue-1 red-1 shut",
		"sort_by=key_alias&sort_order=desc&team_id=t2":          "blue-1",
		"sort_by=key_alias&sort_order=asc&status=active":        "Ada-1 blue-1 red-1",
		"team_id=red":                                           "red-1",
		"project_id=none":                                       "",
		"sort_by=team_id&sort_order=desc&size=1":                "blue-1",
		"user_id=ada&include_team_keys=true&status=active":      "red-1 Ada-1",
		"user_id=none&include_created_by_keys=true":             "",
		"sort_by=user_id&sort_order=desc&size=1&team_id=":       "Ada-1",
		"sort_by=token&key_hash=" + strings.Repeat("0", 64):     "",
		"sort_by=updated_at&size=1&status=active&page=3":        "Ada-1",
		"sort_by=expires&sort_order=desc&size=1&status=":        "blue-1",
		"sort_by=expires&sort_order=desc&expires=active&size=1": "blue-1",
	} {
		if got := column(h.Must("GET", "/key/list?return_full_object=true&"+query, ""), "keys", "key_alias"); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	keys := h.Must("GET", "/key/list?expand=user&user_id=ada", "")["keys"].([]any)
	if u, _ := keys[0].(map[string]any)["user"].(map[string]any); u["user_id"] != "ada" {
		t.Errorf("expand: got %v", keys)
	}
	for _, query := range []string{
		"status=deleted", "expires=soon", "agent_id=a", "expand=team", "sort_by=colour", "sort_order=up", "size=101", "size=0",
		"substring_matching=maybe", "sort_order=up&status=active", "include_team_keys=x",
	} {
		if a := h.Call(adminapitest.MasterKey, "GET", "/key/list?"+query, ""); a.Status != 400 {
			t.Errorf("%s: got %d %s, want 400", query, a.Status, a.Body)
		}
	}
}

// TestKeyList_Maker: who makes keys for others finds them, and none but those that he may see.
func TestKeyList_Maker(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/team/new", `{"team_id":"t1","members_with_roles":[{"role":"admin","user_id":"ada"},{"role":"user","user_id":"bob"}]}`)
	own, _ := h.Must("POST", "/key/generate", `{"key_alias":"own","user_id":"ada"}`)["key"].(string)
	h.Advance(time.Second)
	h.Must("POST", "/key/generate", `{"key_alias":"other","team_id":"t1"}`)
	for _, name := range []string{"a", "b", "c"} {
		h.Advance(time.Second)
		if a := h.Call(own, "POST", "/key/generate", `{"key_alias":"`+name+`","team_id":"t1","user_id":"bob"}`); a.Status != 200 {
			t.Fatalf("got %d %s", a.Status, a.Body)
		}
	}
	for query, want := range map[string]string{
		"user_id=ada&include_created_by_keys=true&sort_by=key_alias&sort_order=asc": "a b c own",
		"size=2": "c b", "size=2&page=2": "a other", "size=2&page=3": "own",
	} {
		for _, key := range []string{own, adminapitest.MasterKey} {
			if got := column(h.Call(key, "GET", "/key/list?return_full_object=true&"+query, "").Object(t), "keys", "key_alias"); got != want {
				t.Errorf("%s: got %q, want %q", query, got, want)
			}
		}
	}
}

func TestLists_Filters(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for i, name := range []string{"b", "a", "c"} {
		h.Must("POST", "/organization/new", fmt.Sprintf(`{"organization_id":"o%d","organization_alias":"org %s"}`, i, name))
		h.Must("POST", "/team/new", fmt.Sprintf(`{"team_id":"t%d","team_alias":%q,"max_budget":%d}`, i, name, 5-i))
		h.Must("POST", "/user/new", fmt.Sprintf(`{"user_id":"u%d","user_alias":%q,"organizations":["o%d"],"auto_create_key":false}`, i, name, i))
		h.Must("POST", "/key/generate", `{"team_id":"t0"}`)
		h.Advance(time.Second)
	}
	for path, want := range map[string]string{
		"/v2/team/list?sort_by=team_alias":                             "t1 t0 t2",
		"/v2/team/list?sort_by=team_alias&sort_order=desc":             "t2 t0 t1",
		"/v2/team/list?sort_by=created_at&sort_order=desc&page_size=2": "t2 t1",
		"/v2/team/list?sort_by=max_budget":                             "t2 t1 t0",
		"/user/list?sort_by=user_alias":                                "u1 u0 u2",
		"/user/list?sort_by=created_at&sort_order=desc":                "u2 u1 u0",
		"/user/list?organization_ids=o0,o2":                            "u0 u2",
		"/user/list?organization_ids=org%20a":                          "u1",
		"/user/list?organization_ids=none":                             "",
		"/user/list?user_ids=u0,u1&page_size=1&page=2":                 "u1",
	} {
		list, id := "teams", "team_id"
		if strings.HasPrefix(path, "/user") {
			list, id = "users", "user_id"
		}
		body := h.Must("GET", path, "")
		if got := column(body, list, id); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		if size := body["page_size"].(float64); !slices.Contains([]float64{1, 2, 10, 25}, size) {
			t.Errorf("%s: got a page of %v, want the size that was asked for", path, size)
		}
	}
	if keys, _ := h.Must("GET", "/team/info?team_id=t0&key_limit=2", "")["keys"].([]any); len(keys) != 2 {
		t.Errorf("key_limit: got %d keys, want 2", len(keys))
	}
	for _, path := range []string{
		"/v2/team/list?status=deleted", "/v2/team/list?sort_by=colour", "/v2/team/list?sort_order=up", "/v2/team/list?page_size=101",
		"/user/list?sso_user_ids=x", "/user/list?sort_by=colour", "/user/list?page_size=1000", "/customer/list?page_size=101",
		"/team/info?team_id=t0&key_limit=x", "/audit?page_size=101",
	} {
		if a := h.Call(adminapitest.MasterKey, "GET", path, ""); a.Status != 400 {
			t.Errorf("%s: got %d %s, want 400", path, a.Status, a.Body)
		}
	}
}
