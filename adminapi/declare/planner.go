package declare

import (
	"encoding/json"
	"fmt"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// planner collects commands: first all puts, so that a reference is dropped before what it
// referred to is deleted.
type planner struct {
	cfg     Config
	cat     *resource.Catalog
	cmds    []fsm.Command
	changes []Change
	kept    map[string]bool   // "kind/id" that the file declares
	ids     map[string]string // "kind/name" of what the file declares → id
}

// plan plans one record: now is what is stored under its name, nil if nothing is. fill
// completes next once its id is known.
func plan[R any, P records.Of[R]](
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
	p.changes = append(p.changes, Change{Action: action, Kind: kind, Name: name, ID: h.ID})
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
	return "", &resource.Invalid{Field: kind, Reason: fmt.Sprintf("there is no %s %q", kind, name)}
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
