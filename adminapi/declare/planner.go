package declare

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

// planner collects commands: first all puts, so that a reference is dropped before what it
// referred to is deleted.
type planner struct {
	cfg     Config
	cat     *resource.Catalog
	at      map[string]string // "kind name" → place in the file
	cmds    []fsm.Command
	changes []Change
	reads   []uint64          // versions of what the changes change
	refused []error           // records of the API that the file says otherwise
	kept    map[string]bool   // "kind/id" that the file declares
	ids     map[string]string // "kind/name" of what the file declares → id
	names   map[string]string // and back: id → name
}

// plan plans one record: now is what is stored under its name, nil if nothing is. fill
// completes next once its id is known.
func plan[R any, P records.Of[R]](
	p *planner, kind, prefix, name string, next, now P, fill func() error, put func(P, uint64) (fsm.Command, error),
) error {
	at := resource.At(p.cfg.Now())
	h := next.Head()
	if now == nil {
		id := h.ID
		if prefix != "" {
			id = resource.NewID(prefix)
		}
		*h = resource.Meta{ID: id, Owner: resource.OwnerFile, CreatedAt: at, CreatedBy: "file", UpdatedAt: at, UpdatedBy: "file"}
	} else {
		*h = *now.Head()
	}
	p.kept[kind+"/"+h.ID], p.ids[kind+"/"+name], p.names[h.ID] = true, h.ID, name
	if fill != nil {
		if err := fill(); err != nil {
			return p.wrong(kind, name, err)
		}
	}
	next.Canonicalize()
	if p.cfg.MayRaise != nil {
		if err := p.cfg.MayRaise(record(now), next); err != nil {
			return p.wrong(kind, name, err)
		}
	}
	if err := next.Validate(); err != nil {
		return p.wrong(kind, name, err)
	}
	change, err := p.compare(kind, name, next, record(now))
	if err != nil || change == nil {
		return err
	}
	read := h.Version
	h.Owner, h.UpdatedAt, h.UpdatedBy = resource.OwnerFile, at, "file"
	cmd, err := put(next, read)
	if err != nil {
		return p.wrong(kind, name, err)
	}
	if change.TakeOver {
		p.cmds = append(p.cmds, fsm.TakeOver{Kind: storedKind(kind), ID: h.ID})
	}
	p.cmds = append(p.cmds, cmd)
	p.changes, p.reads = append(p.changes, *change), append(p.reads, read)
	return nil
}

// digest tells plans apart: by what they do to which version. What comes of that is in the
// file.
func (p *planner) digest() (string, error) {
	does := make([]Change, len(p.changes))
	for i, c := range p.changes {
		c.Fields = nil
		does[i] = c
	}
	b, err := json.Marshal(map[string]any{"changes": does, "reads": p.reads})
	if err != nil {
		return "", fmt.Errorf("encode plan: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12]), nil
}

// record is a record that may be nil.
func record[R any, P records.Of[R]](r P) resource.Record {
	if r == nil {
		return nil
	}
	return r
}

// storedKind is what the state machine calls a kind.
func storedKind(kind string) string {
	if kind == "member" {
		return "team_member"
	}
	return kind
}

// compare says what a put of next changes, nil for nothing.
func (p *planner) compare(kind, name string, next, now resource.Record) (*Change, error) {
	c := &Change{Action: "create", Kind: kind, Name: name}
	var before map[string]any
	if now != nil {
		c.Action, c.ID = "update", now.Head().ID
		c.TakeOver = p.cfg.TakeOver && now.Head().Owner != resource.OwnerFile
		var err error
		if before, err = p.shown(now); err != nil {
			return nil, p.wrong(kind, name, err)
		}
	}
	after, err := p.shown(next)
	if err != nil {
		return nil, p.wrong(kind, name, err)
	}
	c.Fields = differences(before, after)
	switch {
	case now != nil && len(c.Fields) == 0 && !c.TakeOver:
		return nil, nil
	case now != nil && now.Head().Owner != resource.OwnerFile && !c.TakeOver:
		p.refused = append(p.refused, p.wrong(kind, name, fmt.Errorf("it belongs to the admin API, where it has another %s: %w", fieldNames(c.Fields), resource.ErrOwner)))
		return nil, nil
	}
	return c, nil
}

// wrong says which record an error is about, and where it stands.
func (p *planner) wrong(kind, name string, err error) error {
	if at := p.at[kind+" "+name]; at != "" {
		return fmt.Errorf("%s: %s %q: %w", at, kind, name, err)
	}
	return fmt.Errorf("%s %q: %w", kind, name, err)
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

// seal encrypts a secret, or keeps the stored seal of the same text or of the fingerprint.
func (p *planner) seal(text, print, kind, id, field string, now *resource.Sealed) (*resource.Sealed, error) {
	if print != "" {
		if now == nil || now.Fingerprint != print {
			return nil, &resource.Invalid{Field: field, Reason: fmt.Sprintf("sealed(%q) stands for a secret that is not stored here; give the secret with env or file", print)}
		}
		return now, nil
	}
	if text == "" {
		return nil, nil
	}
	sealed, err := p.cfg.Seal(text, kind, id, field)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", field, err)
	}
	if now != nil && now.DEK == sealed.DEK && now.Fingerprint == sealed.Fingerprint {
		return now, nil
	}
	return sealed, nil
}

// sealNamed is seal of secrets by name.
func (p *planner) sealNamed(given map[string]Secret, kind, id string, now map[string]*resource.Sealed) (map[string]*resource.Sealed, error) {
	if len(given) == 0 {
		return nil, nil
	}
	out := make(map[string]*resource.Sealed, len(given))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		sealed, err := p.seal(given[name].Text, given[name].Sealed, kind, id, name, now[name])
		if err != nil {
			return nil, records.Within("secrets", err)
		}
		if sealed == nil {
			return nil, &resource.Invalid{Field: "secrets." + name, Reason: "is empty; leave it out if there is none"}
		}
		out[name] = sealed
	}
	return out, nil
}

// sealConfig is sealNamed of the secrets of a plugin's configuration. What the schema of the plugin marks
// as secret and stands in the configuration is taken out of it and sealed, too.
func (p *planner) sealConfig(
	d *File, kind, id, plugin string, config json.RawMessage, given map[string]Secret, now map[string]*resource.Sealed,
) (json.RawMessage, map[string]*resource.Sealed, error) {
	config, marked, err := schema.TakeSecrets(p.registered(d), kind, plugin, config)
	if err != nil {
		return nil, nil, err
	}
	if len(marked) > 0 {
		all := maps.Clone(given)
		if all == nil {
			all = make(map[string]Secret, len(marked))
		}
		for name, text := range marked {
			if _, twice := all[name]; twice {
				return nil, nil, &resource.Invalid{Field: "secrets." + name, Reason: "is given in config too"}
			}
			all[name] = Secret{Text: text}
		}
		given = all
	}
	sealed, err := p.sealNamed(given, kind, id, now)
	return config, sealed, err
}

// anySealed says whether one of the secrets stands for a stored one.
func anySealed(all map[string]Secret) bool {
	for _, s := range all {
		if s.Sealed != "" {
			return true
		}
	}
	return false
}
