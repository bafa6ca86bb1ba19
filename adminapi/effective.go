package adminapi

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
)

type (
	effectiveInput struct {
		RefInput
		Model    string   `query:"model" doc:"explain requests for this model"`
		Customer string   `query:"customer" doc:"explain requests of this end user"`
		Tags     []string `query:"tags" doc:"explain requests with these tags"`
	}
	effectiveOutput struct {
		Body *client.Effective
	}
)

func (s *Server) registerEffective() {
	register(s, "explain-key", http.MethodGet, "/keys/{id}/effective", "What a key may do now, which level binds, and what refuses requests",
		func(ctx context.Context, in *effectiveInput) (*effectiveOutput, error) {
			k, err := s.rs.Keys.One(callerOf(ctx), in.Ref)
			if err != nil {
				return nil, s.problem(err)
			}
			return &effectiveOutput{Body: s.rs.Effective(k, records.Asked{Model: in.Model, Customer: in.Customer, Tags: in.Tags})}, nil
		})
}
