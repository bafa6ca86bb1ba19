package fsm

import (
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Commands on records that can be limited. Windows are the current windows of the record's
// budgets, inline and shared, which the command opens or, with another limit, adjusts.
type (
	// PutHolder creates (Read 0) or replaces a record that can be limited. It is refused if
	// the record is granted more than a level above it has (resource.Grant).
	PutHolder[T any, P codec.Canonicalizer[T]] struct {
		Record  Encoded[T]   `json:"record"`
		Read    uint64       `json:"read,omitempty"`
		Windows []OpenWindow `json:"windows,omitempty"`
	}
	// BlockHolder blocks or unblocks a record; it needs no version and always wins.
	BlockHolder[T any, P codec.Canonicalizer[T]] struct {
		ID      string `json:"id"`
		Blocked bool   `json:"blocked,omitempty"`
	}
	// DeleteHolder deletes a record and its accounts. It is refused with resource.ErrInUse
	// while keys, projects, teams or users refer to the record; memberships go with their
	// team or user. Who leaves a team loses his keys of it with the membership.
	DeleteHolder[T any, P codec.Canonicalizer[T]] struct {
		ID string `json:"id"`
	}
)

// The commands on each kind of record.
type (
	// PutOrganization creates or replaces an organization.
	PutOrganization = PutHolder[resource.Organization, *resource.Organization]
	// BlockOrganization blocks or unblocks an organization.
	BlockOrganization = BlockHolder[resource.Organization, *resource.Organization]
	// DeleteOrganization deletes an organization.
	DeleteOrganization = DeleteHolder[resource.Organization, *resource.Organization]
	// PutProject creates or replaces a project.
	PutProject = PutHolder[resource.Project, *resource.Project]
	// BlockProject blocks or unblocks a project.
	BlockProject = BlockHolder[resource.Project, *resource.Project]
	// DeleteProject deletes a project.
	DeleteProject = DeleteHolder[resource.Project, *resource.Project]
	// PutUser creates or replaces a user.
	PutUser = PutHolder[resource.User, *resource.User]
	// BlockUser blocks or unblocks a user.
	BlockUser = BlockHolder[resource.User, *resource.User]
	// DeleteUser deletes a user.
	DeleteUser = DeleteHolder[resource.User, *resource.User]
	// PutCustomer creates or replaces a customer.
	PutCustomer = PutHolder[resource.Customer, *resource.Customer]
	// BlockCustomer blocks or unblocks a customer.
	BlockCustomer = BlockHolder[resource.Customer, *resource.Customer]
	// DeleteCustomer deletes a customer.
	DeleteCustomer = DeleteHolder[resource.Customer, *resource.Customer]
	// PutTag creates or replaces a tag.
	PutTag = PutHolder[resource.Tag, *resource.Tag]
	// DeleteTag deletes a tag.
	DeleteTag = DeleteHolder[resource.Tag, *resource.Tag]
	// PutTeamMember creates or replaces a user's place in a team.
	PutTeamMember = PutHolder[resource.TeamMember, *resource.TeamMember]
	// DeleteTeamMember deletes a user's place in a team.
	DeleteTeamMember = DeleteHolder[resource.TeamMember, *resource.TeamMember]
)

// holder is one kind of record that can be limited.
type holder struct {
	bucket store.Bucket
	load   func(tx *Tx, id string) (resource.Record, bool)
}

func holderOf[T any, P codec.Canonicalizer[T]](b store.Bucket) holder {
	return holder{bucket: b, load: func(tx *Tx, id string) (resource.Record, bool) {
		r, _, ok := load[T, P](tx, b, id)
		return r, ok
	}}
}

// holders is the table of the records that can be limited.
var holders = map[string]holder{
	resource.HolderOrganization: holderOf[resource.Organization](store.Organizations),
	resource.HolderTeam:         holderOf[resource.Team](store.Teams),
	resource.HolderProject:      holderOf[resource.Project](store.Projects),
	resource.HolderUser:         holderOf[resource.User](store.Users),
	resource.HolderMember:       holderOf[resource.TeamMember](store.TeamMembers),
	resource.HolderKey:          holderOf[resource.Key](store.Keys),
	resource.HolderCustomer:     holderOf[resource.Customer](store.Customers),
	resource.HolderTag:          holderOf[resource.Tag](store.Tags),
	resource.HolderModel:        holderOf[resource.Model](store.Models),
	resource.HolderDeployment:   holderOf[resource.Deployment](store.Deployments),
	resource.HolderAccessGroup:  holderOf[resource.AccessGroup](store.AccessGroups),
}

// holderKind is the kind of holder that a kind of record is.
func holderKind(record string) string {
	if record == store.TeamMembers.Kind() {
		return resource.HolderMember
	}
	return record
}

// allowance returns what a holder may spend, as its record says, and its limits of sessions;
// zero if there is no record.
func (tx *Tx) allowance(kind, id string) (resource.Allowance, *resource.SessionLimits) {
	h, ok := holders[kind]
	if !ok {
		return resource.Allowance{}, nil
	}
	r, ok := h.load(tx, id)
	if !ok {
		return resource.Allowance{}, nil
	}
	l, _ := resource.LevelOf(r)
	if l.Policy == nil {
		return *l.Allowance, nil
	}
	return *l.Allowance, l.Policy.Sessions
}

func bucketOf[T any, P codec.Canonicalizer[T]]() (kind string, b store.Bucket) {
	kind, _ = resource.HolderOf(P(new(T)))
	return kind, holders[kind].bucket
}

// Apply implements Command.
func (c PutHolder[T, P]) Apply(tx *Tx) error {
	_, b := bucketOf[T, P]()
	old, err := putRecord[T, P](tx, b, c.Record, c.Read)
	if err != nil {
		return err
	}
	return tx.settleHolder(P(c.Record.Record()), recordOf(old), c.Windows)
}

// Apply implements Command.
func (c BlockHolder[T, P]) Apply(tx *Tx) error {
	_, b := bucketOf[T, P]()
	return setBlocked(tx, b, c.ID, c.Blocked)
}

// Apply implements Command.
func (c DeleteHolder[T, P]) Apply(tx *Tx) error {
	kind, b := bucketOf[T, P]()
	if err := tx.dropMembers(b, c.ID); err != nil {
		return err
	}
	if err := tx.inUse(b, c.ID); err != nil {
		return err
	}
	tx.dropAccounts(kind, c.ID)
	old, err := deleteRecord[T, P](tx, b, c.ID)
	if err != nil {
		return err
	}
	if m, ok := any(old).(*resource.TeamMember); ok {
		return tx.dropMemberKeys(m)
	}
	return nil
}

// dropMembers deletes the memberships of a team or user, and a user's tokens. The audit log tells of the one
// that they go with alone.
func (tx *Tx) dropMembers(b store.Bucket, id string) error {
	if b != store.Teams && b != store.Users {
		return nil
	}
	if b == store.Users {
		tx.dropMCPTokens("", id)
	}
	told := len(tx.audits)
	for _, from := range tx.referrers(b, id, store.TeamMembers) {
		tx.dropAccounts(resource.HolderMember, from)
		if _, err := deleteRecord[resource.TeamMember](tx, store.TeamMembers, from); err != nil {
			return err
		}
	}
	tx.audits = tx.audits[:told]
	return nil
}

// dropMemberKeys deletes the keys that a user who leaves a team has there.
func (tx *Tx) dropMemberKeys(m *resource.TeamMember) error {
	for _, id := range tx.referrers(store.Users, m.UserID, store.Keys) {
		k, _, ok := load[resource.Key](tx, store.Keys, id)
		if !ok || k.TeamID != m.TeamID {
			continue
		}
		if err := (DeleteKey{ID: id}).Apply(tx); err != nil {
			return err
		}
	}
	return nil
}

// settleHolder checks a record that can be limited against the levels above it, and brings
// its accounts to its terms. before is what it replaces, nil if it is new.
func (tx *Tx) settleHolder(r, before resource.Record, windows []OpenWindow) error {
	if err := tx.checkPlace(r, before); err != nil {
		return err
	}
	if err := tx.checkGrant(r, before); err != nil {
		return err
	}
	kind, a := resource.HolderOf(r)
	if kind == resource.HolderKey && before == nil {
		return tx.openBudgets(r.Head().ID, a, windows)
	}
	return tx.setBudgets(kind, r.Head().ID, a, windows)
}

// checkPlace refuses a record whose parents do not belong together.
func (tx *Tx) checkPlace(r, before resource.Record) error {
	if team, ok := teamOf(r); ok && team == resource.SystemTeamID {
		return &resource.Invalid{Field: "team_id", Reason: "the team " + team + " is the gateway's own; nothing else is booked on it"}
	}
	switch r := r.(type) {
	case *resource.Key:
		if r.ProjectID == "" {
			break
		}
		if p, _, ok := load[resource.Project](tx, store.Projects, r.ProjectID); ok && p.TeamID != r.TeamID {
			return &resource.Invalid{Field: "project_id", Reason: fmt.Sprintf("project %q belongs to another team than the key", r.ProjectID)}
		}
	case *resource.Project:
		old, ok := before.(*resource.Project)
		if ok && old.TeamID != r.TeamID && tx.inUse(store.Projects, r.ID) != nil {
			return &resource.Invalid{Field: "team_id", Reason: "the project has keys, which belong to its team"}
		}
	case *resource.TeamMember:
		if r.ID != resource.TeamMemberID(r.TeamID, r.UserID) {
			return &resource.Invalid{Field: "id", Reason: "is not TEAM/USER"}
		}
	}
	return nil
}

// teamOf is the team that a record belongs to; false: records of its kind belong to none.
func teamOf(r resource.Record) (id string, ok bool) {
	switch r := r.(type) {
	case *resource.Key:
		return r.TeamID, true
	case *resource.Project:
		return r.TeamID, true
	case *resource.TeamMember:
		return r.TeamID, true
	}
	return "", false
}

// checkGrant refuses a record that is granted more than a level above it has.
func (tx *Tx) checkGrant(r, before resource.Record) error {
	l, ok := resource.LevelOf(r)
	if !ok || l.Policy == nil {
		return nil
	}
	above := tx.above(r)
	g := resource.Grant{Policy: tx.within(l.Policy), Above: tx.allWithin(above), Terms: tx.termsOf, Groups: tx.groupsOf, AccessGroup: tx.accessGroup, Called: world{tx}.Called(), Tagged: world{tx}.Tagged}
	if k, ok := r.(*resource.Key); ok {
		ceilings, err := tx.ceilings(k, before)
		if err != nil {
			return err
		}
		if tx.delegate == nil {
			g.Above = append(g.Above, tx.allWithin(ceilings)...)
		} else {
			g.Bounds = append(g.Bounds, tx.allWithin(ceilings)...)
		}
	}
	if tx.delegate != nil {
		g.Bounds = append(g.Bounds, tx.allWithin(tx.delegate.Bounds(before, r))...)
	}
	if len(g.Above)+len(g.Bounds) == 0 {
		return nil
	}
	if before != nil && slices.EqualFunc(above, tx.above(before), func(a, b resource.Level) bool { return a.Kind == b.Kind && a.ID == b.ID }) {
		old, _ := resource.LevelOf(before)
		g.Before = tx.within(old.Policy)
	}
	return g.Check()
}

// ceilings is what keys that a key makes are bound by; it refuses one that lives too long.
func (tx *Tx) ceilings(k *resource.Key, before resource.Record) ([]resource.Level, error) {
	if tx.Actor.Kind != actorKey {
		return nil, nil
	}
	set, _, ok := load[resource.Setting](tx, store.Settings, resource.SettingKeyCeilings)
	if !ok {
		return nil, nil
	}
	rules, err := resource.StoredKeyRules(set.Value)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", set.ID, err)
	}
	if old, ok := before.(*resource.Key); !ok || old.ExpiresAt != k.ExpiresAt {
		if err := rules.Outlives(k, tx.Now); err != nil {
			return nil, err
		}
	}
	return []resource.Level{rules.Level()}, nil
}

