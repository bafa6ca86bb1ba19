package delegate

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/conclave-llm/conclave/resource"
)

// Verb is what is done to a record.
type Verb uint8

// The verbs.
const (
	Read Verb = iota
	Create
	Update
	Rotate // a new secret: who learns it gets all that the key has
	Block
	Unblock
	Delete
)

// String names the verb.
func (v Verb) String() string {
	return [...]string{"read", "create", "update", "rotate", "block", "unblock", "delete"}[v]
}

const serviceAccount = "/key/service-account/generate"

// permissions are what a team may let its members, by what is done to a key.
var permissions = map[Verb][]string{
	Create:  {"/key/generate", serviceAccount},
	Update:  {"/key/update"},
	Rotate:  {"/key/regenerate", "/key/{key_id}/regenerate"},
	Block:   {"/key/block"},
	Unblock: {"/key/unblock"},
	Delete:  {"/key/delete"},
}

// verbs is the table of what may be done to each kind of record, by how near it is. A kind or
// a verb that is not here is nobody's.
var verbs = map[string]map[Verb]reach{
	"key":          {Read: sees, Create: owns, Update: owns, Rotate: owns, Block: owns, Unblock: owns, Delete: owns},
	"team":         {Read: sees, Create: rules, Update: leads, Block: rules, Unblock: rules, Delete: rules},
	"project":      {Read: sees, Create: leads, Update: leads, Block: leads, Unblock: leads, Delete: leads},
	"member":       {Read: sees, Create: leads, Update: leads, Delete: leads},
	"user":         {Read: sees, Create: leads, Update: owns, Block: rules, Unblock: rules, Delete: rules},
	"organization": {Read: sees},
}

// May says whether the person may do that to a record; before is nil for a new one, and after
// for what only goes through the verb. Errors wrap resource.ErrForbidden.
func (d *Delegate) May(v Verb, before, after resource.Record) error {
	r := before
	if r == nil {
		r = after
	}
	kind, _ := resource.HolderOf(r)
	if m, ok := r.(*resource.TeamMember); ok && v == Create && d.joins(m) {
		return d.mayJoin(m)
	}
	least, listed := verbs[kind][v]
	if !listed || v != Read && d.standing < Internal {
		return forbidden("%s may not %s a %s", d.standing, v, kindName(kind))
	}
	has := d.reachOf(v, r)
	if has < least {
		return forbidden("%s may not %s the %s %q", d.standing, v, kind, r.Head().ID)
	}
	if k, ok := before.(*resource.Key); ok && v == Rotate {
		if err := d.mayLearn(k); err != nil {
			return err
		}
	}
	if after == nil {
		return nil
	}
	return d.mayBecome(v, kind, least, before, after)
}

// mayBecome decides about what a record is like after it was written.
func (d *Delegate) mayBecome(v Verb, kind string, least reach, before, after resource.Record) error {
	has := d.reachOf(v, after)
	if before != nil {
		has = d.reachOf(v, before)
	}
	if before != nil && d.reachOf(arrival(kind, before, after, v), after) < least {
		return forbidden("%s may not move the %s %q there", d.standing, kind, after.Head().ID)
	}
	if err := d.checkFields(kind, has, before, after); err != nil {
		return err
	}
	if err := d.checkServers(before, after); err != nil {
		return err
	}
	switch after := after.(type) {
	case *resource.Key:
		old, _ := before.(*resource.Key)
		return d.checkKey(old, after)
	case *resource.User:
		if after.Role != resource.UserInternal && after.Role != resource.UserInternalViewer && after.Role != "" {
			return forbidden("role: only an admin of the cluster gives the role %s", after.Role)
		}
	}
	return nil
}

// MayPut decides about a record that is made or replaced; before is nil for a new one.
func (d *Delegate) MayPut(before, after resource.Record) error {
	if before == nil {
		return d.May(Create, nil, after)
	}
	old, _ := before.(*resource.Key)
	now, ok := after.(*resource.Key)
	if !ok || old.Hash == now.Hash {
		return d.May(Update, before, after)
	}
	if err := d.May(Rotate, before, after); err != nil {
		return err
	}
	for _, name := range changed(before, after) {
		if !slices.Contains(serverFields, name) && !slices.Contains(secretFields, name) {
			return d.May(Update, before, after)
		}
	}
	return nil
}

