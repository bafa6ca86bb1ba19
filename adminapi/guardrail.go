package adminapi

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/llm"
)

// Guardrails asks the guardrails that run on this node.
type Guardrails interface {
	// Try asks the guardrail with the name about a text. What goes wrong at the guardrail is told in the
	// answer.
	Try(ctx context.Context, name string, t client.GuardrailTry) (client.GuardrailTried, error)
}

type tryInput struct {
	ID   string `path:"id" doc:"id or name"`
	Body client.GuardrailTry
}

// registerGuardrails registers what guardrails are asked beside requests.
func (s *Server) registerGuardrails() {
	register(s, "try-guardrail", http.MethodPost, "/guardrails/{id}/try", "Ask a guardrail about a text, without a request to a model",
		func(ctx context.Context, in *tryInput) (*bodyOutput[client.GuardrailTried], error) {
			g, err := s.rs.Guardrails.One(callerOf(ctx), in.ID)
			if err != nil {
				return nil, s.problem(err)
			}
			if s.cfg.Guardrails == nil {
				return nil, s.problem(&llm.Error{Kind: llm.Unavailable, Message: "No guardrail runs on this node."})
			}
			out, err := s.cfg.Guardrails.Try(ctx, g.Name, in.Body)
			if err != nil {
				return nil, s.problem(err)
			}
			return &bodyOutput[client.GuardrailTried]{out}, nil
		})
}
