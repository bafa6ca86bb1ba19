package membership

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
)

// defaultOverlap is how long an old key is accepted for the sake of nodes that are away.
const defaultOverlap = 24 * time.Hour

// Rotate is a wish to exchange one of the cluster's own keys.
type Rotate struct {
	By        fsm.Actor
	RequestID string
	Kind      string
	Overlap   time.Duration
	DryRun    bool // check only
}

// Rotator exchanges the cluster's own keys.
type Rotator interface {
	// Rotate begins, and returns when that is replicated.
	Rotate(ctx context.Context, r Rotate) error
}

// Rotate begins to exchange a key of a kind; overlap is a duration or "".
func (a *API) Rotate(ctx context.Context, by records.Caller, kind, overlap string, dryRun bool) (client.ClusterRotation, error) {
	r := Rotate{By: by.Actor(), RequestID: by.RequestID, Kind: kind, Overlap: defaultOverlap, DryRun: dryRun}
	if overlap != "" {
		d, err := records.ParseDuration(overlap)
		if err != nil || d < 0 || d > fsm.MaxOverlap {
			return client.ClusterRotation{}, &resource.Invalid{Field: "overlap", Reason: "is not a duration up to 30d such as 24h"}
		}
		r.Overlap = d
	}
	if err := a.cfg.Rotator.Rotate(ctx, r); err != nil {
		return client.ClusterRotation{}, err
	}
	if dryRun {
		return a.begun(kind), nil
	}
	for _, one := range a.Rotations() {
		if one.Kind == kind {
			return one, nil
		}
	}
	return client.ClusterRotation{}, fmt.Errorf("rotation of %s: %w", kind, resource.ErrNotFound)
}

// begun is a rotation that has begun, as a dry run tells it: every member would have to take the first step.
func (a *API) begun(kind string) client.ClusterRotation {
	out := client.ClusterRotation{Kind: kind, Step: memory.FirstStep(kind), DryRun: true}
	for _, m := range a.cfg.State.Catalog().Tables().Members {
		if !m.Removed {
			out.Waiting = append(out.Waiting, m.Name)
		}
	}
	return out
}

// Rotations tells of the newest rotation of each kind.
func (a *API) Rotations() []client.ClusterRotation {
	out := []client.ClusterRotation{}
	info, _ := a.cfg.State.Cluster()
	members := a.cfg.State.Catalog().Tables().Members
	for _, kind := range memory.RotationKinds {
		r := info.Rotation(kind)
		if r == nil {
			continue
		}
		v := client.ClusterRotation{Kind: r.Kind, ID: r.ID, Step: r.Step, Began: r.Began, Stepped: r.Stepped, By: r.By}
		if r.Step == memory.StepOverlap {
			v.Until = r.Stepped + resource.Time(r.Overlap)
		}
		late := map[string]bool{}
		for _, id := range r.Late {
			late[id] = true
		}
		for _, m := range members {
			if m.Removed {
				continue
			}
			if !r.Took(m.ID) {
				v.Waiting = append(v.Waiting, m.Name)
			}
			if late[m.ID] {
				v.Late = append(v.Late, m.Name)
			}
		}
		out = append(out, v)
	}
	return out
}
