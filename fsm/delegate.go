package fsm

import (
	"fmt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/delegate"
)

// delegable is a command that people may carry who manage a part of the cluster. One that does
// not implement it is the admins'.
type delegable interface {
	// delegated refuses what the person may not do.
	delegated(tx *Tx, d *delegate.Delegate) error
}

// checkDelegate refuses a command of somebody who is no admin and may not carry it.
func (tx *Tx) checkDelegate(cmd Command) error {
	if tx.delegate == nil {
		return nil
	}
	c, ok := cmd.(delegable)
	if !ok {
		return fmt.Errorf("%s by %s: %w", tx.kind, actorName(tx.Actor), resource.ErrForbidden)
	}
	return c.delegated(tx, tx.delegate)
}

// personOf finds the person who acts with a key that has no role. It refuses a key that is
// blocked at a level above it.
func (tx *Tx) personOf(k *resource.Key) error {
	d := delegate.Of(k, world{tx})
	if d == nil {
		return fmt.Errorf("key %q is no admin's: %w", k.ID, resource.ErrForbidden)
	}
	organization := d.User().OrganizationID
	if t, ok := (world{tx}).Team(k.TeamID); ok && t.OrganizationID != "" {
		organization = t.OrganizationID
	}
	for _, level := range []struct {
		in store.Bucket
		id string
	}{{store.Projects, k.ProjectID}, {store.Organizations, organization}} {
		if level.id == "" {
			continue
		}
		if f, ok := tx.get(level.in, []byte(level.id)); !ok || f.Flags&frame.FlagBlocked != 0 {
			return fmt.Errorf("%s of key %q is blocked: %w", level.in.Kind(), k.ID, resource.ErrForbidden)
		}
	}
	tx.delegate = d
	return nil
}

// lapsed is the kind of a level above the key that has expired, "" for none.
func (tx *Tx) lapsed(k *resource.Key) string {
	w, organization := world{tx}, ""
	if t, ok := w.Team(k.TeamID); ok {
		if organization = t.OrganizationID; t.ExpiredAt(tx.Now) {
			return resource.HolderTeam
		}
	}
	if u, ok := w.User(k.UserID); ok {
		if u.ExpiredAt(tx.Now) {
			return resource.HolderUser
		}
		if organization == "" {
			organization = u.OrganizationID
		}
	}
	if m, ok := w.TeamMember(k.TeamID, k.UserID); ok && m.ExpiredAt(tx.Now) {
		return resource.HolderMember
	}
	if p, ok := found[resource.Project](tx, store.Projects, k.ProjectID); ok && p.ExpiredAt(tx.Now) {
		return resource.HolderProject
	}
	if o, ok := found[resource.Organization](tx, store.Organizations, organization); ok && o.ExpiredAt(tx.Now) {
		return resource.HolderOrganization
	}
	return ""
}

// world is the records as the command finds them.
type world struct{ tx *Tx }

func found[T any, P codec.Canonicalizer[T]](tx *Tx, b store.Bucket, id string) (P, bool) {
	if id == "" {
		return nil, false
	}
	r, _, ok := load[T, P](tx, b, id)
	return r, ok
}

// Organization implements delegate.World.
func (w world) Organization(id string) (*resource.Organization, bool) {
	return found[resource.Organization](w.tx, store.Organizations, id)
}

// Team implements delegate.World.
func (w world) Team(id string) (*resource.Team, bool) {
	return found[resource.Team](w.tx, store.Teams, id)
}

// User implements delegate.World.
func (w world) User(id string) (*resource.User, bool) {
	return found[resource.User](w.tx, store.Users, id)
}

// Key implements delegate.World.
func (w world) Key(id string) (*resource.Key, bool) {
	return found[resource.Key](w.tx, store.Keys, id)
}

// TeamMember implements delegate.World.
func (w world) TeamMember(team, user string) (*resource.TeamMember, bool) {
	return found[resource.TeamMember](w.tx, store.TeamMembers, resource.TeamMemberID(team, user))
}

// Memberships implements delegate.World.
func (w world) Memberships(user string) []*resource.TeamMember {
	var all []*resource.TeamMember
	for _, id := range w.tx.referrers(store.Users, user, store.TeamMembers) {
		if m, ok := found[resource.TeamMember](w.tx, store.TeamMembers, id); ok {
			all = append(all, m)
		}
	}
	return all
}

