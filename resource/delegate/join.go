package delegate

import "github.com/conclave-llm/conclave/resource"

// MayJoin says that the person may put himself into the team, which is open to that: it is in the setting
// available_teams, it is not blocked, it is of no organization or of his, and he acts with a key that is bound to
// no team. Who is in the team already has nothing to join.
func (d *Delegate) MayJoin(t *resource.Team) bool {
	if d.standing < Internal || d.key.TeamID != "" || d.key.ProjectID != "" || t.Blocked || !d.world.Available(t.ID) {
		return false
	}
	if t.OrganizationID != "" && t.OrganizationID != d.user.OrganizationID {
		return false
	}
	_, in := d.world.TeamMember(t.ID, d.user.ID)
	return !in
}

// joins says that a new place in a team is the person's own, which he makes by himself: not as an admin of the team.
func (d *Delegate) joins(m *resource.TeamMember) bool {
	t, ok := d.world.Team(m.TeamID)
	return ok && m.UserID == d.user.ID && d.teamReach(t) < leads && d.MayJoin(t)
}

// mayJoin refuses a place that has more, or other things, than the team gives every new member.
func (d *Delegate) mayJoin(m *resource.TeamMember) error {
	t, _ := d.world.Team(m.TeamID)
	plain := &resource.TeamMember{Meta: m.Meta, TeamID: m.TeamID, UserID: m.UserID}
	t.MemberDefaults.Fill(plain)
	plain.Canonicalize()
	if more := changed(plain, m); len(more) > 0 {
		return forbidden("%s: who joins the team %q by himself has what it gives every new member", more[0], t.ID)
	}
	return nil
}
