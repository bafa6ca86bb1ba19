package fsm_test

import (
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestFoundTeam: a node founds the gateway's own team alone, once, and nothing else can belong to it.
func TestFoundTeam(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	found := func(id string) fsm.FoundTeam {
		return fsm.FoundTeam{Team: encoded(t, resource.Team{Meta: resource.Meta{ID: id}, Name: id})}
	}
	if err := h.try(node("n1"), found("research")).Err; resource.Code(err) != "invalid" {
		t.Errorf("a node founds another team: got %v", err)
	}
	h.refused(master, found(resource.SystemTeamID), resource.ErrForbidden)
	h.doAs(node("n1"), found(resource.SystemTeamID))
	h.refused(node("n1"), found(resource.SystemTeamID), resource.ErrConflict)
	h.do(h.user(resource.User{Meta: resource.Meta{ID: "u1"}}))
	h.invalid(h.putKey(resource.Key{Meta: resource.Meta{ID: "k1"}, Hash: resource.HashSecret("k1"), TeamID: resource.SystemTeamID}, 0), "team_id")
	h.invalid(h.project(resource.Project{Meta: resource.Meta{ID: "p1"}, TeamID: resource.SystemTeamID}), "team_id")
	h.invalid(h.member(resource.SystemTeamID, "u1", resource.Policy{}), "team_id")
	h.do(fsm.DeleteTeam{ID: resource.SystemTeamID})
	h.refused(node("n1"), found(resource.SystemTeamID), resource.ErrDead)
}
