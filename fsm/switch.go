package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// maxSwitches bounds the plugins of one rollout: their manifests lie in the identity of the cluster.
const maxSwitches = 16

// SwitchPlugins puts the plugins of a rollout's bundle in the place of those that are registered
// under their names, once every node runs the program. What was before is kept in the rollout, for
// it to be put back if the rollout goes back. Plugins that are not registered are passed over.
type SwitchPlugins struct {
	ID   string `json:"id"`
	Read uint64 `json:"read"` // Rev that the leader saw
}

// Apply implements Command.
func (c SwitchPlugins) Apply(tx *Tx) error {
	info, r, err := tx.rollout(c.ID)
	if err != nil {
		return err
	}
	if r.Rev != c.Read {
		return fmt.Errorf("the rollout has changed: %w", resource.ErrConflict)
	}
	if r.State != memory.RolloutForward || r.Switched != 0 {
		return fmt.Errorf("a rollout that is %s does not switch its plugins: %w", r.State, resource.ErrRefused)
	}
	for i := range r.Switches {
		if err := tx.switchPlugin(r, &r.Switches[i]); err != nil {
			return err
		}
	}
	r.Switched = tx.Now
	r.Rev++
	tx.putCluster(info)
	tx.note("rollout", r.ID, r.Version, 0, nil, nil)
	return nil
}

// switchPlugin replaces the record of one plugin.
func (tx *Tx) switchPlugin(r *Rollout, s *memory.PluginSwitch) error {
	old, version, ok := tx.pluginNamed(s.Name)
	if !ok || old.Manifest == s.Manifest && old.Signature == s.Signature {
		return nil
	}
	before := *old
	next := &resource.Plugin{Meta: old.Meta, Name: s.Name, Kind: s.Kind, Manifest: s.Manifest, Signature: s.Signature}
	next.UpdatedAt, next.UpdatedBy = tx.Now, r.By
	if err := tx.replacePlugin(old, next, version); err != nil {
		return fmt.Errorf("plugin %s: %w", s.Name, err)
	}
	s.Before = &before
	for _, digest := range binariesOf(&before) { // else they would be swept before the way back is closed
		if err := (ReferBlob{ID: digest, Ref: rolloutRef(r)}).Apply(tx); err != nil && !errors.Is(err, resource.ErrNotFound) {
			return fmt.Errorf("plugin %s: %w", s.Name, err)
		}
	}
	return nil
}

// restorePlugins puts back what SwitchPlugins replaced, but for records that have been written since.
func (tx *Tx) restorePlugins(r *Rollout) error {
	for i := range r.Switches {
		s := &r.Switches[i]
		if s.Before == nil {
			continue
		}
		now, version, ok := tx.pluginNamed(s.Name)
		if ok && now.ID == s.Before.ID && now.Manifest == s.Manifest && now.Signature == s.Signature && now.Owner == s.Before.Owner {
			back := *s.Before
			back.UpdatedAt, back.UpdatedBy = tx.Now, actorName(tx.Actor)
			if err := tx.replacePlugin(now, &back, version); err != nil {
				return fmt.Errorf("put plugin %s back: %w", s.Name, err)
			}
		}
	}
	tx.closeWayBack(r)
	r.Switched = 0
	return nil
}

// closeWayBack gives up what the plugins of a rollout were before.
func (tx *Tx) closeWayBack(r *Rollout) {
	for i := range r.Switches {
		for _, digest := range binariesOf(r.Switches[i].Before) {
			tx.dropRef(digest, rolloutRef(r))
		}
		r.Switches[i].Before = nil
	}
}

func (tx *Tx) replacePlugin(old, next *resource.Plugin, version uint64) error {
	e, err := codec.Encode(*next)
	if err != nil {
		overlay.Fail(err)
	}
	if _, err := putRecord[resource.Plugin](tx, store.Plugins, e, version); err != nil {
		return err
	}
	return tx.moveBinaries(old, next)
}

// pluginNamed finds a plugin's record and its version.
func (tx *Tx) pluginNamed(name string) (*resource.Plugin, uint64, bool) {
	id, ok := tx.named(store.Plugins, name)
	if !ok {
		return nil, 0, false
	}
	p, f, ok := load[resource.Plugin](tx, store.Plugins, id)
	return p, f.Version, ok
}

// binariesOf are the digests of the binaries of an uploaded plugin.
func binariesOf(p *resource.Plugin) []string {
	if m := p.Bundle(); m != nil {
		return m.Digests()
	}
	return nil
}

// rolloutRef is how blobs name the rollout that may need them again.
func rolloutRef(r *Rollout) string { return "rollout/" + r.ID }

// checkSwitches refuses plugins that could not be registered.
func checkSwitches(all []memory.PluginSwitch) error {
	if len(all) > maxSwitches {
		return &resource.Invalid{Field: "switches", Reason: fmt.Sprintf("are more than %d plugins", maxSwitches)}
	}
	var names []string
	for i := range all {
		p := &resource.Plugin{Name: all[i].Name, Kind: all[i].Kind, Manifest: all[i].Manifest, Signature: all[i].Signature}
		if p.Manifest == "" {
			return &resource.Invalid{Field: "switches", Reason: "a plugin of a bundle has a manifest"}
		}
		if err := p.Validate(); err != nil {
			return fmt.Errorf("plugin %s of the bundle: %w", p.Name, err)
		}
		if slices.Contains(names, p.Name) {
			return &resource.Invalid{Field: "switches", Reason: fmt.Sprintf("plugin %s is there twice", p.Name)}
		}
		names = append(names, p.Name)
	}
	return nil
}
