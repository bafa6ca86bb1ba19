// Package declare brings a cluster to what a configuration file declares. It compares the
// file with the stored records and makes of the difference one command, which is committed
// as a whole or not at all; a second application changes nothing.
//
// A record that a file made is the file's: the admin API cannot change it, and the file
// deletes it by declaring it no more. Records of the API are never touched, unless the file
// is told to take them over.
package declare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

// Config says on what a plan is made.
type Config struct {
	State State
	// Seal encrypts a secret for one field of one record.
	Seal func(plaintext, kind, id, field string) (*resource.Sealed, error)
	Now  func() time.Time // default clock.Now
	// Files reads the body of a blob, for the check of what refers to one; nil: nothing is checked. What
	// cannot be read yet, because a plan comes before its files, is not.
	Files func(digest string) ([]byte, error)
	// MayGrant decides whether a key may be written so; before is nil for a new one. Nil: any.
	MayGrant func(before, after *resource.Key) error
	// MayRaise checks the increases of budgets that a record is given, and writes who approved them; before is nil for
	// a new one. Nil: those of the file stand.
	MayRaise func(before, after resource.Record) error
	// Leaving is told of a plan's commands before they are committed, and what it returns is called when they
	// are; nil: nobody is.
	Leaving func(cmds []fsm.Command) (committed func(ctx context.Context))
	// Options of a plan; the zero value is that of a cluster's start.
	Options
}

// Options say what a plan may do.
type Options struct {
	Keep     bool   // what the file owned and declares no more, instead of deleting it
	TakeOver bool   // records of the API that the file names become the file's
	Expect   string // Digest of the plan that was agreed to: another is refused; "": any
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
	Key(id string) (*resource.Key, bool)
	TeamMember(team, user string) (*resource.TeamMember, bool)
	TeamMembers(team string) []*resource.TeamMember
}

// Plan is what brings the cluster to what a file declares, as one command.
type Plan struct {
	Changes []Change
	Digest  string // of the changes, and of the versions of what they change
	Batch   fsm.Batch

	cmds []fsm.Command // that Batch holds
}

// Change is one change of a plan.
type Change = client.ConfigChange

// Apply plans and commits what a file declares, as one entry: all or nothing. Applied
// again it changes nothing. It returns the changes that it made.
func Apply(ctx context.Context, store Store, cfg Config, d File) ([]Change, error) {
	plan, err := NewPlan(cfg, d)
	if err != nil || len(plan.Changes) == 0 {
		return nil, err
	}
	committed := cfg.leaving(plan.cmds)
	if _, err := store.Propose(ctx, fsm.Actor{Kind: "file"}, "", plan.Batch); err != nil {
		return nil, fmt.Errorf("apply file: %w", err)
	}
	committed(ctx)
	return plan.Changes, nil
}

// ApplyAs is Apply in the name of an admin. It returns the plan that it carried out and what
// came of the entry; without changes there is none.
func ApplyAs(ctx context.Context, store Store, cfg Config, by records.Caller, d File) (Plan, fsm.Result, error) {
	plan, err := NewPlan(cfg, d)
	if err != nil || len(plan.Changes) == 0 {
		return plan, fsm.Result{}, err
	}
	first, err := fsm.ItemOf(fsm.ActAsFile{})
	if err != nil {
		return Plan{}, fsm.Result{}, fmt.Errorf("apply file: %w", err)
	}
	committed := cfg.leaving(plan.cmds)
	batch := fsm.Batch{Items: append([]fsm.Item{first}, plan.Batch.Items...)}
	res, err := store.Propose(ctx, by.Actor(), by.RequestID, batch)
	if err != nil {
		return Plan{}, fsm.Result{}, fmt.Errorf("apply file: %w", err)
	}
	committed(ctx)
	return plan, res, nil
}

// leaving tells Leaving of the commands, if there is one.
func (c *Config) leaving(cmds []fsm.Command) (committed func(ctx context.Context)) {
	if c.Leaving == nil {
		return func(context.Context) {}
	}
	return c.Leaving(cmds)
}

// NewPlan compares what the file declares with the records that are there. It creates and
// updates what differs and, unless told to keep it, deletes what a file owned and declares no
// more. A record of the API that the file says otherwise is an error that wraps
// resource.ErrOwner, unless the file takes it over; one that is the same stays the API's.
func NewPlan(cfg Config, d File) (Plan, error) {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	p := &planner{cfg: cfg, cat: cfg.State.Catalog(), at: d.At, kept: map[string]bool{}, ids: map[string]string{}, names: map[string]string{}}
	for _, step := range []func(*File) error{
		p.environment, p.plugins, p.budgets, p.credentials, p.accessGroups, p.organizations, p.teams, p.projects, p.users, p.members, p.customers, p.tags, p.models, p.keys,
		p.secretSources, p.auths, p.routerFilters, p.guardrails, p.callbacks, p.mcpServers, p.prompts, p.passThrough, p.settings,
	} {
		if err := step(&d); err != nil {
			return Plan{}, err
		}
	}
	if len(p.refused) > 0 {
		return Plan{}, errors.Join(p.refused...)
	}
	if !cfg.Keep {
		p.deletions()
	}
	b, err := records.Batch(p.cmds)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Changes: p.changes, Batch: b, cmds: p.cmds}
	if plan.Digest, err = p.digest(); err != nil {
		return Plan{}, err
	}
	if cfg.Expect != "" && cfg.Expect != plan.Digest {
		return Plan{}, fmt.Errorf("the plan is no longer the one that was agreed to: %w", resource.ErrConflict)
	}
	return plan, nil
}
