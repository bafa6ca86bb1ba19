package fsm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (h *harness) group(g resource.AccessGroup, read uint64) fsm.PutAccessGroup {
	return fsm.PutAccessGroup{Record: encoded(h.t, g), Read: read}
}

func grouped(ids ...string) resource.Policy { return resource.Policy{AccessGroupIDs: ids} }

// TestAccessGroups_References: what has a group keeps it from being deleted, and nothing has one that is not there.
func TestAccessGroups_References(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.do(h.group(resource.AccessGroup{Meta: meta("g1"), Name: "eng", Models: []string{"gpt"}}, 0))
	h.refused(master, h.group(resource.AccessGroup{Meta: meta("g2"), Name: "eng"}, 0), resource.ErrExists)
	h.invalid(h.team(resource.Team{Meta: meta("t1"), Policy: grouped("gone")}), "access_group_ids")
	h.do(h.team(resource.Team{Meta: meta("t1"), Policy: grouped("g1")}))
	h.do(h.putKey(resource.Key{Meta: meta("k1"), TeamID: "t1", Policy: grouped("g1")}, 0))
	h.do(h.organization(resource.Organization{Meta: meta("o1"), Name: "acme", Policy: grouped("g1")}))
	if teams, keys := h.f.Grouped("g1"); !cmp.Equal(teams, []string{"t1"}) || !cmp.Equal(keys, []string{"k1"}) {
		t.Errorf("g1 is said to be had by the teams %v and the keys %v", teams, keys)
	}
	g, _ := h.f.Catalog().AccessGroup("g1")
	h.refused(master, h.group(resource.AccessGroup{Meta: meta("g1"), Name: "eng"}, g.Version+1), resource.ErrConflict)
	h.do(h.group(resource.AccessGroup{Meta: meta("g1"), Name: "eng", Models: []string{"gpt", "o*"}}, g.Version))
	if g, _ := h.f.Catalog().AccessGroup("g1"); !cmp.Equal(g.Models, []string{"gpt", "o*"}) {
		t.Errorf("the catalog has %v", g.Models)
	}

	h.invalid(h.group(resource.AccessGroup{Meta: meta("g2"), Name: "ops", Allowance: resource.Allowance{BudgetID: "gone"}}, 0), "budget_id")
	h.do(fsm.PutBudget{Budget: encoded(t, resource.Budget{Meta: meta("b1"), Name: "shared", Terms: resource.Terms{USD: 5}})})
	h.do(h.group(resource.AccessGroup{Meta: meta("g2"), Name: "ops", Allowance: resource.Allowance{BudgetID: "b1"}}, 0))
	h.refused(master, fsm.DeleteBudget{ID: "b1"}, resource.ErrInUse)
	h.do(fsm.DeleteAccessGroup{ID: "g2"})
	h.do(fsm.DeleteBudget{ID: "b1"})

	h.refused(master, fsm.DeleteAccessGroup{ID: "g1"}, resource.ErrInUse)
	h.do(fsm.DeleteKey{ID: "k1"})
	team, _ := h.f.Catalog().Team("t1")
	h.do(fsm.PutTeam{Read: team.Version, Team: encoded(t, resource.Team{Meta: meta("t1")})})
	h.refused(master, fsm.DeleteAccessGroup{ID: "g1"}, resource.ErrInUse)
	h.do(fsm.DeleteOrganization{ID: "o1"})
	h.do(fsm.DeleteAccessGroup{ID: "g1"})
	h.refused(master, h.group(resource.AccessGroup{Meta: meta("g1"), Name: "eng"}, 0), resource.ErrDead)
	if _, ok := h.f.Catalog().AccessGroup("g1"); ok {
		t.Error("the catalog has a group that was deleted")
	}
}

// TestAccessGroups_Grants: a key is given no more by its groups than its team has by its list and its groups.
func TestAccessGroups_Grants(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.do(fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m1"), Name: "big", AccessGroups: []string{"premium"}})})
	h.do(h.group(resource.AccessGroup{Meta: meta("g1"), Name: "eng", Models: []string{"gpt", "big"}, MCPServers: []string{"git"}}, 0))
	h.do(h.group(resource.AccessGroup{Meta: meta("g2"), Name: "ops", Models: []string{"claude"}, MCPTools: map[string][]string{"mail": {"send"}}}, 0))
	some := resource.Policy{Models: []string{"mini"}, AccessGroupIDs: []string{"g1"}, Objects: &resource.Objects{MCPServers: []string{"mail"}}}
	h.do(h.team(resource.Team{Meta: meta("t1"), Policy: some}))
	key := func(id string, p resource.Policy) fsm.PutKey {
		return h.putKey(resource.Key{Meta: meta(id), TeamID: "t1", Policy: p}, 0)
	}
	h.do(key("k1", resource.Policy{Models: []string{"gpt"}}))
	h.do(key("k2", resource.Policy{Models: []string{"mini"}, AccessGroupIDs: []string{"g1"}}))
	h.do(key("k3", resource.Policy{Objects: &resource.Objects{MCPServers: []string{"git", "mail"}}}))
	h.do(key("k4", resource.Policy{Models: []string{resource.TeamModels}, AccessGroupIDs: []string{"g2"}})) // it inherits the team's models; the tool of mail is the team's
	h.invalid(key("k5", grouped("g2")), "models")                                                           // which are all that it would have
	h.invalid(key("k5", resource.Policy{Models: []string{"mini"}, AccessGroupIDs: []string{"g2"}}), "models")
	h.invalid(key("k5", resource.Policy{Models: []string{"claude"}}), "models")
	h.invalid(key("k5", resource.Policy{Objects: &resource.Objects{MCPServers: []string{"wiki"}}}), "objects")
	h.do(h.group(resource.AccessGroup{Meta: meta("g3"), Name: "wiki", MCPServers: []string{"wiki"}}, 0))
	h.invalid(key("k5", grouped("g3")), "objects")
	h.do(h.team(resource.Team{Meta: meta("t2"), Policy: resource.Policy{Models: []string{"premium"}}}))
	h.do(h.putKey(resource.Key{Meta: meta("k6"), TeamID: "t2", Policy: resource.Policy{Models: []string{"big"}}}, 0))
	h.invalid(h.putKey(resource.Key{Meta: meta("k7"), TeamID: "t2", Policy: resource.Policy{Models: []string{"big"}, AccessGroupIDs: []string{"g1"}}}, 0), "models")
}
