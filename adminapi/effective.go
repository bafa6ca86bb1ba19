package adminapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

type (
	effectiveInput struct {
		RefInput
		Model    string   `query:"model" doc:"explain requests for this model"`
		Customer string   `query:"customer" doc:"explain requests of this end user"`
		Tags     []string `query:"tags" doc:"explain requests with these tags"`
	}
	customerEffectiveInput struct {
		RefInput
		Model string   `query:"model" doc:"explain requests for this model"`
		Tags  []string `query:"tags" doc:"explain requests with these tags"`
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
	register(s, "explain-customer", http.MethodGet, "/customers/{id}/effective", "What an end user may do now, with the budget that he is given if he has none of his own, and what refuses his requests",
		func(ctx context.Context, in *customerEffectiveInput) (*effectiveOutput, error) {
			id := in.Ref // of one who may have no record
			if c, err := s.rs.Customers.One(callerOf(ctx), id); err == nil {
				id = c.ID
			} else if !errors.Is(err, resource.ErrNotFound) {
				return nil, s.problem(err)
			}
			return &effectiveOutput{Body: s.rs.EffectiveCustomer(id, records.Asked{Model: in.Model, Tags: in.Tags})}, nil
		})
}
