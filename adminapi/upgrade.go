package adminapi

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// UpgradeOrder is a signed bundle that is to be rolled out.
type UpgradeOrder struct {
	By     records.Caller
	Body   io.Reader
	Health time.Duration // for which a node may be ill before all goes back; 0: the default
	Hold   time.Duration // for which a node must be well before the next one's turn; 0: the default
	DryRun bool          // check only
}

// Upgrader brings programs to the nodes.
type Upgrader interface {
	// Start checks a bundle and begins to roll it out.
	Start(ctx context.Context, o UpgradeOrder) (client.Rollout, error)
	// Rollback has every node go back to what it ran before the last rollout; with client.Check it says whether it would.
	Rollback(ctx context.Context, by records.Caller, reason string, how client.Run) error
}

type (
	finaliseInput struct {
		DryRun
		Body struct {
			Version uint32 `json:"version,omitempty" doc:"default: the newest that every node runs"`
		}
	}
	// UpgradeParams are the parameters of a rollout. They are exported because huma looks into
	// embedded fields only if they are.
	UpgradeParams struct {
		DryRun
		Health string `query:"health" doc:"how long a node may be ill with the new program before all nodes go back: 60s (default) to 1h"`
		Hold   string `query:"hold" doc:"how long a node must be well before the next one's turn; default: 5s"`
	}
	startUpgradeInput struct {
		UpgradeParams
		body io.Reader
	}
	rollbackInput struct {
		DryRun
		Body struct {
			Reason string `json:"reason,omitempty" maxLength:"256" doc:"why; it is shown"`
		}
	}
)

// Resolve implements huma.Resolver: the body is too large to be in memory.
func (in *startUpgradeInput) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	return nil
}

func (in *startUpgradeInput) order(by records.Caller) (UpgradeOrder, error) {
	o := UpgradeOrder{By: by, Body: in.body, DryRun: in.DryRun.DryRun}
	for _, f := range []struct {
		name, text string
		to         *time.Duration
	}{{"health", in.Health, &o.Health}, {"hold", in.Hold, &o.Hold}} {
		if f.text == "" {
			continue
		}
		d, err := records.ParseDuration(f.text)
		if err != nil || d <= 0 {
			return o, &resource.Invalid{Field: f.name, Reason: "is not a duration such as 60s"}
		}
		*f.to = d
	}
	return o, nil
}

// registerUpgrade registers what is done with the program that the nodes run.
func (s *Server) registerUpgrade() {
	up := s.cfg.Upgrader
	if up == nil {
		up = noUpgrader{}
	}
	m := s.membership()
	const path = "/cluster/upgrade"
	register(s, "get-upgrade", http.MethodGet, path, "The cluster's version, those that its nodes run, and the last rollout",
		func(context.Context, *emptyInput) (*bodyOutput[client.Upgrade], error) {
			return body(s, m.Versions(), nil)
		})
	register(s, "finalize-upgrade", http.MethodPost, path, "Raise the cluster's version to what all nodes run; there is no way back",
		func(ctx context.Context, in *finaliseInput) (*bodyOutput[client.Upgrade], error) {
			out, err := m.Upgrade(ctx, callerOf(ctx), in.Body.Version, in.DryRun.DryRun)
			return body(s, out, err)
		})
	start := operation("start-upgrade", http.MethodPost, path+"/start", "Roll the signed bundle that is sent out to every node, one after the other")
	start.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaSnapshot: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	registerWith(s, start, func(ctx context.Context, in *startUpgradeInput) (*bodyOutput[client.Rollout], error) {
		o, err := in.order(callerOf(ctx))
		if err != nil {
			return nil, s.problem(err)
		}
		out, err := up.Start(ctx, o)
		out.DryRun = o.DryRun
		return body(s, out, err)
	})
	register(s, "rollback-upgrade", http.MethodPost, path+"/rollback", "Have every node go back to the program that it ran before, one after the other",
		func(ctx context.Context, in *rollbackInput) (*bodyOutput[client.Upgrade], error) {
			err := up.Rollback(ctx, callerOf(ctx), in.Body.Reason, client.Run(in.DryRun.DryRun))
			if err != nil || !in.DryRun.DryRun {
				return body(s, m.Versions(), err)
			}
			return body(s, m.RolledBack(callerOf(ctx), in.Body.Reason), nil)
		})
}

// noUpgrader stands for a process that cannot change its program.
type noUpgrader struct{}

var errNoUpgrader = &llm.Error{Kind: llm.Unavailable, Code: "upgrade_unavailable", Message: "This process cannot change its program: only nodes that `conclave serve` runs can."}

func (noUpgrader) Start(context.Context, UpgradeOrder) (client.Rollout, error) {
	return client.Rollout{}, errNoUpgrader
}

func (noUpgrader) Rollback(context.Context, records.Caller, string, client.Run) error {
	return errNoUpgrader
}
