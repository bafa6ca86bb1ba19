package fsm_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (h *harness) organization(o resource.Organization) fsm.PutOrganization {
	return fsm.PutOrganization{Record: encoded(h.t, o)}
}

func (h *harness) team(t resource.Team) fsm.PutTeam { return fsm.PutTeam{Team: encoded(h.t, t)} }

func (h *harness) project(p resource.Project) fsm.PutProject {
	return fsm.PutProject{Record: encoded(h.t, p)}
}

func (h *harness) user(u resource.User) fsm.PutUser { return fsm.PutUser{Record: encoded(h.t, u)} }

func (h *harness) member(team, user string, p resource.Policy) fsm.PutTeamMember {
	return fsm.PutTeamMember{Record: encoded(h.t, resource.TeamMember{
		Meta: meta(resource.TeamMemberID(team, user)), TeamID: team, UserID: user, Policy: p,
	})}
}

// invalid applies a command that must be refused for the field.
func (h *harness) invalid(cmd fsm.Command, field string) {
	h.t.Helper()
	a := h.try(master, cmd)
	if in, ok := errors.AsType[*resource.Invalid](a.Err); !ok || in.Field != field {
		h.t.Errorf("%T: got %v, want a complaint about %s", cmd, a.Err, field)
	}
}

// hierarchy makes an organization, a team, a project, a user, a membership and a key.
func hierarchy(t *testing.T) *harness {
	h := start(t)
	h.boot("n1")
	h.do(h.organization(resource.Organization{Meta: meta("o1"), Name: "acme"}))
	h.do(h.team(resource.Team{Meta: meta("t1"), Name: "research", OrganizationID: "o1"}))
	h.do(h.project(resource.Project{Meta: meta("p1"), Name: "search", TeamID: "t1"}))
	h.do(h.user(resource.User{Meta: meta("u1"), Email: "Ada@example.org"}))
	h.do(h.member("t1", "u1", resource.Policy{}))
	h.do(h.putKey(resource.Key{Meta: meta("k1"), TeamID: "t1", ProjectID: "p1", UserID: "u1"}, 0))
	return h
}

func TestHolders_References(t *testing.T) {
	t.Parallel()
	h := hierarchy(t)
	h.do(h.team(resource.Team{Meta: meta("t2")}))
	h.invalid(h.team(resource.Team{Meta: meta("t9"), OrganizationID: "gone"}), "organization_id")
	h.invalid(h.project(resource.Project{Meta: meta("p9"), Name: "x", TeamID: "gone"}), "team_id")
	h.invalid(h.user(resource.User{Meta: meta("u9"), OrganizationID: "gone"}), "organization_id")
	h.invalid(h.member("gone", "u1", resource.Policy{}), "team_id")
	h.invalid(h.member("t1", "gone", resource.Policy{}), "user_id")
	h.invalid(h.putKey(resource.Key{Meta: meta("k9"), TeamID: "t1", ProjectID: "gone"}, 0), "project_id")
	h.invalid(h.putKey(resource.Key{Meta: meta("k9"), TeamID: "t2", ProjectID: "p1"}, 0), "project_id")
	h.invalid(h.putKey(resource.Key{Meta: meta("k9"), ProjectID: "p1"}, 0), "project_id")
	h.do(h.putKey(resource.Key{Meta: meta("k2"), UserID: "of another system"}, 0))
	h.refused(master, h.user(resource.User{Meta: meta("u2"), Email: "ada@EXAMPLE.org"}), resource.ErrExists)
	p, _ := h.f.Catalog().Project("p1")
	h.invalid(fsm.PutProject{Read: p.Version, Record: encoded(t, resource.Project{Meta: meta("p1"), Name: "search", TeamID: "t2"})}, "team_id")

	h.refused(master, fsm.DeleteOrganization{ID: "o1"}, resource.ErrInUse)
	h.refused(master, fsm.DeleteTeam{ID: "t1"}, resource.ErrInUse)
	h.refused(master, fsm.DeleteProject{ID: "p1"}, resource.ErrInUse)
	h.refused(master, fsm.DeleteUser{ID: "u1"}, resource.ErrInUse)
	if _, ok := h.f.TeamMember("t1", "u1"); !ok {
		t.Error("a refused deletion took the membership with it")
	}
}

