package delegate

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// memory is a World of the test.
type memory struct {
	teams   []*resource.Team
	users   []*resource.User
	keys    []*resource.Key
	members []*resource.TeamMember
	orgs    []*resource.Organization
	groups  []*resource.AccessGroup
	open    resource.Names // teams that people join by themselves
}

func find[P resource.Record](all []P, id string) (P, bool) {
	i := slices.IndexFunc(all, func(r P) bool { return r.Head().ID == id })
	if i < 0 {
		var zero P
		return zero, false
	}
	return all[i], true
}

func (m *memory) Organization(id string) (*resource.Organization, bool) {
	return find(m.orgs, id)
}

func (m *memory) Team(id string) (*resource.Team, bool) { return find(m.teams, id) }
func (m *memory) User(id string) (*resource.User, bool) { return find(m.users, id) }
func (m *memory) Key(id string) (*resource.Key, bool)   { return find(m.keys, id) }
func (m *memory) TeamMember(team, user string) (*resource.TeamMember, bool) {
	return find(m.members, resource.TeamMemberID(team, user))
}

func (m *memory) Called() resource.Called {
	return resource.CalledAmong(func() []*resource.MCPServer {
		return []*resource.MCPServer{{Meta: meta("mcp_crm"), Name: "crm", Alias: "c"}}
	})
}

func (m *memory) Tagged(tag string) bool { return tag != "label" }

func (m *memory) AccessGroup(id string) (*resource.AccessGroup, bool) { return find(m.groups, id) }

func (m *memory) Available(team string) bool { return m.open.Has(team) }

func (m *memory) Memberships(user string) []*resource.TeamMember {
	return slices.DeleteFunc(slices.Clone(m.members), func(p *resource.TeamMember) bool { return p.UserID != user })
}

func meta(id string) resource.Meta { return resource.Meta{ID: id} }

func groups(ids ...string) resource.Policy { return resource.Policy{AccessGroupIDs: ids} }

// world has an organization with two teams, and a team without one.
func world() *memory {
	m := &memory{
		teams: []*resource.Team{
			{Meta: meta("red"), OrganizationID: "acme", MemberPermissions: []string{"/key/generate", "/key/update"}, Policy: groups("eng")},
			{Meta: meta("blue"), OrganizationID: "acme"},
			{Meta: meta("green"), MemberPermissions: []string{"/key/generate", "/key/update", "/key/access_group_assignment"}, Policy: groups("eng", "ops")},
			{Meta: meta("far")},
		},
		users: []*resource.User{
			{Meta: meta("boss"), Role: resource.UserInternal, OrganizationID: "acme", OrganizationAdmin: true},
			{Meta: meta("lead"), Role: resource.UserInternal, OrganizationID: "acme"},
			{Meta: meta("plain"), Role: resource.UserInternal, OrganizationID: "acme"},
			{Meta: meta("reader"), Role: resource.UserInternalViewer, OrganizationID: "acme"},
			{Meta: meta("root"), Role: resource.UserAdmin, OrganizationID: "acme"},
			{Meta: meta("stranger"), Role: resource.UserInternal},
		},
	}
	for _, p := range []struct {
		team, user string
		admin      bool
	}{{"red", "lead", true}, {"red", "plain", false}, {"red", "reader", true}, {"far", "stranger", true}, {"blue", "plain", false}, {"green", "plain", false}} {
		m.members = append(m.members, &resource.TeamMember{
			Meta: meta(resource.TeamMemberID(p.team, p.user)), TeamID: p.team, UserID: p.user, Admin: p.admin,
		})
	}
	for _, u := range m.users {
		m.keys = append(m.keys, &resource.Key{Meta: meta("k-" + u.ID), UserID: u.ID})
	}
	return m
}

func as(t *testing.T, m *memory, user string) *Delegate {
	t.Helper()
	k, ok := m.Key("k-" + user)
	if !ok {
		t.Fatalf("no key of %s", user)
	}
	d := Of(k, m)
	if d == nil {
		t.Fatalf("%s is nobody", user)
	}
	return d
}

