// Package declare brings a cluster to what a configuration file declares. It compares the
// file with the stored records and makes of the difference one command, which is committed
// as a whole or not at all; a second application changes nothing.
//
// A record that a file made is the file's: the admin API cannot change it, and the file
// deletes it by declaring it no more. Records of the API are never touched.
package declare

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// File is what a configuration file says the cluster should hold. Records name each
// other by name and lack ids, seals and versions; secrets are text.
type File struct {
	Credentials   []Credential
	Models        []Model
	Organizations []Organization
	Teams         []Team
	Projects      []Project
	Users         []User
	Customers     []Customer
	Tags          []Tag
	Keys          []Key
	Budgets       []resource.Budget
	Guardrails    []resource.Guardrail
	Callbacks     []resource.Callback
	Plugins       []resource.Plugin
	Settings      []resource.Setting // the id is the name
}

// Credential is a credential; its record lacks APIKey.
type Credential struct {
	Record resource.Credential
	APIKey string // "": none
}

// Model is a model with its deployments.
type Model struct {
	Record      resource.Model
	Budget      string // name of a shared budget; "": none
	Deployments []Deployment
}

// Deployment is a deployment of the model around it; its record has a name and
// lacks ModelID, CredentialID and APIKey.
type Deployment struct {
	Record     resource.Deployment
	Credential string // name; "": none
	Budget     string // name of a shared budget; "": none
	APIKey     string // "": none
}

// Organization is an organization; its record lacks BudgetID.
type Organization struct {
	Record resource.Organization
	Budget string // name of a shared budget; "": none
}

// Project is a project; its record lacks TeamID and BudgetID.
type Project struct {
	Record resource.Project
	Team   string // name
	Budget string // name of a shared budget; "": none
}

// User is a user, called by his id; its record lacks OrganizationID and BudgetID.
type User struct {
	Record       resource.User
	Organization string // name; "": none
	Budget       string // name of a shared budget; "": none
}

// Customer is an end user, called by his id; its record lacks BudgetID.
type Customer struct {
	Record resource.Customer
	Budget string // name of a shared budget; "": none
}

// Tag is a tag, called by its id; its record lacks BudgetID.
type Tag struct {
	Record resource.Tag
	Budget string // name of a shared budget; "": none
}

// Team is a team; its record lacks OrganizationID and BudgetID.
type Team struct {
	Record       resource.Team
	Organization string // name; "": none
	Budget       string // name of a shared budget; "": none
}

// Key is a key; its record has Hash and Hint and lacks TeamID, ProjectID and BudgetID.
type Key struct {
	Record  resource.Key
	Team    string // name; "": none
	Project string // name; "": none
	Budget  string // name of a shared budget; "": none
}

// Store commits commands.
type Store interface {
	Propose(ctx context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error)
}

// State reads the records that are there. *fsm.FSM implements it.
type State interface {
	Catalog() *resource.Catalog
	KeyByName(name string) (*resource.Key, bool)
	Keys(q fsm.ListQuery) (items []*resource.Key, next string, total int)
	User(id string) (*resource.User, bool)
	Users(q fsm.ListQuery) (items []*resource.User, next string, total int)
	Customer(id string) (*resource.Customer, bool)
	Customers(q fsm.ListQuery) (items []*resource.Customer, next string, total int)
}

// Config says on what a plan is made.
type Config struct {
	State State
	// Seal encrypts a secret for one field of one record.
	Seal func(plaintext, kind, id, field string) (*resource.Sealed, error)
	Now  func() time.Time // default time.Now
}

// Change is one change of a plan.
type Change struct {
	Action string // "create", "update" or "delete"
	Kind   string
	Name   string // of the record; of a deployment MODEL/NAME
	ID     string
}

// Plan is what brings the cluster to what a file declares, as one command.
type Plan struct {
	Changes []Change
	Batch   fsm.Batch
}

// Apply plans and commits what a file declares, as one entry: all or nothing. Applied
// again it changes nothing. It returns the changes that it made.
func Apply(ctx context.Context, store Store, cfg Config, d File) ([]Change, error) {
	plan, err := NewPlan(cfg, d)
	if err != nil || len(plan.Changes) == 0 {
		return nil, err
	}
	if _, err := store.Propose(ctx, fsm.Actor{Kind: "file"}, "", plan.Batch); err != nil {
		return nil, fmt.Errorf("apply file: %w", err)
	}
	return plan.Changes, nil
}

// NewPlan compares what the file declares with the records that are there. It creates and
// updates what differs and deletes what a file owned and declares no more. A record of the
// same name that the API owns is an error that wraps resource.ErrOwner.
func NewPlan(cfg Config, d File) (Plan, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &planner{cfg: cfg, cat: cfg.State.Catalog(), kept: map[string]bool{}, ids: map[string]string{}}
	for _, step := range []func(*File) error{
		p.plugins, p.budgets, p.credentials, p.organizations, p.teams, p.projects, p.users, p.customers, p.tags, p.models, p.keys, p.guardrails, p.callbacks, p.settings,
	} {
		if err := step(&d); err != nil {
			return Plan{}, err
		}
	}
	p.deletions()
	b, err := records.Batch(p.cmds)
	if err != nil {
		return Plan{}, err
	}
	return Plan{Changes: p.changes, Batch: b}, nil
}
