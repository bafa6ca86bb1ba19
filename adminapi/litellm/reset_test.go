package litellm_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// spender is a node that reports what was spent.
type spender struct {
	h   *adminapitest.Harness
	seq uint64
}

func newSpender(h *adminapitest.Harness) *spender {
	s := &spender{h: h}
	s.do(fsm.RegisterMember{Member: resource.Member{Meta: resource.Meta{ID: "n1"}, Name: "a", Address: "h:1", FSMVersion: 1}})
	s.do(fsm.OpenEpoch{Node: "n1"})
	return s
}

func (s *spender) do(cmd fsm.Command) {
	s.h.T.Helper()
	if _, err := s.h.Propose(s.h.T.Context(), fsm.Actor{Kind: "node", ID: "n1"}, "", cmd); err != nil {
		s.h.T.Fatal(err)
	}
}

// spend settles dollars in each open account of the holder.
func (s *spender) spend(holder string, usd resource.Money) {
	s.h.T.Helper()
	var d []fsm.AccountDelta
	for _, a := range s.h.State.Accounts(holder) {
		if a.Window.Contains(resource.At(s.h.Clock())) {
			d = append(d, fsm.AccountDelta{Account: a.ID, Start: a.Window.Start, Amount: usd})
		}
	}
	if len(d) == 0 {
		s.h.T.Fatalf("%s has no account", holder)
	}
	s.seq++
	s.do(fsm.TickGroup{Ticks: []fsm.Tick{{Node: "n1", Epoch: s.h.State.Epoch("n1"), Seq: s.seq, Settle: d}}})
}

// spentOut says whether the key's budget refuses requests.
func spentOut(h *adminapitest.Harness, key string) bool {
	h.T.Helper()
	e, err := h.Client(adminapitest.MasterKey).Effective(h.T.Context(), key, nil)
	if err != nil {
		h.T.Fatal(err)
	}
	for _, b := range e.Blocks {
		if b.Code == "budget_exceeded" {
			return true
		}
	}
	return false
}

func TestResetSpend(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/key/generate", `{"key_alias":"k","max_budget":10,"budget_duration":"1d"}`)
	k, _ := h.Must("GET", "/api/v1/keys/k", "")["id"].(string)
	s := newSpender(h)
	s.spend("key/"+k, 10*resource.Dollar)
	if !spentOut(h, "k") {
		t.Fatal("a spent budget refuses nothing")
	}
	has(t, "reset", h.Must("POST", "/key/k/reset_spend", `{"reset_to":2}`), map[string]any{
		"spend": 2.0, "previous_spend": 10.0, "max_budget": 10.0, "temp_budget_increase": 8.0, "budget_reset_at": "2026-03-12T00:00:00Z",
	})
	if spentOut(h, "k") {
		t.Error("the budget refuses requests after its reset")
	}
	s.spend("key/"+k, 8*resource.Dollar)
	if !spentOut(h, "k") {
		t.Error("what is spent after a reset does not count")
	}
	if a := h.Call(adminapitest.MasterKey, http.MethodPost, "/key/k/reset_spend", `{"reset_to":11}`); a.Status != 400 {
		t.Errorf("a reset upwards: got %d %s", a.Status, a.Body)
	}
	has(t, "again", h.Must("POST", "/key/k/reset_spend", `{"reset_to":0}`), map[string]any{"spend": 0.0, "previous_spend": 10.0, "temp_budget_increase": 18.0})
	h.Advance(24 * time.Hour)
	e, err := h.Client(adminapitest.MasterKey).Effective(t.Context(), "k", nil)
	if err != nil || len(e.Budgets) != 1 || e.Budgets[0].Limit != "10" {
		t.Errorf("the day after: got %+v, %v, want the limit of 10", e.Budgets, err)
	}
}

func TestResetSpend_refused(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/key/generate", `{"key_alias":"free"}`)
	h.Must("POST", "/key/generate", `{"key_alias":"raised","max_budget":10,"temp_budget_increase":5,"temp_budget_expiry":"2026-03-20T00:00:00Z"}`)
	capped, _ := h.Must("POST", "/api/v1/keys", `{"name":"capped","role":"proxy_admin","increase_cap":1}`)["secret"].(string)
	h.Must("POST", "/key/generate", `{"key_alias":"k","max_budget":10}`)
	k, _ := h.Must("GET", "/api/v1/keys/k", "")["id"].(string)
	newSpender(h).spend("key/"+k, 5*resource.Dollar)
	for _, tt := range []struct {
		name, key, path, body string
		status                int
		says                  string
	}{
		{"no amount", adminapitest.MasterKey, "/key/k/reset_spend", `{}`, 400, "reset_to"},
		{"a negative amount", adminapitest.MasterKey, "/key/k/reset_spend", `{"reset_to":-1}`, 400, "negative"},
		{"no budget", adminapitest.MasterKey, "/key/free/reset_spend", `{"reset_to":0}`, 400, "ledger"},
		{"another increase", adminapitest.MasterKey, "/key/raised/reset_spend", `{"reset_to":0}`, 409, "increase"},
		{"no key", adminapitest.MasterKey, "/key/none/reset_spend", `{"reset_to":0}`, 404, "none"},
		{"above the approver's cap", capped, "/key/k/reset_spend", `{"reset_to":0}`, 403, "approver"},
		{"everything at once", adminapitest.MasterKey, "/global/spend/reset", ``, 400, "/key/{key}/reset_spend"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if a := h.Call(tt.key, http.MethodPost, tt.path, tt.body); a.Status != tt.status || !strings.Contains(string(a.Body), tt.says) {
				t.Errorf("got %d %s, want %d", a.Status, a.Body, tt.status)
			}
		})
	}
}

func TestMember_meAndReset(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/team/new", `{"team_id":"t1","team_alias":"research","members_with_roles":[{"role":"user","user_id":"ada","user_email":"ada@example.org"}]}`)
	h.Must("POST", "/team/member_update", `{"team_id":"t1","user_id":"ada","max_budget_in_team":4}`)
	secret, _ := h.Must("POST", "/key/generate", `{"team_id":"t1","user_id":"ada"}`)["key"].(string)
	newSpender(h).spend("member/"+resource.TeamMemberID("t1", "ada"), 3*resource.Dollar)
	a := h.Call(secret, http.MethodGet, "/team/t1/members/me", "")
	if a.Status != 200 {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	has(t, "me", a.Object(t), map[string]any{"user_id": "ada", "team_id": "t1", "team_alias": "research", "user_email": "ada@example.org", "role": "user", "max_budget": 4.0})
	has(t, "reset", h.Must("POST", "/team/t1/member/ada/reset_budget", ""), map[string]any{"user_id": "ada", "team_id": "t1", "spend": 0.0, "previous_spend": 3.0})
	if a := h.Call(secret, http.MethodPost, "/team/t1/member/ada/reset_spend", `{"reset_to":0}`); a.Status != 403 {
		t.Errorf("a member resets his own: got %d %s", a.Status, a.Body)
	}
	if got := list(h, "GET", "/team/filter/ui?team_alias=sear", ""); got != `[{"team_alias":"research","team_id":"t1"}]`+"\n" {
		t.Errorf("got %s", got)
	}
}