func TestOf(t *testing.T) {
	t.Parallel()
	m := world()
	for _, tt := range []struct {
		name string
		key  resource.Key
		want Standing
	}{
		{"personal key", resource.Key{UserID: "plain"}, Internal},
		{"for inference", resource.Key{UserID: "plain", Access: resource.Access{Type: resource.TypeInference}}, Nobody},
		{"for management", resource.Key{UserID: "lead", Access: resource.Access{Type: resource.TypeManagement}}, TeamAdmin},
		{"reads only", resource.Key{UserID: "lead", Access: resource.Access{Type: resource.TypeReadOnly}}, Reader},
		{"a viewer who is an admin of a team", resource.Key{UserID: "reader"}, Reader},
		{"organization's admin", resource.Key{UserID: "boss"}, OrganizationAdmin},
		{"his key of a team", resource.Key{UserID: "boss", TeamID: "red"}, OrganizationAdmin},
		{"his key of a foreign team", resource.Key{UserID: "boss", TeamID: "far"}, Internal},
		{"lead with a key of another team", resource.Key{UserID: "lead", TeamID: "blue"}, Internal},
		{"with a role of its own", resource.Key{UserID: "boss", Role: resource.RoleViewer}, Nobody},
		{"no user", resource.Key{TeamID: "red"}, Nobody},
		{"a label", resource.Key{UserID: "unknown"}, Nobody},
		{"an admin's personal key", resource.Key{UserID: "root"}, Internal},
	} {
		if got := Of(&tt.key, m).Standing(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	m.users[2].Blocked = true
	if Of(&resource.Key{UserID: "plain"}, m) != nil {
		t.Error("a blocked user acts")
	}
}

// TestMay asks every verb of every kind of record for every standing. Letters: c create,
// r read, u update, o rotate, b block, n unblock, d delete.
func TestMay(t *testing.T) {
	t.Parallel()
	key := func(team, user string) resource.Record {
		return &resource.Key{Meta: meta("k"), TeamID: team, UserID: user, Access: resource.Access{Type: resource.TypeInference}}
	}
	team := func(id, org string) resource.Record { return &resource.Team{Meta: meta(id), OrganizationID: org} }
	user := func(id string) resource.Record { u, _ := world().User(id); return u }
	project := func(team string) resource.Record { return &resource.Project{Meta: meta("p"), TeamID: team} }
	member := func(team, user string) resource.Record {
		return &resource.TeamMember{Meta: meta(team + "/" + user), TeamID: team, UserID: user}
	}
	who := []string{"boss", "lead", "plain", "reader", "stranger"}
	for _, tt := range []struct {
		name string
		r    resource.Record
		want [5]string // of each in who
	}{
		{"own key of plain", key("", "plain"), [5]string{"crubdno", "", "crubdo", "", ""}},
		{"plain's key of red", key("red", "plain"), [5]string{"crubdno", "crubdno", "cru", "", ""}},
		{"lead's key of red", key("red", "lead"), [5]string{"crubdno", "crubdno", "", "", ""}},
		{"service account of red", key("red", ""), [5]string{"crubdno", "crubdno", "ru", "r", ""}},
		{"plain's key of blue, which lets nothing", key("blue", "plain"), [5]string{"crubdno", "", "r", "", ""}},
		{"key of far", key("far", "stranger"), [5]string{"", "", "", "", "crubdno"}},
		{"service account of far", key("far", ""), [5]string{"", "", "", "", "crubdno"}},
		{"reader's own key", key("", "reader"), [5]string{"crubdno", "", "", "r", ""}},
		{"key with a role", &resource.Key{Meta: meta("k"), UserID: "plain", Role: resource.RoleAdmin}, [5]string{"", "", "r", "", ""}},
		{"red", team("red", "acme"), [5]string{"crubdn", "ru", "r", "r", ""}},
		{"far", team("far", ""), [5]string{"", "", "", "", "ru"}},
		{"project of red", project("red"), [5]string{"crubdn", "crubdn", "r", "r", ""}},
		{"project of far", project("far"), [5]string{"", "", "", "", "crubdn"}},
		{"member of red", member("red", "plain"), [5]string{"crud", "crud", "r", "", ""}},
		{"another member of red", member("red", "lead"), [5]string{"crud", "crud", "", "", ""}},
		{"plain himself", user("plain"), [5]string{"crubdn", "r", "ru", "", ""}},
		{"boss himself", user("boss"), [5]string{"ru", "", "", "", ""}},
		{"an admin of the cluster", user("root"), [5]string{"", "", "", "", ""}},
		{"stranger", user("stranger"), [5]string{"c", "c", "", "", "ru"}},
		{"acme", &resource.Organization{Meta: meta("acme")}, [5]string{"r", "r", "r", "r", ""}},
		{"other organization", &resource.Organization{Meta: meta("o2")}, [5]string{}},
		{"customer", &resource.Customer{Meta: meta("c")}, [5]string{}},
		{"tag", &resource.Tag{Meta: meta("t")}, [5]string{}},
		{"model", &resource.Model{Meta: meta("m")}, [5]string{}},
	} {
		for i, name := range who {
			d := as(t, world(), name)
			var got strings.Builder
			for _, v := range []struct {
				letter string
				do     func() error
			}{
				{"c", func() error { return d.May(Create, nil, bare(tt.r)) }},
				{"r", func() error { return d.May(Read, tt.r, nil) }},
				{"u", func() error { return d.May(Update, tt.r, tt.r) }},
				{"b", func() error { return d.May(Block, tt.r, nil) }},
				{"d", func() error { return d.May(Delete, tt.r, nil) }},
				{"n", func() error { return d.May(Unblock, tt.r, nil) }},
				{"o", func() error { return d.May(Rotate, tt.r, nil) }},
			} {
				err := v.do()
				if err == nil {
					got.WriteString(v.letter)
				} else if !errors.Is(err, resource.ErrForbidden) {
					t.Errorf("%s by %s: %v", tt.name, name, err)
				}
			}
			if got.String() != tt.want[i] {
				t.Errorf("%s by %s: got %q, want %q", tt.name, name, got.String(), tt.want[i])
			}
		}
	}
}

// bare is a record with no field that only an admin of an organization may give.
func bare(r resource.Record) resource.Record {
	if u, ok := r.(*resource.User); ok {
		next := *u
		next.OrganizationAdmin = false
		return &next
	}
	return r
}

// TestMay_join: a person puts himself, and nobody else, into a team that is open to that, as a plain member with what
// the team gives every new one.
func TestMay_join(t *testing.T) {
	t.Parallel()
	rpm := int64(10)
	join := func(team, user string, with func(*resource.TeamMember)) *resource.TeamMember {
		m := &resource.TeamMember{Meta: meta(resource.TeamMemberID(team, user)), TeamID: team, UserID: user}
		m.Limits.RPM = &rpm
		if with != nil {
			with(m)
		}
		return m
	}
	for _, tt := range []struct {
		name string
		who  string
		m    *resource.TeamMember
		in   func(*memory)
		want bool
	}{
		{"open", "plain", join("open", "plain", nil), nil, true},
		{"not open", "plain", join("far", "plain", nil), nil, false},
		{"no such team", "plain", join("none", "plain", nil), func(m *memory) { m.open = append(m.open, "none") }, false},
		{"another", "plain", join("open", "lead", nil), nil, false},
		{"as its admin", "plain", join("open", "plain", func(m *resource.TeamMember) { m.Admin = true }), nil, false},
		{"with more", "plain", join("open", "plain", func(m *resource.TeamMember) { m.Limits = resource.Limits{} }), nil, false},
		{"with a model", "plain", join("open", "plain", func(m *resource.TeamMember) { m.Models = []string{"gpt"} }), nil, false},
		{"with a budget", "plain", join("open", "plain", func(m *resource.TeamMember) { m.Budgets = []resource.Terms{{USD: 1}} }), nil, false},
		{"with an access group", "plain", join("open", "plain", func(m *resource.TeamMember) { m.AccessGroupIDs = []string{"ops"} }), nil, false},
		{"a viewer", "reader", join("open", "reader", nil), nil, false},
		{"of another organization", "stranger", join("open", "stranger", nil), nil, false},
		{"of no organization", "stranger", join("all", "stranger", func(m *resource.TeamMember) { m.Limits = resource.Limits{} }), nil, true},
		{"a blocked team", "plain", join("open", "plain", nil), func(m *memory) { m.teams[len(m.teams)-2].Blocked = true }, false},
		{"with a key of another team", "plain", join("open", "plain", nil), func(m *memory) { m.keys[2].TeamID = "red" }, false},
		{"twice", "plain", join("open", "plain", nil), func(m *memory) { m.members = append(m.members, join("open", "plain", nil)) }, false},
	} {
		m := world()
		m.teams = append(
			m.teams,
			&resource.Team{Meta: meta("open"), OrganizationID: "acme", MemberDefaults: &resource.MemberDefaults{Limits: resource.Limits{RPM: &rpm}}},
			&resource.Team{Meta: meta("all")},
		)
		m.open = resource.Names{"all", "open"}
		if tt.in != nil {
			tt.in(m)
		}
		err := as(t, m, tt.who).MayPut(nil, tt.m)
		if (err == nil) != tt.want || err != nil && !errors.Is(err, resource.ErrForbidden) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	// Who is an admin of the team's organization goes on doing what he may.
	m := world()
	m.open = resource.Names{"red"}
	if err := as(t, m, "boss").MayPut(nil, join("red", "boss", func(m *resource.TeamMember) { m.Admin = true })); err != nil {
		t.Errorf("an admin of the organization: got %v", err)
	}
}

// TestFields asks every field of every kind of record for every standing: what is not in the
// table is refused, and the table has no field that records have not.
func TestFields(t *testing.T) {
	t.Parallel()
	for kind, tt := range map[string]struct {
		r    resource.Record
		free map[string][]string // who may change more than those before him → what
	}{
		"key": {&resource.Key{Meta: meta("k"), TeamID: "red", UserID: "plain", Access: resource.Access{Type: resource.TypeInference}}, map[string][]string{
			"plain": append(slices.Concat(policyFields, accessFields, secretFields), "name", "expires_at", "rotation", "rotation_key", "project_id", "team_id", "user_id", "access_group_ids"),
		}},
		"team":    {&resource.Team{Meta: meta("red"), OrganizationID: "acme"}, map[string][]string{"lead": append(slices.Clone(policyFields), "name", "member_permissions", "member_defaults"), "boss": {"expires_at", "prompts", "file_expires_after", "batch_output_expires_after"}}},
		"project": {&resource.Project{Meta: meta("p"), TeamID: "red"}, map[string][]string{"lead": append(slices.Clone(policyFields), "name", "description", "expires_at")}},
		"member":  {&resource.TeamMember{Meta: meta("red/plain"), TeamID: "red", UserID: "plain"}, map[string][]string{"lead": append(slices.Clone(policyFields), "admin", "expires_at")}},
		"user": {&resource.User{Meta: meta("plain"), Role: resource.UserInternal, OrganizationID: "acme"}, map[string][]string{
			"plain": {"name", "metadata"}, "boss": append(slices.Clone(policyFields), "name", "email", "role", "organization_admin", "service_account", "expires_at"),
		}},
	} {
		names := fieldsOf(reflect.TypeOf(tt.r).Elem())
		for name := range fields[kind] {
			if !slices.Contains(names, name) {
				t.Errorf("the table has %s.%s, which is no field", kind, name)
			}
		}
		for _, name := range names {
			if _, ok := fields[kind][name]; !ok && !slices.Contains(serverFields, name) {
				t.Errorf("nobody decided who may change %s.%s", kind, name)
				continue
			}
			if slices.Contains(serverFields, name) || slices.Contains([]string{"team_id", "user_id", "organization_id"}, name) && kind != "key" {
				continue
			}
			var free []string
			for _, who := range []string{"stranger", "reader", "plain", "lead", "boss"} {
				d := as(t, world(), who)
				after := touched(tt.r, name)
				if kind == "user" { // who leads a team changes nothing of its members' records
					free = nil
				}
				free = append(free, tt.free[who]...)
				err := d.checkFields(kind, d.reachOf(Update, tt.r), tt.r, after)
				may := err == nil && d.May(Update, tt.r, tt.r) == nil
				if want := slices.Contains(free, name); may != want {
					t.Errorf("%s.%s by %s: got %v, want %v (%v)", kind, name, who, may, want, err)
				}
			}
		}
	}
}

func fieldsOf(typ reflect.Type) (names []string) {
	for f := range typ.Fields() {
		if f.Anonymous {
			names = append(names, fieldsOf(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// touched is a copy of the record with one field changed.
func touched(r resource.Record, name string) resource.Record {
	next := reflect.New(reflect.TypeOf(r).Elem())
	next.Elem().Set(reflect.ValueOf(r).Elem())
	if !touch(next.Elem(), name) {
		panic(fmt.Sprintf("%T has no field %s", r, name))
	}
	out, _ := reflect.TypeAssert[resource.Record](next)
	return out
}

func touch(v reflect.Value, name string) bool {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if touch(v.Field(i), name) {
				return true
			}
			continue
		}
		if n, _, _ := strings.Cut(f.Tag.Get("json"), ","); n == name {
			change(v.Field(i))
			return true
		}
	}
	return false
}

func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Array:
		v.Index(0).SetUint(v.Index(0).Uint() + 1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		change(v.Field(0))
	default:
		panic("change " + v.Type().String())
	}
}

// TestEscalation is what incidents of other gateways did.
func TestEscalation(t *testing.T) {
	t.Parallel()
	inference := resource.Access{Type: resource.TypeInference}
	for _, tt := range []struct {
		name, who     string
		before, after resource.Record
		ok            bool
	}{
		{"mint an admin key", "plain", nil, &resource.Key{Meta: meta("n"), UserID: "plain", Role: resource.RoleAdmin}, false},
		{"make one's key an admin's", "plain", &resource.Key{Meta: meta("k"), UserID: "plain"}, &resource.Key{Meta: meta("k"), UserID: "plain", Role: resource.RoleAdmin}, false},
		{"mint a key that acts for the organization's admin", "lead", nil, &resource.Key{Meta: meta("n"), TeamID: "red", UserID: "boss"}, false},
		{"mint an inference key for him, who is no member", "lead", nil, &resource.Key{Meta: meta("n"), TeamID: "red", UserID: "boss", Access: inference}, false},
		{"mint one for a member", "lead", nil, &resource.Key{Meta: meta("n"), TeamID: "red", UserID: "plain", Access: inference}, true},
		{"widen what another's key is for", "lead", &resource.Key{Meta: meta("n"), TeamID: "red", UserID: "plain", Access: inference}, &resource.Key{Meta: meta("n"), TeamID: "red", UserID: "plain"}, false},
		{"take a key over", "lead", &resource.Key{Meta: meta("n"), TeamID: "red", UserID: "plain"}, &resource.Key{Meta: meta("n"), TeamID: "red", UserID: "lead"}, true},
		{"take a foreign key over", "lead", &resource.Key{Meta: meta("n"), TeamID: "blue"}, &resource.Key{Meta: meta("n"), TeamID: "red"}, false},
		{"move a key into a foreign team", "lead", &resource.Key{Meta: meta("n"), TeamID: "red"}, &resource.Key{Meta: meta("n"), TeamID: "far"}, false},
		{"move a key into a team that lets it", "plain", &resource.Key{Meta: meta("n"), UserID: "plain"}, &resource.Key{Meta: meta("n"), UserID: "plain", TeamID: "red"}, true},
		{"move a key into a team that does not", "plain", &resource.Key{Meta: meta("n"), UserID: "plain"}, &resource.Key{Meta: meta("n"), UserID: "plain", TeamID: "blue"}, false},
		{"raise one's own role", "plain", &resource.User{Meta: meta("plain"), Role: resource.UserInternal, OrganizationID: "acme"}, &resource.User{Meta: meta("plain"), Role: resource.UserAdmin, OrganizationID: "acme"}, false},
		{"become the organization's admin", "plain", &resource.User{Meta: meta("plain"), Role: resource.UserInternal, OrganizationID: "acme"}, &resource.User{Meta: meta("plain"), Role: resource.UserInternal, OrganizationID: "acme", OrganizationAdmin: true}, false},
		{"make somebody an admin of the cluster", "boss", &resource.User{Meta: meta("plain"), Role: resource.UserInternal, OrganizationID: "acme"}, &resource.User{Meta: meta("plain"), Role: resource.UserAdmin, OrganizationID: "acme"}, false},
		{"make somebody a viewer of all", "boss", nil, &resource.User{Meta: meta("n"), Role: resource.UserAdminViewer, OrganizationID: "acme"}, false},
		{"make somebody in another organization", "boss", nil, &resource.User{Meta: meta("n"), Role: resource.UserInternal, OrganizationID: "o2"}, false},
		{"take somebody into the organization", "boss", &resource.User{Meta: meta("stranger"), Role: resource.UserInternal}, &resource.User{Meta: meta("stranger"), Role: resource.UserInternal, OrganizationID: "acme"}, false},
		{"take a team into the organization", "boss", &resource.Team{Meta: meta("far")}, &resource.Team{Meta: meta("far"), OrganizationID: "acme"}, false},
		{"take a team out of it", "boss", &resource.Team{Meta: meta("red"), OrganizationID: "acme"}, &resource.Team{Meta: meta("red")}, false},
		{"make a team in no organization", "boss", nil, &resource.Team{Meta: meta("n")}, false},
		{"make a team of one's own", "lead", nil, &resource.Team{Meta: meta("n"), OrganizationID: "acme"}, false},
		{"become an admin of the team", "plain", &resource.TeamMember{Meta: meta("red/plain"), TeamID: "red", UserID: "plain"}, &resource.TeamMember{Meta: meta("red/plain"), TeamID: "red", UserID: "plain", Admin: true}, false},
		{"join a team", "plain", nil, &resource.TeamMember{Meta: meta("far/plain"), TeamID: "far", UserID: "plain"}, false},
		{"let oneself more", "plain", &resource.Team{Meta: meta("blue"), OrganizationID: "acme"}, &resource.Team{Meta: meta("blue"), OrganizationID: "acme", MemberPermissions: []string{"/key/generate"}}, false},
		{"switch a permission on", "plain", nil, &resource.Key{Meta: meta("n"), UserID: "plain", Access: resource.Access{Permissions: map[string]bool{"get_spend_routes": true}}}, false},
		{"hold less of requests", "boss", nil, &resource.Key{Meta: meta("n"), UserID: "boss", Policy: resource.Policy{OutputHold: new(int64(1))}}, false},
		{"hold less of a model's", "lead", &resource.Key{Meta: meta("n"), TeamID: "red"}, &resource.Key{Meta: meta("n"), TeamID: "red", Policy: resource.Policy{ModelOutputHolds: map[string]int64{"gpt": 1}}}, false},
		{"let a node call an address", "plain", nil, &resource.Key{Meta: meta("n"), UserID: "plain", Rotation: &resource.Rotation{Every: "30d", Deliver: resource.DeliverWebhook, URL: "http://10.0.0.1"}}, false},
		{"a rotation that one picks up", "plain", nil, &resource.Key{Meta: meta("n"), UserID: "plain", Rotation: &resource.Rotation{Every: "30d", Deliver: resource.DeliverPickUp}}, true},
		{"move a project", "lead", &resource.Project{Meta: meta("p"), TeamID: "red"}, &resource.Project{Meta: meta("p"), TeamID: "far"}, false},
	} {
		err := as(t, world(), tt.who).MayPut(tt.before, tt.after)
		if (err == nil) != tt.ok {
			t.Errorf("%s by %s: got %v, want ok %v", tt.name, tt.who, err, tt.ok)
		}
	}
}

// TestOutputHolds: a key hands on what is held of its requests, neither more nor less.
func TestOutputHolds(t *testing.T) {
	t.Parallel()
	held := func(id string, n int64) *resource.Key {
		return &resource.Key{Meta: meta(id), UserID: "plain", Policy: resource.Policy{OutputHold: &n, ModelOutputHolds: map[string]int64{"gpt": n}}}
	}
	d := Of(held("k", 100), world())
	filled := &resource.Key{Meta: meta("n"), UserID: "plain"}
	d.Fill(filled, 0)
	for _, tt := range []struct {
		key *resource.Key
		ok  bool
	}{{held("n", 100), true}, {filled, true}, {held("n", 99), false}, {held("n", 101), false}} {
		if err := d.MayPut(nil, tt.key); (err == nil) != tt.ok {
			t.Errorf("%d: got %v, want ok %v", *tt.key.OutputHold, err, tt.ok)
		}
	}
}

// TestAccessGroups: who is no admin of the cluster gives a key the access groups of its team or of the key that
// he acts with, and a plain member only where the team lets him.
func TestAccessGroups(t *testing.T) {
	t.Parallel()
	inTeam := func(team string, ids ...string) *resource.Key {
		return &resource.Key{Meta: meta("n"), TeamID: team, UserID: "plain", Policy: groups(ids...), Access: resource.Access{Type: resource.TypeInference}}
	}
	for _, tt := range []struct {
		name, who     string
		own           []string // of the key that he acts with
		before, after *resource.Key
		ok            bool
	}{
		{"the admin of the team", "lead", nil, nil, inTeam("red", "eng"), true},
		{"the admin, of another team's group", "lead", nil, nil, inTeam("red", "ops"), false},
		{"a member whom the team does not let", "plain", nil, nil, inTeam("red", "eng"), false},
		{"a member whom the team lets", "plain", nil, nil, inTeam("green", "eng", "ops"), true},
		{"such a member, of a group that the team has not", "plain", nil, nil, inTeam("green", "eng", "sales"), false},
		{"what his own key has", "plain", []string{"sales"}, nil, inTeam("green", "sales"), true},
		{"a key of no team", "plain", nil, nil, inTeam("", "eng"), false},
		{"a key of no team, of his own key's group", "plain", []string{"eng"}, nil, inTeam("", "eng"), true},
		{"what it has stays", "plain", nil, inTeam("red", "ops", "eng"), inTeam("red", "ops"), true},
		{"but not in another team", "plain", nil, inTeam("", "sales"), inTeam("green", "sales"), false},
	} {
		w := world()
		k, _ := w.Key("k-" + tt.who)
		k.AccessGroupIDs = tt.own
		var before resource.Record
		if tt.before != nil {
			before = tt.before
		}
		if err := as(t, w, tt.who).MayPut(before, tt.after); (err == nil) != tt.ok {
			t.Errorf("%s: got %v, want ok %t", tt.name, err, tt.ok)
		}
	}
}

// TestServers: who is no admin of the cluster names the MCP servers and tools that his key, his own record or the
// record's team names, for a name grants.
func TestServers(t *testing.T) {
	t.Parallel()
	servers := func(names ...string) *resource.Objects { return &resource.Objects{MCPServers: names} }
	key := func(team string, o *resource.Objects) *resource.Key {
		return &resource.Key{Meta: meta("n"), TeamID: team, UserID: "plain", Policy: resource.Policy{Objects: o}, Access: resource.Access{Type: resource.TypeInference}}
	}
	tools := func(server string, names ...string) *resource.Objects {
		return &resource.Objects{MCPTools: map[string][]string{server: names}}
	}
	for _, tt := range []struct {
		name          string
		own, team     *resource.Objects
		before, after *resource.Key
		ok            bool
	}{
		{"nobody names any", nil, nil, nil, key("", servers("crm")), false},
		{"by its id what his key names by name", servers("crm"), nil, nil, key("", servers("mcp_crm")), true},
		{"by name what his team names by its id", nil, servers("mcp_crm"), nil, key("green", servers("crm")), true},
		{"by its id a tool that his key has by name", tools("crm", "read"), nil, nil, key("", tools("mcp_crm", "read")), true},
		{"by its id another tool", tools("crm", "read"), nil, nil, key("", tools("mcp_crm", "write")), false},
		{"by its alias all of it", tools("mcp_crm", "read"), nil, nil, key("", servers("c")), false},
		{"by an id that no server has", servers("crm"), nil, nil, key("", servers("mcp_other")), false},
		{"all of them", nil, nil, nil, key("", servers("*")), false},
		{"a tool of one", nil, nil, nil, key("", tools("crm", "read")), false},
		{"a group of them", nil, nil, nil, key("", &resource.Objects{MCPAccessGroups: []string{"g"}}), false},
		{"none is named", nil, nil, nil, key("", &resource.Objects{VectorStores: []string{"v"}}), true},
		{"his key names it", servers("crm", "mail"), nil, nil, key("", servers("crm")), true},
		{"a tool of what his key names", servers("crm"), nil, nil, key("", tools("crm", "read")), true},
		{"his key has one tool, and the other is named", tools("crm", "read"), nil, nil, key("", tools("crm", "write")), false},
		{"his key has one tool, and all are named", tools("crm", "read"), nil, nil, key("", servers("crm")), false},
		{"his team names it", nil, servers("crm"), nil, key("green", servers("crm")), true},
		{"his team's organization names it", nil, nil, nil, key("red", servers("desk")), true},
		{"an organization that is not his team's names it", nil, nil, nil, key("green", servers("desk")), false},
		{"his team names another", nil, servers("mail"), nil, key("green", servers("crm")), false},
		{"what it has stays", nil, nil, key("green", servers("crm", "mail")), key("green", servers("crm")), true},
		{"but not in another team", nil, nil, key("", servers("crm")), key("green", servers("crm")), false},
	} {
		w := world()
		w.orgs = []*resource.Organization{{Meta: meta("acme"), Policy: resource.Policy{Objects: servers("desk")}}}
		k, _ := w.Key("k-plain")
		k.Objects = tt.own
		green, _ := w.Team("green")
		green.Objects = tt.team
		var before resource.Record
		if tt.before != nil {
			before = tt.before
		}
		if err := as(t, w, "plain").MayPut(before, tt.after); (err == nil) != tt.ok {
			t.Errorf("%s: got %v, want ok %t", tt.name, err, tt.ok)
		}
	}
}

// TestScope: a key of a team, or of a project, acts there alone.
func TestScope(t *testing.T) {
	t.Parallel()
	m := world()
	red := Of(&resource.Key{Meta: meta("s"), UserID: "plain", TeamID: "red"}, m)
	if err := red.MayPut(nil, &resource.Key{Meta: meta("n"), UserID: "plain"}); !errors.Is(err, resource.ErrForbidden) {
		t.Errorf("a personal key by a key of a team: got %v", err)
	}
	if err := red.MayPut(nil, &resource.Key{Meta: meta("n"), UserID: "plain", TeamID: "red"}); err != nil {
		t.Errorf("a key of the team: %v", err)
	}
	bound := Of(&resource.Key{Meta: meta("s"), UserID: "lead", TeamID: "red", ProjectID: "p"}, m)
	if err := bound.MayPut(nil, &resource.Key{Meta: meta("n"), TeamID: "red"}); !errors.Is(err, resource.ErrForbidden) {
		t.Errorf("a key outside of the project: got %v", err)
	}
}

// TestLearn: who rotates a key gets all that it has, and so a key that can do less cannot.
func TestLearn(t *testing.T) {
	t.Parallel()
	wide := &resource.Key{Meta: meta("wide"), UserID: "plain"}
	for name, narrow := range map[string]*resource.Key{
		"models":  {Policy: resource.Policy{Models: []string{"small"}}},
		"routes":  {Policy: resource.Policy{Routes: []string{"/key/*"}}},
		"budget":  {Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: 1, Per: resource.PerDay}}}}},
		"limit":   {Policy: resource.Policy{Allowance: resource.Allowance{Limits: resource.Limits{RPM: new(int64(1))}}}},
		"expiry":  {Policy: resource.Policy{ExpiresAt: 5}},
		"objects": {Policy: resource.Policy{Objects: &resource.Objects{MCPServers: []string{"a"}}}},
		"guarded": {Policy: resource.Policy{Guardrails: []string{"words"}}},
		"tagged":  {Policy: resource.Policy{Tags: []string{"eu"}}},
		"grouped": {Policy: groups("eng")},
		"managed": {Access: resource.Access{Type: resource.TypeManagement}},
	} {
		narrow.ID, narrow.UserID = "narrow", "plain"
		if err := Of(narrow, world()).May(Rotate, wide, nil); !errors.Is(err, resource.ErrForbidden) {
			t.Errorf("%s: got %v", name, err)
		}
		if err := Of(narrow, world()).May(Rotate, narrow, nil); err != nil {
			t.Errorf("%s, itself: %v", name, err)
		}
	}
	for _, tt := range []struct {
		name string
		key  *resource.Key // that is asked for
		with resource.Policy
		ok   bool
	}{
		{"a group that his key has not", &resource.Key{Policy: groups("eng")}, resource.Policy{}, false},
		{"a group that it has", &resource.Key{Policy: groups("eng")}, groups("eng"), true},
		{"a group of the team", &resource.Key{TeamID: "red", Policy: groups("eng")}, resource.Policy{}, true},
		{"a group of the team, with a key of some models", &resource.Key{TeamID: "red", Policy: resource.Policy{Models: []string{"a"}, AccessGroupIDs: []string{"eng"}}}, resource.Policy{Models: []string{"a"}}, false},
		{"a group that the team has not", &resource.Key{TeamID: "red", Policy: groups("ops")}, resource.Policy{}, false},
	} {
		tt.key.ID, tt.key.UserID = "wanted", "lead"
		own := &resource.Key{Meta: meta("own"), UserID: "lead", Policy: tt.with}
		if err := Of(own, world()).May(Rotate, tt.key, nil); (err == nil) != tt.ok {
			t.Errorf("%s: got %v, want ok %t", tt.name, err, tt.ok)
		}
	}
}