// mayLearn refuses to give the secret of a key to somebody who acts with a key that can do less,
// or that ends before it.
func (d *Delegate) mayLearn(k *resource.Key) error {
	if k.ID == d.key.ID {
		return nil
	}
	if k.UserID != "" && k.UserID != d.user.ID && k.Type != resource.TypeInference {
		return forbidden("type: the secret of another's key is learned of keys of the type %s only", resource.TypeInference)
	}
	if d.outlived(k) {
		return forbidden("expires_at: the key outlives the one that asks for its secret")
	}
	if d.key.BudgetID != "" && d.key.BudgetID != k.BudgetID {
		return forbidden("budget_id: the key that asks for its secret shares another budget")
	}
	g := resource.Grant{Policy: &k.Policy, Bounds: d.Bounds(nil, k), Called: d.world.Called(), Tagged: d.world.Tagged, AccessGroup: d.accessGroup}
	if err := g.Check(); err != nil {
		return forbidden("%s", err)
	}
	if err := k.Within(&d.key.Access); err != nil {
		return forbidden("%s", err)
	}
	return d.learnGroups(k)
}

// accessGroup is the access group with the id, nil if there is none.
func (d *Delegate) accessGroup(id string) *resource.AccessGroup {
	g, _ := d.world.AccessGroup(id)
	return g
}

// learnGroups refuses to give the secret of a key with an access group that the one who asks has not: neither his key
// nor, unless his key is bound to a list, the team of both.
func (d *Delegate) learnGroups(k *resource.Key) error {
	team, inTeam := d.world.Team(k.TeamID)
	inTeam = inTeam && d.teamReach(team) > none && d.key.AnyModel() && d.key.Objects == nil
	for _, id := range k.AccessGroupIDs {
		if !slices.Contains(d.key.AccessGroupIDs, id) && (!inTeam || !slices.Contains(team.AccessGroupIDs, id)) {
			return forbidden("access_group_ids: the key that asks for its secret has not %q", id)
		}
	}
	return nil
}

func kindName(kind string) string {
	if kind == "" {
		return "record of this kind"
	}
	return kind
}

// arrival is what moving a key to another team or user takes there: the right to create it.
func arrival(kind string, before, after resource.Record, v Verb) Verb {
	old, ok := before.(*resource.Key)
	now, same := after.(*resource.Key)
	if kind == "key" && ok && same && (old.TeamID != now.TeamID || old.UserID != now.UserID || old.ProjectID != now.ProjectID) {
		return Create
	}
	return v
}

// checkKey refuses a key that could do more than the person can, or than the key that he acts
// with.
func (d *Delegate) checkKey(before, after *resource.Key) error {
	if u := after.UserID; u != "" && u != d.user.ID {
		if after.Type != resource.TypeInference {
			return forbidden("type: a key that one makes for another has the type %s", resource.TypeInference)
		}
		if _, ok := d.world.TeamMember(after.TeamID, u); after.TeamID != "" && !ok {
			return forbidden("user_id: %q is no member of the team", u)
		}
	}
	if before == nil {
		before = &resource.Key{} // everything in the new one is granted by the person
	}
	if before.ExpiresAt != after.ExpiresAt || before.ID == "" {
		if d.outlived(after) {
			return forbidden("expires_at: the key would outlive the one that grants it")
		}
	}
	if r := after.Rotation; r != nil && r.Deliver != resource.DeliverPickUp && !reflect.DeepEqual(before.Rotation, r) {
		return forbidden("rotation.deliver: only an admin of the cluster lets a node send to an address; %s is possible", resource.DeliverPickUp)
	}
	if err := d.checkGroups(before, after); err != nil {
		return err
	}
	return d.checkAccess(before, after)
}

// objects are those of a record that requests pass, and the team or the organization that it belongs to; nil and "" of
// another.
func objects(r resource.Record) (o *resource.Objects, team, organization string) {
	switch r := r.(type) {
	case *resource.Key:
		return r.Objects, r.TeamID, ""
	case *resource.Project:
		return r.Objects, r.TeamID, ""
	case *resource.TeamMember:
		return r.Objects, r.TeamID, ""
	case *resource.Team:
		return r.Objects, "", r.OrganizationID
	case *resource.User:
		return r.Objects, "", r.OrganizationID
	}
	return nil, "", ""
}

// checkServers refuses to name an MCP server, or a tool, that nobody gave the person: what is not open to all is
// granted by being named. He has what his key, his own record and the record's team and organization name, and what the
// record had stays.
func (d *Delegate) checkServers(before, after resource.Record) error {
	now, in, of := objects(after)
	if now == nil {
		return nil
	}
	given := []*resource.Objects{d.key.Objects, d.user.Objects}
	if old, from, was := objects(before); from == in && was == of {
		given = append(given, old)
	}
	if team, ok := d.world.Team(in); ok {
		given = append(given, team.Objects)
		of = team.OrganizationID
	}
	if org, ok := d.world.Organization(of); ok {
		given = append(given, org.Objects)
	}
	if field, what := now.Ungranted(d.world.Called(), given...); what != "" {
		return forbidden("objects.%s: neither the team, its organization nor the key that grants it names %s", field, what)
	}
	return nil
}

