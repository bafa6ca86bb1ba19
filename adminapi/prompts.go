package adminapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

type promptVersionInput struct {
	RefInput
	RawBody []byte
}

// registerPrompts registers what is done with a prompt beside reading and writing it whole.
func (s *Server) registerPrompts() {
	register(s, "add-prompt-version", http.MethodPost, "/prompts/{id}/versions", "Add a version to a prompt",
		func(ctx context.Context, in *promptVersionInput) (*recordOutput[resource.Prompt], error) {
			doc, err := records.ParseDocument(copied(in.RawBody))
			if err != nil {
				return nil, s.problem(err)
			}
			var v records.NewPromptVersion
			if err := doc.Decode(&v); err != nil {
				return nil, s.problem(err)
			}
			p, w, err := s.rs.AddPromptVersion(ctx, callerOf(ctx), in.Ref, &v)
			return answer(s, plainView[resource.Prompt], p, w, err)
		})
	what := &huma.Schema{
		Type:        huma.TypeObject,
		Description: "model, messages, parameters, defaults and note of the version, or a .prompt file as dotprompt; and the environment that gets it",
	}
	s.api.OpenAPI().Paths[Prefix+"/prompts/{id}/versions"].Post.RequestBody = &huma.RequestBody{
		Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: what}},
	}
}
