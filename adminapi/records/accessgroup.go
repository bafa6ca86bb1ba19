package records

import (
	"slices"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) accessGroupNoun() *Noun[resource.AccessGroup, *resource.AccessGroup] {
	return &Noun[resource.AccessGroup, *resource.AccessGroup]{
		rs: rs, kind: "access_group", path: "access-groups", prefix: "ag",
		all:    func(Query) []*resource.AccessGroup { return rs.cfg.State.Catalog().Tables().AccessGroups },
		find:   rs.findAccessGroup,
		put:    rs.putAccessGroup,
		remove: func(id string) fsm.Command { return fsm.DeleteAccessGroup{ID: id} },
		hidden: []string{"accounts"},
		beside: rs.assignments,
	}
}

func (rs *Records) findAccessGroup(ref string) (*resource.AccessGroup, bool) {
	if g, ok := rs.cfg.State.Catalog().AccessGroup(ref); ok {
		return g, true
	}
	return find(rs.cfg.State.Catalog().Tables().AccessGroups, ref)
}

// Grouped returns the ids of the teams, and the keys, that have an access group.
func (rs *Records) Grouped(group string) (teams []string, keys []*resource.Key) {
	teams, ids := rs.cfg.State.Grouped(group)
	for _, id := range ids {
		if k, ok := rs.cfg.State.Key(id); ok {
			keys = append(keys, k)
		}
	}
	return teams, keys
}

// PutAccessGroup makes the command that writes an access group; read is the version that was read, 0 for
// none, and shared the budget that its budget_id names, nil for none.
func PutAccessGroup(next *resource.AccessGroup, read uint64, shared *resource.Budget, now time.Time) (fsm.Command, error) {
	windows, err := windowsOf(next, shared, now)
	if err != nil {
		return nil, err
	}
	e, err := encoded(next)
	return fsm.PutAccessGroup{Record: e, Read: read, Windows: windows}, err
}

func (rs *Records) putAccessGroup(next *resource.AccessGroup, read uint64) (fsm.Command, error) {
	shared, err := rs.sharedBudget(next)
	if err != nil {
		return nil, err
	}
	return PutAccessGroup(next, read, shared, rs.cfg.Now())
}

// referGroups turns the names of access groups in a policy into ids. What is neither, the state machine refuses.
func (rs *Records) referGroups(r resource.Record) {
	l, _ := resource.LevelOf(r)
	if l.Policy == nil || len(l.Policy.AccessGroupIDs) == 0 {
		return
	}
	ids := slices.Clone(l.Policy.AccessGroupIDs)
	for i, ref := range ids {
		if g, ok := rs.findAccessGroup(ref); ok {
			ids[i] = g.ID
		}
	}
	l.Policy.AccessGroupIDs = ids
}

// assignments takes the teams and keys out of a document that are to have the access group, and gives the commands
// after which exactly those have it. Of what the document does not say nothing changes.
func (rs *Records) assignments(by Caller, doc Document) (func(next *resource.AccessGroup) ([]fsm.Command, error), error) {
	_, teams := doc["assigned_team_ids"]
	_, keys := doc["assigned_key_ids"]
	var wantTeams, wantKeys []string
	if err := doc.Take("assigned_team_ids", &wantTeams); err != nil {
		return nil, err
	}
	if err := doc.Take("assigned_key_ids", &wantKeys); err != nil {
		return nil, err
	}
	return func(next *resource.AccessGroup) (cmds []fsm.Command, err error) {
		hasTeams, hasKeys := rs.cfg.State.Grouped(next.ID)
		if teams {
			if cmds, err = assign(rs.Teams, by, "assigned_team_ids", next.ID, hasTeams, wantTeams, func(t *resource.Team) *resource.Policy { return &t.Policy }); err != nil {
				return nil, err
			}
		}
		if !keys {
			return cmds, nil
		}
		more, err := assign(rs.Keys, by, "assigned_key_ids", next.ID, hasKeys, wantKeys, func(k *resource.Key) *resource.Policy { return &k.Policy })
		return append(cmds, more...), err
	}, nil
}

// assign gives the commands after which, of a kind of records, exactly the wanted ones have the access group.
func assign[R any, P Of[R]](n *Noun[R, P], by Caller, field, group string, has, want []string, policy func(P) *resource.Policy) (cmds []fsm.Command, err error) {
	ids := make([]string, 0, len(want))
	for _, ref := range want {
		r, ok := n.find(ref)
		if !ok {
			return nil, invalid(field, "there is no "+n.kind+" with the id or name "+ref)
		}
		ids = append(ids, r.Head().ID)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	all := slices.Concat(has, ids)
	slices.Sort(all)
	for _, id := range slices.Compact(all) {
		wanted := slices.Contains(ids, id)
		if wanted == slices.Contains(has, id) {
			continue
		}
		now, err := n.Writable(by, id)
		if err != nil {
			return nil, err
		}
		copied := *now
		next := P(&copied)
		p := policy(next)
		p.AccessGroupIDs = slices.DeleteFunc(slices.Clone(p.AccessGroupIDs), func(have string) bool { return have == group })
		switch {
		case wanted:
			p.AccessGroupIDs = append(p.AccessGroupIDs, group)
		case p.AnyModel() && !policy(now).AnyModel():
			p.Models = []string{resource.NoModels} // the last group that gave it any is taken away: that does not give it all
		}
		h := next.Head()
		h.UpdatedAt, h.UpdatedBy = resource.At(n.rs.cfg.Now()), by.Who.Actor()
		put, err := n.command(by, now, next)
		if err != nil {
			return nil, err
		}
		cmds = append(cmds, put)
	}
	return cmds, nil
}