// assignGroups is the permission of a team that lets its members give keys the team's access groups.
const assignGroups = "/key/access_group_assignment"

// checkGroups refuses an access group that neither the key's team nor the key that grants it has, and in a team
// any that a plain member may not give.
func (d *Delegate) checkGroups(before, after *resource.Key) error {
	team, inTeam := d.world.Team(after.TeamID)
	for _, id := range after.AccessGroupIDs {
		if slices.Contains(before.AccessGroupIDs, id) && before.TeamID == after.TeamID {
			continue
		}
		if inTeam && d.teamReach(team) < leads && !team.Lets(assignGroups) {
			return forbidden("access_group_ids: the team does not let its members give access groups (%s)", assignGroups)
		}
		if !slices.Contains(d.key.AccessGroupIDs, id) && (!inTeam || !slices.Contains(team.AccessGroupIDs, id)) {
			return forbidden("access_group_ids: neither the team nor the key that grants it has %q", id)
		}
	}
	return nil
}

// outlived says that the key ends later than the one that the person acts with.
func (d *Delegate) outlived(k *resource.Key) bool {
	end := d.key.ExpiresAt
	return end != 0 && (k.ExpiresAt == 0 || k.ExpiresAt > end)
}

func (d *Delegate) checkAccess(before, after *resource.Key) error {
	if before.ID != "" && reflect.DeepEqual(before.Access, after.Access) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(after.Permissions)) {
		on := after.Permissions[name]
		if on && !d.key.Permissions[name] && !before.Permissions[name] {
			return forbidden("permissions.%s: the key that grants it has it not", name)
		}
		if was, set := before.Permissions[name]; !on && !slices.Contains(resource.PermissionNames, name) && (!set || was) {
			if own, set := d.key.Permissions[name]; !set || own {
				return forbidden("permissions.%s: the key that grants it has the guardrail", name)
			}
		}
	}
	if err := after.Within(&d.key.Access); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	return nil
}

// Bounds are the levels that a record's policy stays within although requests do not pass
// them: the key that grants a key; what somebody else gave to a key; what a team has, for its
// own admins.
func (d *Delegate) Bounds(before, after resource.Record) []resource.Level {
	switch r := after.(type) {
	case *resource.Key:
		bounds := []resource.Level{{Kind: "key", ID: d.key.ID, Name: d.key.Name, Policy: &d.key.Policy, Allowance: &d.key.Allowance}}
		old, ok := before.(*resource.Key)
		if ok && d.keyReach(Update, old) == owns && !d.made(old) {
			bounds = append(bounds, resource.Level{Kind: "key", ID: old.ID, Name: old.Name, Policy: &old.Policy, Allowance: &old.Allowance})
		}
		return bounds
	case *resource.Team:
		old, ok := before.(*resource.Team)
		if ok && d.teamReach(r) < rules {
			return []resource.Level{{Kind: "team", ID: old.ID, Name: old.Name, Policy: &old.Policy, Allowance: &old.Allowance}}
		}
	}
	return nil
}

// made says that the person made the key with one of his.
func (d *Delegate) made(k *resource.Key) bool {
	const prefix = "key/"
	if len(k.CreatedBy) <= len(prefix) || k.CreatedBy[:len(prefix)] != prefix {
		return false
	}
	by, ok := d.world.Key(k.CreatedBy[len(prefix):])
	return ok && by.UserID == d.user.ID
}

// Fill gives a new key what it does not say itself and the key that grants it has.
func (d *Delegate) Fill(k *resource.Key, at resource.Time) {
	if k.TeamID == "" && k.ProjectID == "" {
		k.TeamID = d.key.TeamID
	}
	if k.ProjectID == "" && d.key.TeamID == k.TeamID {
		k.ProjectID = d.key.ProjectID
	}
	if k.UserID != "" && k.UserID != d.user.ID && k.Type == resource.TypeAny {
		k.Type = resource.TypeInference
	}
	rules := resource.KeyRules{Policy: d.key.Policy}
	rules.Tags, rules.Metadata = nil, nil
	rules.Fill(k, at)
	for _, tag := range d.key.Tags { // what bounds its spend goes with it, labels do not
		if d.world.Tagged(tag) && !slices.Contains(k.Tags, tag) {
			k.Tags = append(slices.Clip(k.Tags), tag)
		}
	}
	if off := d.key.LogContent; k.LogContent == nil && off != nil && !*off {
		k.LogContent = off
	}
	if k.ExpiresAt == 0 {
		k.ExpiresAt = d.key.ExpiresAt
	}
}