// Called implements delegate.World.
func (w world) Called() resource.Called {
	return resource.CalledAmong(func() (all []*resource.MCPServer) {
		for _, id := range w.tx.scan(store.MCPServers, nil) {
			if s, ok := found[resource.MCPServer](w.tx, store.MCPServers, string(id)); ok {
				all = append(all, s)
			}
		}
		return all
	})
}

// Tagged implements delegate.World.
func (w world) Tagged(tag string) bool {
	_, ok := w.tx.get(store.Tags, []byte(tag))
	return ok
}

// AccessGroup implements delegate.World.
func (w world) AccessGroup(id string) (*resource.AccessGroup, bool) {
	return found[resource.AccessGroup](w.tx, store.AccessGroups, id)
}

// Available implements delegate.World.
func (w world) Available(team string) bool {
	set, ok := found[resource.Setting](w.tx, store.Settings, resource.SettingAvailableTeams)
	if !ok {
		return false
	}
	ids, err := resource.ParseAvailableTeams(set.Value)
	return err == nil && ids.Has(team)
}

// mayPut decides about a record that is made or replaced.
func mayPut[T any, P codec.Canonicalizer[T]](tx *Tx, d *delegate.Delegate, b store.Bucket, e Encoded[T]) error {
	if e.Record() == nil {
		return &resource.Invalid{Field: b.Kind(), Reason: "is missing"}
	}
	after := P(e.Record())
	old, ok := found[T, P](tx, b, after.Head().ID)
	if !ok {
		return d.MayPut(nil, after)
	}
	return d.MayPut(old, after)
}

// mayBlock decides about a record that is blocked or unblocked.
func mayBlock[T any, P codec.Canonicalizer[T]](tx *Tx, d *delegate.Delegate, b store.Bucket, id string, blocked bool) error {
	v := delegate.Unblock
	if blocked {
		v = delegate.Block
	}
	return may[T, P](tx, d, v, b, id)
}

func may[T any, P codec.Canonicalizer[T]](tx *Tx, d *delegate.Delegate, v delegate.Verb, b store.Bucket, id string) error {
	old, ok := found[T, P](tx, b, id)
	if !ok {
		return refuse(b, id, resource.ErrNotFound)
	}
	return d.May(v, old, nil)
}

func (c PutKey) delegated(tx *Tx, d *delegate.Delegate) error {
	return mayPut[resource.Key](tx, d, store.Keys, c.Key)
}

func (c BlockKey) delegated(tx *Tx, d *delegate.Delegate) error {
	return mayBlock[resource.Key](tx, d, store.Keys, c.ID, c.Blocked)
}

func (c DeleteKey) delegated(tx *Tx, d *delegate.Delegate) error {
	return may[resource.Key](tx, d, delegate.Delete, store.Keys, c.ID)
}

func (c PutTeam) delegated(tx *Tx, d *delegate.Delegate) error {
	return mayPut[resource.Team](tx, d, store.Teams, c.Team)
}

func (c BlockTeam) delegated(tx *Tx, d *delegate.Delegate) error {
	return mayBlock[resource.Team](tx, d, store.Teams, c.ID, c.Blocked)
}

func (c DeleteTeam) delegated(tx *Tx, d *delegate.Delegate) error {
	return may[resource.Team](tx, d, delegate.Delete, store.Teams, c.ID)
}

func (c PutHolder[T, P]) delegated(tx *Tx, d *delegate.Delegate) error {
	_, b := bucketOf[T, P]()
	return mayPut[T, P](tx, d, b, c.Record)
}

func (c BlockHolder[T, P]) delegated(tx *Tx, d *delegate.Delegate) error {
	_, b := bucketOf[T, P]()
	return mayBlock[T, P](tx, d, b, c.ID, c.Blocked)
}

func (c DeleteHolder[T, P]) delegated(tx *Tx, d *delegate.Delegate) error {
	_, b := bucketOf[T, P]()
	return may[T, P](tx, d, delegate.Delete, b, c.ID)
}

// delegated leaves the decision to each item's own, when the item is applied.
func (c Batch) delegated(*Tx, *delegate.Delegate) error { return nil }
