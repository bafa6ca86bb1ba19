package auditlog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/team/new", `{"team_alias":"a","team_id":"t1"}`, "Litellm-Changed-By", "jo")
	h.Must("POST", "/team/update", `{"team_id":"t1","models":["demo"]}`)
	key := h.Must("POST", "/key/generate", `{"key_alias":"k"}`)
	token, _ := key["token"].(string)
	h.Must("POST", "/key/block", `{"key":"`+token+`"}`)
	h.Must("POST", "/key/unblock", `{"key":"`+token+`"}`)
	h.Must("POST", "/team/delete", `{"team_ids":["t1"]}`)
	list := func(query string) (ids, actions string, body map[string]any) {
		body = h.Must("GET", "/audit?"+query, "")
		var id, action []any
		rows, _ := body["audit_logs"].([]any)
		for _, r := range rows {
			row, _ := r.(map[string]any)
			id, action = append(id, row["id"]), append(action, row["action"])
		}
		return fmt.Sprint(id), fmt.Sprint(action), body
	}
	ids, actions, body := list("")
	if ids != "[6 5 4 3 2 1]" || actions != "[deleted unblocked blocked created updated created]" {
		t.Errorf("got %s %s", ids, actions)
	}
	if fmt.Sprint(body["total"], body["page"], body["page_size"], body["total_pages"]) != "6 1 10 1" {
		t.Errorf("got %v", body)
	}
	for query, want := range map[string]string{
		"page=2&page_size=4":                   "[2 1]",
		"page_size=2&sort_order=asc":           "[1 2]",
		"action=created":                       "[3 1]",
		"action=created&page=2&page_size=1":    "[1]",
		"table_name=LiteLLM_TeamTable":         "[6 2 1]",
		"object_id=t1":                         "[6 2 1]",
		"object_team_id=t1":                    "[6 2 1]",
		"object_key_hash=" + token:             "[5 4 3]",
		"changed_by=jo":                        "[1]",
		"changed_by_api_key=nobody":            "[]",
		"search=T1&page_size=1":                "[6]",
		"start_date=2026-03-12":                "[]",
		"end_date=2026-03-11&page_size=1":      "[6]",
		"start_date=2026-03-11%2000:00:00":     "[6 5 4 3 2 1]",
		"start_date=2027-01-01T00:00:00Z&page": "[]",
	} {
		if ids, _, _ := list(query); ids != want {
			t.Errorf("%s: got %s, want %s", query, ids, want)
		}
	}
	if _, _, body := list("action=created&page_size=1"); body["total"] != 2.0 || body["total_pages"] != 2.0 {
		t.Errorf("total of a filter: got %v", body)
	}
	one := h.Must("GET", "/audit/2", "")
	delete(one, "updated_at")
	want := map[string]any{
		"id": "2", "changed_by": "master", "changed_by_api_key": "", "action": "updated", "table_name": "LiteLLM_TeamTable", "object_id": "t1",
		"before_value": nil, "updated_values": map[string]any{"models": []any{"demo"}},
	}
	if d := cmp.Diff(want, one); d != "" {
		t.Errorf("row differs (-want +got):\n%s", d)
	}
	for path, status := range map[string]int{
		"/audit/99": 404, "/audit/x": 404, "/audit?page=0": 400, "/audit?sort_by=colour": 400, "/audit?sort_order=up": 400, "/audit?end_date=x": 400,
	} {
		if a := h.Call(adminapitest.MasterKey, "GET", path, ""); a.Status != status {
			t.Errorf("%s: got %d, want %d", path, a.Status, status)
		}
	}
}

// TestRoutes_OfTeam: what belongs to a team is found by it, whatever of it has changed.
func TestRoutes_OfTeam(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/team/new", `{"team_id":"t1"}`)                                                 // 1
	h.Must("POST", "/team/new", `{"team_id":"t2"}`)                                                 // 2
	in, _ := h.Must("POST", "/key/generate", `{"key_alias":"in","team_id":"t1"}`)["token"].(string) // 3
	h.Must("POST", "/key/generate", `{"key_alias":"other","team_id":"t2"}`)                         // 4
	h.Must("POST", "/key/update", `{"key":"in","rpm_limit":5}`)                                     // 5
	h.Must("POST", "/key/block", `{"key":"in"}`)                                                    // 6
	h.Must("POST", "/key/update", `{"key":"other","rpm_limit":5}`)                                  // 7
	h.Must("POST", "/team/member_add", `{"team_id":"t1","member":{"user_id":"ada","role":"user"}}`) // 8: the user, 9
	h.Must("POST", "/key/generate", `{"key_alias":"gone","team_id":"t1"}`)                          // 10
	h.Must("POST", "/key/update", `{"key":"gone","rpm_limit":5}`)                                   // 11
	h.Must("POST", "/key/delete", `{"keys":["gone"]}`)                                              // 12
	h.Must("POST", "/project/new", `{"project_id":"p1","project_alias":"p","team_id":"t1"}`)        // 13
	h.Must("POST", "/project/update", `{"project_id":"p1","rpm_limit":9}`)                          // 14
	h.Must("POST", "/team/member_update", `{"team_id":"t1","user_id":"ada","rpm_limit":3}`)         // 15
	for query, want := range map[string]string{
		"object_team_id=t1&page_size=20":                                   "15 14 13 12 11 10 9 6 5 3 1",
		"object_team_id=t2":                                                "7 4 2",
		"object_team_id=t1&table_name=LiteLLM_VerificationToken":           "12 11 10 6 5 3",
		"object_team_id=t1&table_name=LiteLLM_TeamTable":                   "1",
		"object_team_id=t1&object_key_hash=" + in:                          "6 5 3",
		"object_team_id=t2&object_key_hash=" + in:                          "",
		"object_id=" + in:                                                  "6 5 3",
		"object_id=t1&object_key_hash=" + in:                               "",
		"object_team_id=t1&action=blocked":                                 "6",
		"sort_by=action&object_team_id=t2&sort_order=asc":                  "4 2 7",
		"sort_by=object_id&object_team_id=t1&sort_order=desc&page_size=2":  "15 9",
		"sort_by=table_name&object_team_id=t2&sort_order=desc&page_size=2": "7 4",
		"sort_by=updated_at&object_team_id=t2&sort_order=asc":              "2 4 7",
	} {
		body := h.Must("GET", "/audit?"+query, "")
		var got []string
		rows, _ := body["audit_logs"].([]any)
		for _, r := range rows {
			got = append(got, r.(map[string]any)["id"].(string))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: got %q, want %q", query, s, want)
		}
	}
}
