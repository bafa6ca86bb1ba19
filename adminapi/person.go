package adminapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/person"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// exportedPerson is the action of audit entries about exports of what refers to a person.
const exportedPerson = "export_person"

type (
	personInput struct {
		ID string `path:"id" doc:"of the person; of a user also his e-mail address"`
	}
	erasureInput struct {
		ID string `path:"id" doc:"of the erasure"`
	}
	erasureOutput struct {
		Written
		Body *resource.Erasure
	}
	erasuresOutput struct {
		Body struct {
			Items []*resource.Erasure `json:"items"`
		}
	}
)

// registerPersons registers what is done about one person.
func (s *Server) registerPersons() {
	s.persons = person.New(person.Config{State: s.cfg.State, Store: s.cfg.Store, Requests: s.cfg.Requests, Turns: s.cfg.Turns, Artifacts: s.cfg.Artifacts, Leaving: s.rs.Leaving})
	for _, kind := range []string{resource.HolderCustomer, resource.HolderUser} {
		register(s, "erase-"+kind, http.MethodPost, "/"+kind+"s/{id}/erase", "Forget a person on every node; amounts stay under a pseudonym",
			func(ctx context.Context, in *personInput) (*erasureOutput, error) {
				e, w, err := s.persons.Erase(ctx, callerOf(ctx), kind, in.ID)
				if err != nil {
					return nil, s.problem(err)
				}
				return &erasureOutput{Written: headersOf(w), Body: e}, nil
			})
		s.registerPersonExport(kind)
	}
	register(s, "list-erasures", http.MethodGet, "/erasures", "Orders to forget people, and their receipts", func(context.Context, *struct{}) (*erasuresOutput, error) {
		out := &erasuresOutput{}
		if out.Body.Items = s.persons.Receipts(); out.Body.Items == nil {
			out.Body.Items = []*resource.Erasure{}
		}
		return out, nil
	})
	register(s, "get-erasure", http.MethodGet, "/erasures/{id}", "What became of an order to forget somebody: a node whose stage is not 3 was not reached",
		func(_ context.Context, in *erasureInput) (*erasureOutput, error) {
			e, err := s.persons.Receipt(in.ID)
			if err != nil {
				return nil, s.problem(err)
			}
			return &erasureOutput{Body: e}, nil
		})
}

func (s *Server) registerPersonExport(kind string) {
	path := Prefix + "/" + kind + "s/{id}/export"
	s.api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "export-" + kind, Method: http.MethodGet, Path: path, Summary: "Everything that refers to a person, as JSON lines",
		Parameters: []*huma.Param{
			{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "partial", In: "query", Description: "go on without nodes that give no answer, and name them in the last line", Schema: &huma.Schema{Type: huma.TypeBoolean}},
		},
		Security:  []map[string][]string{{"bearer": {}}},
		Responses: map[string]*huma.Response{"200": {Description: "the export", Content: map[string]*huma.MediaType{"application/x-ndjson": {Schema: &huma.Schema{}}}}},
	})
	s.handle(Route{ID: "export-" + kind, Method: http.MethodGet, Pattern: path}, wire.Handler(func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		ctx, cancel := context.WithTimeout(r.Context(), exportWait)
		defer cancel()
		if err := s.cfg.Auditor.Record(ctx, event(by, exportedPerson, kind, r.PathValue("id"))); err != nil {
			return err
		}
		return s.persons.Export(w, r, kind, r.PathValue("id"))
	}), s.writeProblem)
}
