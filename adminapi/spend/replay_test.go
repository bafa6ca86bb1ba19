package spend_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/resource"
)

// TestCase exports a request with what decides about it, for those alone who may see all.
func TestCase(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/r0/case", "")
	if a.Status != 200 {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	c, err := evidence.Read(strings.NewReader(string(a.Body)))
	if err != nil || len(c.Requests) != 1 || c.Requests[0].RequestID != "r0" || len(c.State.Keys) != 1 || c.State.Keys[0].ID != "key_0" || len(c.State.Teams) != 1 {
		t.Fatalf("got %s, %v", a.Body, err)
	}
	if k := c.State.Keys[0]; k.Hash != (resource.Hash{}) || k.Hint != "" {
		t.Errorf("the case has a key's hash or hint: %s", a.Body)
	}
	if a := h.Call(secret, "GET", "/api/v1/requests/r0/case", ""); a.Status != 403 {
		t.Errorf("a key of inference gets %d %s", a.Status, a.Body)
	}
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/none/case", ""); a.Status != 404 {
		t.Errorf("an unknown request: %d %s", a.Status, a.Body)
	}
}

// TestExports_Audited: who takes records away is in the audit log, unless they are his own alone.
func TestExports_Audited(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	before := h.State.AuditExtent().Last
	for _, path := range []string{"/api/v1/requests/export?format=csv", "/api/v1/usage/export?format=json", "/api/v1/requests/r0/case", "/team/daily/activity/export?start_date=2026-03-01&end_date=2026-03-11"} {
		if a := h.Call(adminapitest.MasterKey, "GET", path, ""); a.Status != 200 {
			t.Fatalf("%s: got %d %s", path, a.Status, a.Body)
		}
	}
	h.Call(secret, "GET", "/api/v1/requests/export", "")
	h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/none/case", "")
	items, _ := h.State.Audit(fsm.AuditQuery{Oldest: true, Cursor: strconv.FormatUint(before, 10)})
	got := []string{}
	for _, e := range items {
		got = append(got, strings.Join([]string{e.Actor, e.Action, e.Kind, e.ID}, " "))
	}
	if d := cmp.Diff([]string{"master export requests csv", "master export usage json", "master export request r0", "master export usage csv"}, got); d != "" {
		t.Errorf("entries differ (-want +got):\n%s", d)
	}
}

// TestReplay has a request of the past decided again: the judge gets its receipt and what is stored now, and
// the answer says what would differ from what was.
func TestReplay(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	var verdict evidence.Verdict
	h.Judge = func(state *evidence.State, r *evidence.Request) evidence.Verdict {
		if r.RequestID != "r0" || len(state.Keys) != 1 || state.Keys[0].ID != "key_0" || len(state.Teams) != 1 {
			t.Errorf("judges %+v by %+v", r, state)
		}
		return verdict
	}
	served := evidence.Verdict{Decision: evidence.Served, Model: "demo", Judged: true}
	refused := evidence.Verdict{Decision: evidence.Refused, Step: "auth", Code: "team_blocked", Scope: "team", Entity: "team_a", Reason: "The team is blocked.", Judged: true}
	for _, tt := range []struct {
		name, method, path, body string
		verdict                  evidence.Verdict
		differ                   []string // all of the differences, in this order
		cost                     string
	}{
		{"no deployment", "POST", "/api/v1/models", `{"id":"m","name":"demo"}`, served, []string{"the deployment dep, which answered"}, ""},
		{"as it was", "POST", "/api/v1/deployments", `{"id":"dep","model_id":"m","provider":"openai","model":"d","price":{"input":0,"output":0,"request":0.01}}`, served, nil, "0.01"},
		{"another price", "PATCH", "/api/v1/deployments/dep", `{"price":{"input":1000,"output":2000,"cache_read":0}}`, served, []string{"it cost 0.01, and would cost 0.026"}, "0.026"},
		{"back", "PATCH", "/api/v1/deployments/dep", `{"price":{"input":0,"output":0,"request":0.01}}`, served, nil, "0.01"},
		{"refused", "POST", "/api/v1/teams/team_a/block", "", refused, []string{"it was served, and would be refused: The team is blocked. (team_blocked)"}, ""},
	} {
		if a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body); a.Status >= 300 {
			t.Fatalf("%s: %d %s", tt.name, a.Status, a.Body)
		}
		verdict = tt.verdict
		a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/r0?replay=true", "")
		if a.Status != 200 {
			t.Fatalf("%s: got %d %s", tt.name, a.Status, a.Body)
		}
		var got struct {
			Items []struct {
				Replay client.Replay `json:"replay"`
			} `json:"items"`
		}
		if err := json.Unmarshal([]byte(a.Body), &got); err != nil || len(got.Items) != 1 {
			t.Fatalf("%s: got %s, %v", tt.name, a.Body, err)
		}
		r := got.Items[0].Replay
		cost := ""
		if r.Cost != nil {
			cost = r.Cost.String()
		}
		ok := r.Verdict == tt.verdict && cost == tt.cost && len(r.Differences) == len(tt.differ)
		for i := range tt.differ {
			ok = ok && strings.Contains(r.Differences[i], tt.differ[i])
		}
		if !ok || len(r.Changed) == 0 {
			t.Errorf("%s: got %+v", tt.name, r)
		}
	}
	if a := h.Call(secret, "GET", "/api/v1/requests/r1?replay=true", ""); a.Status == 200 {
		t.Errorf("a key replays the request of another: %s", a.Body)
	}
}
