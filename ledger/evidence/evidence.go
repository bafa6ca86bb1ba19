// Package evidence is what it takes to decide a request again without a node: the request as it
// was recorded, and the part of the replicated state that decides about it.
package evidence

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/resource"
)

// MaxFile bounds a file of evidence.
const MaxFile = 64 << 20

// Case is some requests, and the state to judge them by. Its JSON is the file that conclave explain
// --export writes.
type Case struct {
	Requests []Request `json:"requests"`
	State    State     `json:"state"`
}

// Request is a row of the request log with its receipt.
type Request struct {
	requestlog.Row
	Receipt requestlog.Receipt `json:"receipt"`
}

// Read reads a case, strictly: what this version does not know could have decided.
func Read(r io.Reader) (*Case, error) {
	dec := json.NewDecoder(io.LimitReader(r, MaxFile))
	dec.DisallowUnknownFields()
	var c Case
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("read case: %w", err)
	}
	return &c, nil
}

// State is the part of the replicated state that decides about requests. It holds no secret: of
// keys, deployments and credentials only what decides is there.
type State struct {
	Index         uint64                     `json:"index"`
	Settings      map[string]json.RawMessage `json:"settings,omitempty"`
	Organizations []*resource.Organization   `json:"organizations,omitempty"`
	Teams         []*resource.Team           `json:"teams,omitempty"`
	Projects      []*resource.Project        `json:"projects,omitempty"`
	Users         []*resource.User           `json:"users,omitempty"`
	TeamMembers   []*resource.TeamMember     `json:"team_members,omitempty"`
	Keys          []*resource.Key            `json:"keys,omitempty"`
	Customers     []*resource.Customer       `json:"customers,omitempty"`
	Tags          []*resource.Tag            `json:"tags,omitempty"`
	Budgets       []*resource.Budget         `json:"budgets,omitempty"`
	Models        []*resource.Model          `json:"models,omitempty"`
	Deployments   []*resource.Deployment     `json:"deployments,omitempty"`
	Credentials   []*resource.Credential     `json:"credentials,omitempty"`
	Guardrails    []*resource.Guardrail      `json:"guardrails,omitempty"`
	AccessGroups  []*resource.AccessGroup    `json:"access_groups,omitempty"`
}

// settings are those that decide about requests.
var settings = []string{
	"allowed_ips", "block_requests_for_models_without_pricing", "denied_ips", "enforce_user_param", "enforced_params", "max_body_bytes", "max_file_size_mb", "max_request_size_mb",
	"max_response_size_mb", "service_account_enforced_params", "trusted_proxies",
}

// settingBlocked holds ids of end users, of which a case names its own alone.
const settingBlocked = "blocked_user_list"

// People looks up what a catalog does not hold.
type People interface {
	Key(id string) (*resource.Key, bool)
	User(id string) (*resource.User, bool)
	TeamMember(team, user string) (*resource.TeamMember, bool)
	Customer(id string) (*resource.Customer, bool)
}

// StateOf takes the part of the state that decides about the requests.
func StateOf(cat *resource.Catalog, people People, requests []Request) State {
	c := collector{cat: cat, people: people, seen: map[string]bool{}, State: State{Index: cat.Index(), Settings: map[string]json.RawMessage{}}}
	for i := range requests {
		c.request(&requests[i])
	}
	c.tables()
	return c.State
}

// collector gathers each record once.
type collector struct {
	State
	cat    *resource.Catalog
	people People
	seen   map[string]bool
}

// first says whether a record was not gathered before.
func (c *collector) first(kind, id string) bool {
	name := kind + "/" + id
	if id == "" || c.seen[name] {
		return false
	}
	c.seen[name] = true
	return true
}

func (c *collector) request(r *Request) {
	if k, ok := c.people.Key(r.KeyID); ok && c.first(resource.HolderKey, r.KeyID) {
		c.key(k)
	}
	customer := r.Receipt.Facts.Customer
	if customer == "" {
		customer = r.Customer
	}
	if rec, ok := c.people.Customer(customer); ok && c.first(resource.HolderCustomer, customer) {
		bare := *rec
		bare.Metadata = nil
		c.Customers = append(c.Customers, &bare)
		c.budget(rec.BudgetID)
	}
	if customer != "" && c.cat.Settings().BlockedCustomers.Has(customer) && c.first(settingBlocked, customer) {
		c.block(customer)
	}
	for _, id := range r.Tags {
		if t, ok := c.cat.Tag(id); ok && c.first(resource.HolderTag, id) {
			bare := *t
			bare.Metadata = nil
			c.Tags = append(c.Tags, &bare)
			c.budget(t.BudgetID)
		}
	}
}

// block adds an end user to the list of those that are blocked.
func (c *collector) block(customer string) {
	var ids []string
	_ = json.Unmarshal(c.Settings[settingBlocked], &ids) // its own, or nothing
	ids = append(ids, customer)
	slices.Sort(ids)
	b, _ := json.Marshal(ids) // strings
	c.Settings[settingBlocked] = b
}