// above lists the levels that a record stands under.
func (tx *Tx) above(r resource.Record) []resource.Level {
	var levels []resource.Level
	add := func(kind, id string) resource.Record {
		if id == "" {
			return nil
		}
		r, ok := holders[kind].load(tx, id)
		if !ok {
			return nil
		}
		l, _ := resource.LevelOf(r)
		levels = append(levels, l)
		return r
	}
	team := func(id string) {
		if t, ok := add(resource.HolderTeam, id).(*resource.Team); ok {
			add(resource.HolderOrganization, t.OrganizationID)
		}
	}
	switch r := r.(type) {
	case *resource.Team:
		add(resource.HolderOrganization, r.OrganizationID)
	case *resource.Project:
		team(r.TeamID)
	case *resource.User:
		add(resource.HolderOrganization, r.OrganizationID)
	case *resource.TeamMember:
		team(r.TeamID)
	case *resource.Key:
		team(r.TeamID)
		add(resource.HolderProject, r.ProjectID)
		add(resource.HolderUser, r.UserID)
		if r.TeamID != "" && r.UserID != "" {
			add(resource.HolderMember, resource.TeamMemberID(r.TeamID, r.UserID))
		}
	}
	return levels
}

// within is a policy with the limits of its shared budget; the policy itself if that has none.
func (tx *Tx) within(p *resource.Policy) *resource.Policy {
	if p.BudgetID == "" {
		return p
	}
	b, _, ok := load[resource.Budget](tx, store.Budgets, p.BudgetID)
	if !ok {
		return p
	}
	a := p.Within(b)
	if a == &p.Allowance {
		return p
	}
	whole := *p
	whole.Allowance = *a
	return &whole
}

func (tx *Tx) allWithin(levels []resource.Level) []resource.Level {
	for i := range levels {
		if p := levels[i].Policy; p != nil {
			levels[i].Policy = tx.within(p)
		}
	}
	return levels
}

// termsOf returns an allowance's own terms with the shared ones.
func (tx *Tx) termsOf(a *resource.Allowance) []resource.Terms {
	if b, _, ok := load[resource.Budget](tx, store.Budgets, a.BudgetID); a.BudgetID != "" && ok {
		return append(slices.Clip(a.Budgets), b.All()...)
	}
	return a.Budgets
}

// accessGroup returns the access group with the id, nil if there is none.
func (tx *Tx) accessGroup(id string) *resource.AccessGroup {
	g, _, ok := load[resource.AccessGroup](tx, store.AccessGroups, id)
	if !ok {
		return nil
	}
	return g
}

// groupsOf returns the access groups of the model with the name.
func (tx *Tx) groupsOf(model string) []string {
	id, ok := tx.named(store.Models, model)
	if !ok {
		return nil
	}
	m, _, _ := load[resource.Model](tx, store.Models, id)
	return m.AccessGroups
}
