package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/spend"
	"github.com/conclave-llm/conclave/ledger/evidence"
)

type (
	caseInput struct {
		ID string `path:"id" doc:"request id, as x-request-id has it"`
	}
	caseOutput struct {
		Body json.RawMessage // an evidence.Case, whose records have the names of others in the document
	}
)

func (s *Server) registerCase() {
	register(s, "export-case", http.MethodGet, "/requests/{id}/case",
		"A request, and the state that decides about it: what conclave explain --replay --file takes, without prompts and secrets", s.exportCase)
}

// exportCase gives what it takes to decide a request again without a node.
func (s *Server) exportCase(ctx context.Context, in *caseInput) (*caseOutput, error) {
	q, err := s.spend.Rows(callerOf(ctx), spend.RowParams{RequestID: in.ID, Limit: 100})
	if err != nil {
		return nil, s.problem(err)
	}
	page, missing, err := s.cfg.Requests.Rows(ctx, q)
	if err != nil {
		return nil, s.problem(err)
	}
	c := &evidence.Case{}
	for i := range page.Rows {
		r := &page.Rows[i]
		if r.Adjusts != 0 {
			continue
		}
		receipt, err := r.Explain()
		if err != nil {
			return nil, s.problem(fmt.Errorf("read receipt of %q: %w", in.ID, err))
		}
		c.Requests = append(c.Requests, evidence.Request{Row: *r, Receipt: receipt})
	}
	if len(c.Requests) == 0 {
		return nil, s.problem(notFound(in.ID, missing))
	}
	if err := s.noteExport(ctx, callerOf(ctx), "request", in.ID); err != nil {
		return nil, s.problem(err)
	}
	c.State = evidence.StateOf(s.cfg.State.Catalog(), s.cfg.State, c.Requests)
	b, err := json.Marshal(c)
	if err != nil {
		return nil, s.problem(fmt.Errorf("write case of %q: %w", in.ID, err))
	}
	return &caseOutput{b}, nil
}