// key takes what of a key decides, and the levels above it.
func (c *collector) key(k *resource.Key) {
	bare := &resource.Key{
		Meta: k.Meta, Policy: k.Policy, Name: k.Name, TeamID: k.TeamID, ProjectID: k.ProjectID, UserID: k.UserID, Role: k.Role,
		Blocked: k.Blocked, Access: k.Access,
	}
	bare.Metadata = nil
	c.Keys = append(c.Keys, bare)
	c.budget(k.BudgetID)
	c.team(k.TeamID)
	if p, ok := c.cat.Project(k.ProjectID); ok && c.first(resource.HolderProject, k.ProjectID) {
		bare := *p
		bare.Metadata = nil
		c.Projects = append(c.Projects, &bare)
		c.budget(p.BudgetID)
	}
	if u, ok := c.people.User(k.UserID); ok && c.first(resource.HolderUser, k.UserID) {
		bare := &resource.User{Meta: u.Meta, Policy: u.Policy, OrganizationID: u.OrganizationID, Role: u.Role, Blocked: u.Blocked}
		bare.Metadata = nil
		c.Users = append(c.Users, bare)
		c.budget(u.BudgetID)
		c.organization(u.OrganizationID)
	}
	if m, ok := c.people.TeamMember(k.TeamID, k.UserID); ok && c.first(resource.HolderMember, m.ID) {
		bare := *m
		bare.Metadata = nil
		c.TeamMembers = append(c.TeamMembers, &bare)
		c.budget(m.BudgetID)
	}
}

func (c *collector) team(id string) {
	t, ok := c.cat.Team(id)
	if !ok || !c.first(resource.HolderTeam, id) {
		return
	}
	bare := *t
	bare.Metadata = nil
	c.Teams = append(c.Teams, &bare)
	c.budget(t.BudgetID)
	c.organization(t.OrganizationID)
}

func (c *collector) organization(id string) {
	if o, ok := c.cat.Organization(id); ok && c.first(resource.HolderOrganization, id) {
		bare := *o
		bare.Metadata = nil
		c.Organizations = append(c.Organizations, &bare)
		c.budget(o.BudgetID)
	}
}

func (c *collector) budget(id string) {
	if b, ok := c.cat.Budget(id); ok && c.first("budget", id) {
		c.Budgets = append(c.Budgets, b)
	}
}

// tables takes what may decide about any request.
func (c *collector) tables() {
	t := c.cat.Tables()
	for _, s := range t.Settings {
		if slices.Contains(settings, s.ID) {
			c.Settings[s.ID] = s.Value
		}
	}
	for _, m := range t.Models {
		bare := *m
		bare.Metadata = nil
		c.Models = append(c.Models, &bare)
		c.budget(m.BudgetID)
	}
	for _, d := range t.Deployments {
		c.Deployments = append(c.Deployments, &resource.Deployment{
			Meta: d.Meta, Name: d.Name, ModelID: d.ModelID, Provider: d.Provider, CredentialID: d.CredentialID, Weight: d.Weight,
			Order: d.Order, Blocked: d.Blocked,
		})
	}
	for _, r := range t.Credentials {
		c.Credentials = append(c.Credentials, &resource.Credential{Meta: r.Meta, Name: r.Name, Provider: r.Provider})
	}
	c.AccessGroups = t.AccessGroups
	for _, g := range t.AccessGroups {
		c.budget(g.BudgetID)
	}
	for _, g := range t.Guardrails {
		bare := *g
		bare.Config = nil
		c.Guardrails = append(c.Guardrails, &bare)
	}
}

// Catalog is the view of the state that requests have.
func (s *State) Catalog() *resource.Catalog {
	t := resource.Tables{
		Index: s.Index, Organizations: s.Organizations, Teams: s.Teams, Projects: s.Projects, Tags: s.Tags, Models: s.Models,
		Deployments: s.Deployments, Credentials: s.Credentials, Budgets: s.Budgets, Guardrails: s.Guardrails,
		AccessGroups: s.AccessGroups,
	}
	for name, value := range s.Settings {
		t.Settings = append(t.Settings, &resource.Setting{Meta: resource.Meta{ID: name}, Value: value})
	}
	return resource.NewCatalog(t)
}

// KeyByHash finds no key: a case holds no hashes.
func (s *State) KeyByHash(resource.Hash) (*resource.Key, bool) { return nil, false }

// Key returns the key with the id.
func (s *State) Key(id string) (*resource.Key, bool) { return find(s.Keys, id) }

// User returns the user with the id.
func (s *State) User(id string) (*resource.User, bool) { return find(s.Users, id) }

// TeamMember returns a user's place in a team.
func (s *State) TeamMember(team, user string) (*resource.TeamMember, bool) {
	return find(s.TeamMembers, resource.TeamMemberID(team, user))
}

// Customer returns the record of an end user, if he has one.
func (s *State) Customer(id string) (*resource.Customer, bool) { return find(s.Customers, id) }

func find[R resource.Record](all []R, id string) (r R, ok bool) {
	i := slices.IndexFunc(all, func(r R) bool { return r.Head().ID == id })
	if i < 0 {
		return r, false
	}
	return all[i], true
}

// Changed names the records, KIND/ID, that were written after an index: where one of them decides,
// a request of before may have been decided by another version of it.
func (s *State) Changed(index uint64) []string {
	var out []string
	note := func(kind string, r resource.Record) {
		if m := r.Head(); m.Version > index {
			out = append(out, kind+"/"+m.ID)
		}
	}
	each(s.Organizations, resource.HolderOrganization, note)
	each(s.Teams, resource.HolderTeam, note)
	each(s.Projects, resource.HolderProject, note)
	each(s.Users, resource.HolderUser, note)
	each(s.TeamMembers, resource.HolderMember, note)
	each(s.Keys, resource.HolderKey, note)
	each(s.Customers, resource.HolderCustomer, note)
	each(s.Tags, resource.HolderTag, note)
	each(s.Budgets, "budget", note)
	each(s.Models, resource.HolderModel, note)
	each(s.Deployments, resource.HolderDeployment, note)
	each(s.Guardrails, "guardrail", note)
	each(s.AccessGroups, resource.HolderAccessGroup, note)
	return out
}

func each[R resource.Record](all []R, kind string, note func(kind string, r resource.Record)) {
	for _, r := range all {
		note(kind, r)
	}
}
