package membership

import (
	"cmp"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

// RolloutView is a rollout as people see it: with the names of the nodes that the catalog has.
func RolloutView(r *fsm.Rollout, cat *resource.Catalog) *client.Rollout {
	out := &client.Rollout{
		ID: r.ID, State: r.State, Version: r.Version, Bundle: r.Bundle, Signer: r.Signer, Reason: r.Reason,
		Began: r.Began, Stepped: r.Stepped, By: r.By, Health: time.Duration(r.Health).String(), Hold: time.Duration(r.Hold).String(),
	}
	for _, p := range r.Plugins {
		out.Plugins = append(out.Plugins, pluginView(r, p))
	}
	for _, m := range cat.Tables().Members {
		if m.Removed {
			continue
		}
		if m.ID == r.Turn {
			out.Turn = m.Name
		}
		n := r.Node(m.ID)
		out.Nodes = append(out.Nodes, client.RolloutNode{ID: m.ID, Name: m.Name, Step: n.Step, Since: n.Since, Reason: n.Reason})
	}
	return out
}

// RolledBack tells what the nodes would do if they were to go back to what they ran before.
func (a *API) RolledBack(by records.Caller, reason string) client.Upgrade {
	out := a.Versions()
	out.DryRun = true
	if out.Rollout != nil {
		out.Rollout.State, out.Rollout.Turn = memory.RolloutBackward, ""
		out.Rollout.Reason = cmp.Or(reason, "ordered by "+by.Who.Actor())
	}
	return out
}

func pluginView(r *fsm.Rollout, p memory.Content) client.RolloutFile {
	out := client.RolloutFile{Name: p.Name, SHA256: p.SHA256, Blobs: p.Parts}
	for i := range r.Switches {
		if s := &r.Switches[i]; s.Name == p.Name {
			if m := (&resource.Plugin{Manifest: s.Manifest}).Bundle(); m != nil {
				out.Version = m.Version
			}
			out.Switched = s.Before != nil
		}
	}
	return out
}