func TestHolders_Deletion(t *testing.T) {
	t.Parallel()
	h := hierarchy(t)
	h.do(h.putKey(resource.Key{Meta: meta("k2"), UserID: "u1"}, 0))
	h.do(fsm.DeleteTeamMember{ID: "t1/u1"})
	if _, ok := h.f.Key("k1"); ok {
		t.Error("who left the team still has a key of it")
	}
	if _, ok := h.f.Key("k2"); !ok {
		t.Error("who left the team lost a key of his own")
	}
	h.do(h.member("t1", "u1", resource.Policy{})) // who left may come back
	h.do(fsm.DeleteKey{ID: "k2"})
	h.do(fsm.DeleteUser{ID: "u1"})
	if n := len(h.f.TeamMembers("t1")); n != 0 {
		t.Errorf("the team has %d members, whose user is deleted", n)
	}
	h.do(fsm.DeleteProject{ID: "p1"})
	h.do(fsm.DeleteTeam{ID: "t1"})
	h.do(fsm.DeleteOrganization{ID: "o1"})
	h.refused(master, h.organization(resource.Organization{Meta: meta("o1"), Name: "acme"}), resource.ErrDead)
	h.do(h.user(resource.User{Meta: meta("u1")})) // ids of people come from elsewhere
}

func TestHolders_Grants(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	usd := func(n resource.Money, per resource.Per) []resource.Terms {
		return []resource.Terms{{Name: string(per), USD: n, Per: per}}
	}
	policy := func(p resource.Policy, a resource.Allowance) resource.Policy {
		p.Allowance = a
		return p
	}
	h.do(fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m1"), Name: "big", AccessGroups: []string{"premium"}})})
	h.do(fsm.PutBudget{Budget: encoded(t, resource.Budget{Meta: meta("b1"), Name: "lots", Terms: resource.Terms{Name: "shared", USD: 1000, Per: resource.PerMonth}})})
	h.do(h.organization(resource.Organization{Meta: meta("o1"), Name: "acme", Policy: policy(
		resource.Policy{Models: []string{"demo", "premium"}, Routes: []string{"/v1/*"}},
		resource.Allowance{Budgets: usd(100, resource.PerMonth), Limits: resource.Limits{RPM: new(int64(10))}},
	)}))
	for _, tt := range []struct {
		name   string
		policy resource.Policy
		field  string // "": accepted
	}{
		{"nothing", resource.Policy{}, ""},
		{"the same", resource.Policy{Models: []string{"premium"}, Routes: []string{"/v1/*"}}, ""},
		{"a model of its group", resource.Policy{Models: []string{"big"}}, ""},
		{"none", resource.Policy{Models: []string{resource.NoModels}}, ""},
		{"another model", resource.Policy{Models: []string{"demo", "other"}}, "models"},
		{"all models", resource.Policy{Models: []string{"*"}}, "models"},
		{"another route", resource.Policy{Routes: []string{"/*"}}, "routes"},
		{"a larger budget", policy(resource.Policy{}, resource.Allowance{Budgets: usd(101, resource.PerMonth)}), "budgets"},
		{"a larger budget of a day", policy(resource.Policy{}, resource.Allowance{Budgets: usd(101, resource.PerDay)}), "budgets"},
		{"a larger shared budget", policy(resource.Policy{}, resource.Allowance{BudgetID: "b1"}), "budgets"},
		{"a budget for ever", policy(resource.Policy{}, resource.Allowance{Budgets: usd(101, resource.PerTotal)}), ""},
		{"a larger limit", policy(resource.Policy{}, resource.Allowance{Limits: resource.Limits{RPM: new(int64(11))}}), "limits"},
		{"a larger limit of a model", policy(resource.Policy{}, resource.Allowance{ModelLimits: map[string]resource.Limits{"demo": {RPM: new(int64(11))}}}), "model_limits"},
	} {
		cmd := h.team(resource.Team{Meta: meta("t_" + strings.ReplaceAll(tt.name, " ", "_")), OrganizationID: "o1", Policy: tt.policy})
		if tt.field == "" {
			h.do(cmd)
		} else {
			h.invalid(cmd, tt.field)
		}
	}
	// A key is bound by the organization of its team, too.
	h.invalid(h.putKey(resource.Key{Meta: meta("k1"), TeamID: "t_nothing", Policy: resource.Policy{Models: []string{"other"}}}, 0), "models")

	// What it had may stay when the parent loses it; more may not come.
	made := h.do(h.team(resource.Team{Meta: meta("kept"), OrganizationID: "o1", Policy: resource.Policy{Models: []string{"demo"}}}))
	o, _ := h.f.Catalog().Organization("o1")
	h.do(fsm.PutOrganization{Read: o.Version, Record: encoded(t, resource.Organization{Meta: meta("o1"), Name: "acme", Policy: resource.Policy{Models: []string{"premium"}}})})
	put := func(p resource.Policy) fsm.PutTeam {
		return fsm.PutTeam{Read: made.Version, Team: encoded(t, resource.Team{Meta: meta("kept"), OrganizationID: "o1", Policy: p})}
	}
	h.invalid(put(resource.Policy{Models: []string{"demo", "x"}}), "models")
	h.do(put(resource.Policy{Models: []string{"demo"}, Tags: []string{"renamed"}}))
}

func TestHolders_Windows(t *testing.T) {
	t.Parallel()
	h := hierarchy(t)
	terms := []resource.Terms{{Name: "total", USD: 100, Per: resource.PerTotal}}
	p := resource.Policy{Allowance: resource.Allowance{Budgets: terms}}
	open := func(account resource.AccountID) []fsm.OpenWindow {
		return []fsm.OpenWindow{{Account: account, Limit: 100}}
	}
	member, _ := h.f.TeamMember("t1", "u1")
	cmd := h.member("t1", "u1", p)
	cmd.Read, cmd.Windows = member.Version, open("member/t1/u1/total")
	h.do(cmd)
	for _, id := range []string{"a", "a/b"} {
		h.do(fsm.PutCustomer{Record: encoded(t, resource.Customer{Meta: meta(id), Policy: p}), Windows: open(resource.Account("customer", id, "total"))})
	}
	h.do(fsm.PutTag{Record: encoded(t, resource.Tag{Meta: meta("prod"), Policy: p}), Windows: open("tag/prod/total")})
	h.do(fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m1"), Name: "m", Allowance: p.Allowance}), Windows: open("model/m1/total")})
	for _, holder := range []string{"member/t1/u1", "customer/a", "customer/a/b", "tag/prod", "model/m1"} {
		if got := h.f.Accounts(holder); len(got) != 1 || got[0].Limit != 100 {
			t.Errorf("%s: got accounts %+v, want one of 100", holder, got)
		}
	}
	h.do(fsm.DeleteCustomer{ID: "a"})
	if len(h.f.Accounts("customer/a")) != 0 || len(h.f.Accounts("customer/a/b")) != 1 {
		t.Error("the deletion of a customer dropped the accounts of another, or not its own")
	}
}

func TestHolders_Served(t *testing.T) {
	t.Parallel()
	h := hierarchy(t)
	for _, id := range []string{"u3", "u2"} {
		h.do(h.user(resource.User{Meta: meta(id), Name: "Name of " + id, OrganizationID: "o1"}))
	}
	h.do(fsm.PutCustomer{Record: encoded(t, resource.Customer{Meta: meta("user@host/1")})})
	check := func() {
		t.Helper()
		if u, ok := h.f.UserByEmail("ADA@example.org"); !ok || u.ID != "u1" {
			t.Errorf("by e-mail: got %v", u)
		}
		var ids []string
		users, _, total := h.f.Users(fsm.ListQuery{Where: map[string]string{"organization_id": "o1"}, Sort: "name"})
		for _, u := range users {
			ids = append(ids, u.ID)
		}
		if d := cmp.Diff([]string{"u2", "u3"}, ids); d != "" || total != 2 {
			t.Errorf("users of an organization (-want +got):\n%s", d)
		}
		if c, ok := h.f.Customer("user@host/1"); !ok || !c.Blocked {
			t.Errorf("customer: got %+v", c)
		}
		if m := h.f.Memberships("u1"); len(m) != 1 || m[0].TeamID != "t1" {
			t.Errorf("memberships: got %v", m)
		}
		if k := h.f.KeysOf("u1"); len(k) != 1 || k[0].ID != "k1" {
			t.Errorf("keys: got %v", k)
		}
		for kind, blocked := range map[string]bool{
			"organization": h.f.Catalog().Tables().Organizations[0].Blocked, "project": h.f.Catalog().Tables().Projects[0].Blocked,
		} {
			if !blocked {
				t.Errorf("the %s is not blocked", kind)
			}
		}
		if u, _ := h.f.User("u1"); !u.Blocked {
			t.Error("the user is not blocked")
		}
	}
	for _, cmd := range []fsm.Command{
		fsm.BlockOrganization{ID: "o1", Blocked: true},
		fsm.BlockProject{ID: "p1", Blocked: true},
		fsm.BlockUser{ID: "u1", Blocked: true},
		fsm.BlockCustomer{ID: "user@host/1", Blocked: true},
	} {
		h.do(cmd)
	}
	check()
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	check()
	if !slices.ContainsFunc(h.f.Catalog().Tables().Teams, func(t *resource.Team) bool { return t.OrganizationID == "o1" }) {
		t.Error("the team is gone")
	}
}
