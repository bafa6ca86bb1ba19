package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/conclave-llm/conclave/bundle"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource"
)

// Plugins is what the rollout needs of the cluster's plugins.
type Plugins interface {
	// Accept returns an error if the cluster does not take the plugin: the setting plugin_trust
	// refuses its publisher, or a file owns the record of its name.
	Accept(p *resource.Plugin) error
	// Running returns an error that names a node on which a process of one of the plugins is not up with
	// the binary that the plugin has for it.
	Running(ctx context.Context, names []string) error
}

// readPlugin reads the plugin's own bundle that is a file of the bundle.
func readPlugin(f bundle.File, body io.Reader) (*pack.Bundle, *resource.Plugin, error) {
	bad := func(err error) error {
		return &resource.Invalid{Field: "bundle", Reason: fmt.Sprintf("%s: %v", f.Path, err)}
	}
	if f.Size > pack.MaxBundle {
		return nil, nil, bad(fmt.Errorf("a plugin's bundle has %d bytes at most", pack.MaxBundle))
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, nil, err
	}
	b, err := pack.Read(text)
	if err != nil {
		return nil, nil, bad(err)
	}
	if b.Manifest.Name != f.Name {
		return nil, nil, bad(fmt.Errorf("it is of the plugin %q, and the manifest says %q", b.Manifest.Name, f.Name))
	}
	p := &resource.Plugin{Name: b.Manifest.Name, Kind: b.Manifest.Kind, Manifest: b.Text, Signature: b.Signature}
	if err := p.Validate(); err != nil {
		return nil, nil, bad(err)
	}
	return b, p, nil
}

// checkFiles reads all files to the end, and asks whether the cluster takes the plugins.
func (r *Runner) checkFiles(b *bundle.Reader) error {
	for {
		f, body, err := b.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if f.Kind == bundle.KindPlugin {
			_, p, err := readPlugin(f, body)
			if err == nil {
				err = r.cfg.Plugins.Accept(p)
			}
			if err != nil {
				return fmt.Errorf("plugin %s of the bundle: %w", f.Name, err)
			}
			continue
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
	}
}

// keepPlugin stores the binaries of a plugin as blobs whose digests are the plugin's.
func (r *Runner) keepPlugin(ctx context.Context, o Order, to Storage, f bundle.File, body io.Reader, out *fsm.Rollout) error {
	b, p, err := readPlugin(f, body)
	if err != nil {
		return err
	}
	c := memory.Content{Name: f.Name, SHA256: f.SHA256, Size: f.Size}
	for _, digest := range b.Manifest.Digests() {
		rec := resource.Blob{
			Class: resource.BlobConfiguration, Kind: "plugin", ExpiresAt: resource.At(r.cfg.Now().Add(blobLife)),
			Name: fmt.Sprintf("%s %s of the bundle %s", p.Name, b.Manifest.Version, out.Version),
		}
		kept, err := to.Put(ctx, o.By, o.RequestID, rec, b.Bodies[digest])
		if err != nil {
			return err
		}
		c.Parts = append(c.Parts, kept.ID)
	}
	out.Plugins = append(out.Plugins, c)
	out.Switches = append(out.Switches, memory.PluginSwitch{Name: p.Name, Kind: p.Kind, Manifest: p.Manifest, Signature: p.Signature})
	return nil
}

// leadPlugins switches the plugins of the bundle, once every node runs the program, and waits until
// they have been up everywhere for long enough. It returns true when they have. All goes back if they
// are not taken, or not up for as long as a node may be ill.
func (r *Runner) leadPlugins(ctx context.Context, now *fsm.Rollout) (bool, error) {
	if len(now.Switches) == 0 {
		return true, nil
	}
	if now.Switched == 0 {
		return false, r.switchPlugins(ctx, now)
	}
	var names []string
	for i := range now.Switches {
		if now.Switches[i].Before != nil {
			names = append(names, now.Switches[i].Name)
		}
	}
	if len(names) == 0 {
		return true, nil
	}
	if err := r.cfg.Plugins.Running(ctx, names); err != nil {
		return false, r.ailing(ctx, now, err)
	}
	r.ails = 0
	if r.well == 0 {
		r.well = max(1, r.cfg.Boot())
	}
	return r.cfg.Boot()-r.well >= time.Duration(now.Hold), nil
}

func (r *Runner) switchPlugins(ctx context.Context, now *fsm.Rollout) error {
	r.well, r.ails = 0, 0
	for i := range now.Switches {
		s := &now.Switches[i]
		err := r.cfg.Plugins.Accept(&resource.Plugin{Name: s.Name, Kind: s.Kind, Manifest: s.Manifest, Signature: s.Signature})
		if err != nil {
			return r.advance(ctx, now, fsm.AdvanceRollout{State: memory.RolloutBackward, Reason: fmt.Sprintf("plugin %s: %v", s.Name, err)})
		}
	}
	if _, err := r.cfg.Cluster.Propose(ctx, r.self(), "", fsm.SwitchPlugins{ID: now.ID, Read: now.Rev}); err != nil {
		return fmt.Errorf("switch plugins: %w", err)
	}
	r.log.Info("the plugins of the bundle are switched", "version", now.Version, "plugins", len(now.Switches))
	return nil
}

// ailing turns the rollout back when plugins have not been up for too long.
func (r *Runner) ailing(ctx context.Context, now *fsm.Rollout, why error) error {
	r.well = 0
	if r.ails == 0 {
		r.ails = max(1, r.cfg.Boot())
	}
	if r.cfg.Boot()-r.ails < time.Duration(now.Health) {
		return nil
	}
	r.ails = 0
	return r.advance(ctx, now, fsm.AdvanceRollout{State: memory.RolloutBackward, Reason: why.Error()})
}
