package adminapi

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// The inputs of the operations on the members of a team.
type (
	// MemberRef names a member in the path. It is exported because huma looks into embedded
	// fields only if they are.
	MemberRef struct {
		RefInput
		User string `path:"user" doc:"id or e-mail address of the user"`
	}
	memberCreate struct {
		RefInput
		RawBody []byte
	}
	memberWrite struct {
		MemberRef
		IfMatch string `header:"If-Match" doc:"version of the record that was read; or give it as version in the body"`
		RawBody []byte
	}
)

func (m MemberRef) ref() string { return resource.TeamMemberID(m.Ref, m.User) }

// availableTeam shows a team to somebody who may join it and does not see it yet.
func availableTeam(t *resource.Team) client.AvailableTeam {
	return client.AvailableTeam{
		ID: t.ID, Name: t.Name, OrganizationID: t.OrganizationID, Models: t.Models,
		MemberPermissions: t.MemberPermissions, MemberDefaults: t.MemberDefaults,
	}
}

// registerMembers registers the operations on the members of a team.
func (s *Server) registerMembers() {
	s.registerAvailableTeams()
	n, show := s.rs.TeamMembers, s.memberView
	const path = "/teams/{id}/members"
	register(s, "list-members", http.MethodGet, path, "List the members of a team",
		func(ctx context.Context, in *RefInput) (*listOutput[client.TeamMember], error) {
			t, err := s.rs.Teams.One(callerOf(ctx), in.Ref)
			if err != nil {
				return nil, s.problem(err)
			}
			out := &listOutput[client.TeamMember]{Body: client.Page[client.TeamMember]{Items: []client.TeamMember{}}}
			for _, m := range s.rs.Members(t.ID) {
				if _, err := n.One(callerOf(ctx), m.ID); err != nil {
					continue
				}
				out.Body.Items = append(out.Body.Items, show(m, detail{}))
			}
			out.Body.Total = len(out.Body.Items)
			return out, nil
		})
	register(s, "get-member", http.MethodGet, path+"/{user}", "Read one member of a team",
		func(ctx context.Context, in *MemberRef) (*recordOutput[client.TeamMember], error) {
			m, err := n.One(callerOf(ctx), in.ref())
			if err != nil {
				return nil, s.problem(err)
			}
			return answer(s, show, m, records.Written{Version: m.Version}, nil)
		})
	register(s, "create-member", http.MethodPost, path, "Add a member to a team: user_id or user_email, and what he may spend there",
		func(ctx context.Context, in *memberCreate) (*recordOutput[client.TeamMember], error) {
			doc, err := records.ParseDocument(copied(in.RawBody))
			if err == nil {
				err = doc.Set("team_id", in.Ref)
			}
			if err != nil {
				return nil, s.problem(err)
			}
			m, w, err := n.Create(ctx, callerOf(ctx), doc)
			return answer(s, show, m, w, err)
		})
	register(s, "update-member", http.MethodPatch, path+"/{user}", "Change some fields of a member of a team",
		func(ctx context.Context, in *memberWrite) (*recordOutput[client.TeamMember], error) {
			version, err := parseVersion(in.IfMatch)
			if err != nil {
				return nil, s.problem(err)
			}
			doc, err := records.ParseDocument(copied(in.RawBody))
			if err != nil {
				return nil, s.problem(err)
			}
			m, w, err := n.Patch(ctx, callerOf(ctx), in.ref(), version, doc)
			return answer(s, show, m, w, err)
		})
	register(s, "delete-member", http.MethodDelete, path+"/{user}", "Take a member out of a team, with his keys of it",
		func(ctx context.Context, in *MemberRef) (*doneOutput, error) {
			w, err := n.Delete(ctx, callerOf(ctx), in.ref())
			return s.done(w, err)
		})
}

// registerAvailableTeams registers the list of teams that are open to joining.
func (s *Server) registerAvailableTeams() {
	register(s, "list-available-teams", http.MethodGet, "/available-teams", "List the teams that the caller may join by himself, as the setting available_teams has them",
		func(ctx context.Context, _ *struct{}) (*listOutput[client.AvailableTeam], error) {
			out := &listOutput[client.AvailableTeam]{Body: client.Page[client.AvailableTeam]{Items: []client.AvailableTeam{}}}
			for _, t := range s.rs.AvailableTeams(callerOf(ctx)) {
				out.Body.Items = append(out.Body.Items, availableTeam(t))
			}
			out.Body.Total = len(out.Body.Items)
			return out, nil
		})
}
