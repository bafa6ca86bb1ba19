package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// File is what a configuration file says the cluster should hold. Records name each
// other by name and lack ids, seals and versions; secrets are text.
type File struct {
	Credentials []FileCredential
	Models      []FileModel
	Teams       []FileTeam
	Keys        []FileKey
	Budgets     []resource.Budget
	Guardrails  []resource.Guardrail
	Callbacks   []resource.Callback
	Plugins     []resource.Plugin
	Settings    []resource.Setting // the id is the name
}

// FileCredential is a credential; its record lacks APIKey.
type FileCredential struct {
	Record resource.Credential
	APIKey string // "": none
}

// FileModel is a model with its deployments.
type FileModel struct {
	Record      resource.Model
	Deployments []FileDeployment
}

// FileDeployment is a deployment of the model around it; its record has a name and
// lacks ModelID, CredentialID and APIKey.
type FileDeployment struct {
	Record     resource.Deployment
	Credential string // name; "": none
	APIKey     string // "": none
}

// FileTeam is a team; its record lacks BudgetID.
type FileTeam struct {
	Record resource.Team
	Budget string // name of a shared budget; "": none
}

// FileKey is a key; its record has Hash and Hint and lacks TeamID and BudgetID.
type FileKey struct {
	Record resource.Key
	Team   string // name; "": none
	Budget string // name of a shared budget; "": none
}

// PlanConfig says on what a plan is made.
type PlanConfig struct {
	State State
	// Seal encrypts a secret for one field of one record.
	Seal func(plaintext, kind, id, field string) (*resource.Sealed, error)
	Now  func() time.Time // default time.Now
}

// Planned is one change of a plan.
type Planned struct {
	Action string // "create", "update" or "delete"
	Kind   string
	Name   string // of the record; of a deployment MODEL/NAME
	ID     string
}

// Plan is what brings the cluster to what a file declares, as one command.
type Plan struct {
	Changes []Planned
	Batch   fsm.Batch
}

// PlanFile makes the one command that brings the cluster to what f declares, and counts its
// changes; if there are none there is nothing to propose. It is to be proposed by the actor
// of kind "file".
func PlanFile(
	state State, seal func(plaintext, kind, id, field string) (*resource.Sealed, error), now time.Time, f *File,
) (cmd fsm.Command, changes int, err error) {
	plan, err := MakePlan(PlanConfig{State: state, Seal: seal, Now: func() time.Time { return now }}, *f)
	return plan.Batch, len(plan.Changes), err
}

// ApplyFile plans and commits what a file declares, as one entry: all or nothing. Applied
// again it changes nothing. It returns the changes that it made.
func ApplyFile(ctx context.Context, store Store, cfg PlanConfig, d File) ([]Planned, error) {
	plan, err := MakePlan(cfg, d)
	if err != nil || len(plan.Changes) == 0 {
		return nil, err
	}
	if _, err := store.Propose(ctx, fsm.Actor{Kind: "file"}, "", plan.Batch); err != nil {
		return nil, fmt.Errorf("apply file: %w", err)
	}
	return plan.Changes, nil
}

// MakePlan compares what the file declares with the records that are there. It creates and
// updates what differs and deletes what a file owned and declares no more. A record of the
// same name that the API owns is an error that wraps resource.ErrOwner.
func MakePlan(cfg PlanConfig, d File) (Plan, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &planner{cfg: cfg, cat: cfg.State.Catalog(), kept: map[string]bool{}, ids: map[string]string{}}
	for _, step := range []func(*File) error{
		p.plugins, p.budgets, p.credentials, p.teams, p.models, p.keys, p.guardrails, p.callbacks, p.settings,
	} {
		if err := step(&d); err != nil {
			return Plan{}, err
		}
	}
	p.deletions()
	cmd, err := batch(p.cmds)
	if err != nil {
		return Plan{}, err
	}
	b, ok := cmd.(fsm.Batch)
	if !ok {
		return Plan{}, fmt.Errorf("plan: got a %T", cmd)
	}
	return Plan{Changes: p.changes, Batch: b}, nil
}

// planner collects commands: first all puts, so that a reference is dropped before what it
// referred to is deleted.
type planner struct {
	cfg     PlanConfig
	cat     *resource.Catalog
	cmds    []fsm.Command
	changes []Planned
	kept    map[string]bool   // "kind/id" that the file declares
	ids     map[string]string // "kind/name" of what the file declares → id
}

// declare plans one record: now is what is stored under its name, nil if nothing is. fill
// completes next once its id is known.
func declare[R any, P recordOf[R]](
	p *planner, kind, prefix, name string, next, now P, fill func() error, put func(P, uint64) (fsm.Command, error),
) error {
	at := resource.At(p.cfg.Now())
	h := next.Head()
	action, read := "create", uint64(0)
	if now == nil {
		id := h.ID
		if prefix != "" {
			id = resource.NewID(prefix)
		}
		*h = resource.Meta{ID: id, Owner: resource.OwnerFile, CreatedAt: at, CreatedBy: "file", UpdatedAt: at, UpdatedBy: "file"}
	} else {
		if now.Head().Owner != resource.OwnerFile {
			return fmt.Errorf("%s %q was made through the admin API: %w", kind, name, resource.ErrOwner)
		}
		*h = *now.Head()
		action, read = "update", h.Version
	}
	p.kept[kind+"/"+h.ID] = true
	p.ids[kind+"/"+name] = h.ID
	if fill != nil {
		if err := fill(); err != nil {
			return declaredError(kind, name, err)
		}
	}
	next.Canonicalize()
	if err := next.Validate(); err != nil {
		return declaredError(kind, name, err)
	}
	if now != nil && same(next, now) {
		return nil
	}
	h.UpdatedAt, h.UpdatedBy = at, "file"
	cmd, err := put(next, read)
	if err != nil {
		return declaredError(kind, name, err)
	}
	p.cmds = append(p.cmds, cmd)
	p.changes = append(p.changes, Planned{Action: action, Kind: kind, Name: name, ID: h.ID})
	return nil
}

func declaredError(kind, name string, err error) error {
	return fmt.Errorf("%s %q: %w", kind, name, err)
}

// same compares records as the admin API shows them: of a secret the fingerprint, and an
// empty list as none.
func same(a, b resource.Record) bool {
	ja, errA := json.Marshal(a)
	jb, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(ja) == string(jb)
}

// refer resolves a name to the id of a record that the file declares or that is stored.
func (p *planner) refer(kind, name, stored string) (string, error) {
	if name == "" {
		return "", nil
	}
	if id, ok := p.ids[kind+"/"+name]; ok {
		return id, nil
	}
	if stored != "" {
		return stored, nil
	}
	return "", invalid(kind, fmt.Sprintf("there is no %s %q", kind, name))
}

// seal encrypts a secret, or keeps the stored seal of the same text.
func (p *planner) seal(text, kind, id string, now *resource.Sealed) (*resource.Sealed, error) {
	if text == "" {
		return nil, nil
	}
	sealed, err := p.cfg.Seal(text, kind, id, "api_key")
	if err != nil {
		return nil, fmt.Errorf("seal api_key: %w", err)
	}
	if now != nil && now.DEK == sealed.DEK && now.Fingerprint == sealed.Fingerprint {
		return now, nil
	}
	return sealed, nil
}

func (p *planner) windows(kind, id string, inline []resource.Terms, shared *resource.Terms) ([]fsm.OpenWindow, error) {
	if shared != nil {
		inline = append(slices.Clip(inline), *shared)
	}
	return openWindows(kind, id, inline, p.cfg.Now())
}
