package served

import (
	"bytes"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/relation"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// User returns the user with the id; it must not be changed.
func (s *State) User(id string) (*resource.User, bool) { return s.people.Load().Users.ByID(id) }

// UserByEmail returns the user with the address, in any case. It reads the file.
func (s *State) UserByEmail(email string) (*resource.User, bool) {
	return s.User(s.named(store.Users, strings.ToLower(email)))
}

// Users returns a page of users, the cursor of the next ("" after the last), and how many
// the query selects in all.
func (s *State) Users(q memory.Query) (items []*resource.User, next string, total int) {
	return s.people.Load().Users.List(q)
}

// Customer returns the record of an end user; most have none. It must not be changed.
func (s *State) Customer(id string) (*resource.Customer, bool) {
	return s.people.Load().Customers.ByID(id)
}

// Customers returns a page of customers, as Users does of users.
func (s *State) Customers(q memory.Query) (items []*resource.Customer, next string, total int) {
	return s.people.Load().Customers.List(q)
}

// TeamMember returns a user's place in a team; it must not be changed.
func (s *State) TeamMember(team, user string) (*resource.TeamMember, bool) {
	return s.people.Load().Members.ByParts(team, user)
}

// TeamMembers returns the members of a team by user. It reads the file.
func (s *State) TeamMembers(team string) []*resource.TeamMember {
	var all []*resource.TeamMember
	prefix := []byte(resource.TeamMemberID(team, ""))
	s.view(func(tx *bolt.Tx) error {
		c := store.TeamMembers.In(tx).Cursor()
		for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			if m, ok := s.people.Load().Members.ByID(string(k)); ok {
				all = append(all, m)
			}
		}
		return nil
	})
	return all
}

// Memberships returns a user's places in teams by team. It reads the file.
func (s *State) Memberships(user string) []*resource.TeamMember {
	var all []*resource.TeamMember
	for _, id := range s.referrers(store.Users, user, store.TeamMembers) {
		if m, ok := s.people.Load().Members.ByID(id); ok {
			all = append(all, m)
		}
	}
	return all
}

// KeysOf returns the keys that name a user. It reads the file.
func (s *State) KeysOf(user string) []*resource.Key {
	var all []*resource.Key
	for _, id := range s.referrers(store.Users, user, store.Keys) {
		if k, ok := s.Key(id); ok {
			all = append(all, k)
		}
	}
	return all
}

// Grouped returns the ids of the teams and keys that have an access group. It reads the file.
func (s *State) Grouped(group string) (teams, keys []string) {
	return s.referrers(store.AccessGroups, group, store.Teams), s.referrers(store.AccessGroups, group, store.Keys)
}

// referrers lists the ids of the records in from that refer to the one in to.
func (s *State) referrers(to store.Bucket, id string, from store.Bucket) []string {
	var ids []string
	prefix := append(relation.Prefix(to, id), from.Kind()+"/"...)
	s.view(func(tx *bolt.Tx) error {
		c := store.Refs.In(tx).Cursor()
		for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if _, err := frame.Parse(k, v); err != nil {
				return err
			}
			ids = append(ids, string(k[len(prefix):]))
		}
		return nil
	})
	return ids
}

// named finds the id of the record with a name, "" if none has it.
func (s *State) named(b store.Bucket, name string) (id string) {
	s.view(func(tx *bolt.Tx) error {
		fr, ok, err := store.Names.Read(tx, relation.NameKey(b, name))
		if ok {
			id = string(fr.Payload)
		}
		return err
	})
	return id
}
