package adminapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/hclfile"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/shape"
)

// configConfirm bounds how long an applied file waits for all members.
const configConfirm = 250 * time.Millisecond

type (
	configInput struct {
		Prune    bool   `query:"prune" doc:"delete what the file owned and names no more"`
		TakeOver bool   `query:"take_over" doc:"records of the API that the file names become the file's"`
		Expect   string `query:"expect" doc:"digest of the plan that was agreed to; another is refused with 409"`
		RawBody  []byte
	}
	configExportInput struct {
		Format string `query:"format" enum:"hcl,json" default:"hcl" doc:"hcl, or json as plan and apply take it"`
	}
	configOwnInput struct {
		Body struct {
			Kind string `json:"kind" doc:"key, team, model, …"`
			ID   string `json:"id" doc:"id or name; of a member TEAM/USER"`
		}
	}
)

// registerConfig registers what is done with configuration files.
func (s *Server) registerConfig() {
	body := func(op huma.Operation) {
		any := &huma.Schema{Type: huma.TypeObject, Description: "the records by kind, as an export in json has them"}
		s.api.OpenAPI().Paths[op.Path].Post.RequestBody = &huma.RequestBody{
			Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: any}},
		}
	}
	plan := operation("plan-config", http.MethodPost, "/config/plan", "What a configuration file would change")
	plan.MaxBodyBytes, plan.BodyReadTimeout = maxBulkBody, bulkRead
	registerWith(s, plan, func(ctx context.Context, in *configInput) (*bodyOutput[client.ConfigPlan], error) {
		f, err := parseConfig(in.RawBody)
		if err != nil {
			return nil, s.problem(err)
		}
		p, err := declare.NewPlan(s.declareConfig(ctx, in), f)
		if err != nil {
			return nil, s.configProblem(err)
		}
		return &bodyOutput[client.ConfigPlan]{planOf(p.Changes, p.Digest)}, nil
	})
	body(plan)
	apply := operation("apply-config", http.MethodPost, "/config/apply", "Bring a configuration file into the cluster, all of it or nothing")
	apply.MaxBodyBytes, apply.BodyReadTimeout = maxBulkBody, bulkRead
	registerWith(s, apply, func(ctx context.Context, in *configInput) (*writtenOutput[client.ConfigPlan], error) {
		f, err := parseConfig(in.RawBody)
		if err != nil {
			return nil, s.problem(err)
		}
		p, res, err := declare.ApplyAs(ctx, s.cfg.Store, s.declareConfig(ctx, in), callerOf(ctx), f)
		if err != nil {
			return nil, s.configProblem(err)
		}
		var w records.Written
		if len(p.Changes) > 0 {
			w = records.WrittenAt(res)
			w.Version, w.Receipt = 0, s.cfg.Cluster.Confirm(ctx, res.Index, configConfirm)
		}
		return &writtenOutput[client.ConfigPlan]{headersOf(w), planOf(p.Changes, p.Digest)}, nil
	})
	body(apply)
	register(s, "export-config", http.MethodGet, "/config/export", "The running configuration as a file, secrets as fingerprints", s.exportConfig)
	register(s, "own-config", http.MethodPost, "/config/own", "Make a record the API's that belongs to the configuration file",
		func(ctx context.Context, in *configOwnInput) (*doneOutput, error) {
			return s.done(s.rs.TakeOver(ctx, callerOf(ctx), in.Body.Kind, in.Body.ID))
		})
}

func (s *Server) exportConfig(ctx context.Context, in *configExportInput) (*bodyOutput[client.ConfigExport], error) {
	wait, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	if err := s.cfg.Auditor.Record(wait, event(callerOf(ctx), exported, "config", in.Format)); err != nil {
		return nil, s.problem(err)
	}
	f := declare.Export(s.cfg.State)
	var out client.ConfigExport
	var err error
	if in.Format == "json" {
		out.File, err = json.Marshal(f)
	} else {
		var text strings.Builder
		err = hclfile.Write(&text, f.ToConfig())
		out.HCL = text.String()
	}
	if err != nil {
		return nil, s.problem(err)
	}
	return &bodyOutput[client.ConfigExport]{out}, nil
}

func (s *Server) declareConfig(ctx context.Context, in *configInput) declare.Config {
	by := callerOf(ctx)
	return declare.Config{
		State: s.cfg.State, Seal: s.cfg.Seal, Now: s.cfg.Now, Files: s.files(),
		MayGrant: func(before, after *resource.Key) error { return mayGrant(by, before, after) },
		MayRaise: func(before, after resource.Record) error { return s.rs.CheckIncreases(by, before, after) }, Leaving: s.rs.Leaving,
		Options: declare.Options{Keep: !in.Prune, TakeOver: in.TakeOver, Expect: in.Expect},
	}
}

// configProblem is problem with what to do about the owner of a record.
func (s *Server) configProblem(err error) error {
	p := *s.problem(err)
	if errors.Is(err, resource.ErrOwner) {
		p.Hint = "take it out of the file, make it the same there, or apply with take_over (--take-over)"
	}
	return &p
}

// parseConfig reads the records of a file.
func parseConfig(body []byte) (f declare.File, err error) {
	if err := shape.ReadKnown(body, &f); err != nil {
		e, _ := errors.AsType[*shape.Error](err) // of no other type
		return f, invalid(cmp.Or(e.Field, "body"), e.Reason)
	}
	return f, nil
}

func planOf(changes []client.ConfigChange, digest string) client.ConfigPlan {
	if changes == nil {
		changes = []client.ConfigChange{}
	}
	return client.ConfigPlan{Changes: changes, Digest: digest}
}
