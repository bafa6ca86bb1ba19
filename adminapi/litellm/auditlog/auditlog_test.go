package auditlog_test

import (
	"fmt"
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
		"/audit/99": 404, "/audit/x": 404, "/audit?page=0": 400, "/audit?sort_by=action": 400, "/audit?sort_order=up": 400, "/audit?end_date=x": 400,
	} {
		if a := h.Call(adminapitest.MasterKey, "GET", path, ""); a.Status != status {
			t.Errorf("%s: got %d, want %d", path, a.Status, status)
		}
	}
}
