package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/adminapi/spend"
	"github.com/conclave-llm/conclave/ledger/reprice"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/shape"
)

// repriced is the action of audit entries about costs that were corrected.
const repriced = "reprice_ledger"

// Repricer prices the requests of all nodes anew.
type Repricer interface {
	Reprice(ctx context.Context, q reprice.Question) (reprice.Result, error)
}

type (
	repriceInput struct {
		FilterInput
		From  string `query:"from" doc:"a day (UTC), a time, or a duration such as 24h or 7d ago; default: all that is kept"`
		To    string `query:"to" doc:"likewise; a day is the end of it"`
		Price string `query:"price" required:"true" doc:"the price as JSON, in US dollars per million tokens: {\"input\": 0.2, \"output\": 0.8}"`
	}
	repriceBody struct {
		Price  resource.Price      `json:"price" doc:"in US dollars per million tokens"`
		From   string              `json:"from,omitempty" doc:"a day (UTC), a time, or a duration such as 24h or 7d ago; default: all that is kept"`
		To     string              `json:"to,omitempty" doc:"likewise; a day is the end of it"`
		Filter map[string][]string `json:"filter,omitempty" doc:"whose requests: key, team, organization, project, user, customer, tag, model, deployment, provider, endpoint, each with ids or names"`
	}
	bookInput struct {
		Body repriceBody
	}
	repriceOutput struct {
		Body reprice.Result
	}
)

func (s *Server) registerReprice() {
	register(s, "preview-reprice", http.MethodGet, "/ledger/reprice", "What requests would have cost at another price", s.previewReprice)
	register(s, "reprice-ledger", http.MethodPost, "/ledger/reprice", "Book the differences to another price as adjustments, once each", s.bookReprice)
}

func (s *Server) previewReprice(ctx context.Context, in *repriceInput) (*repriceOutput, error) {
	price, err := priceOf(in.Price)
	if err != nil {
		return nil, s.problem(err)
	}
	return s.reprice(ctx, spend.RowParams{From: in.From, To: in.To, Names: in.values(), Limit: 1}, reprice.Question{Price: price})
}

// priceOf reads a price as strictly as a body is read: a rate that is misspelt, or left out, would be one of nothing.
func priceOf(text string) (price resource.Price, err error) {
	var said struct {
		Input, Output json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return price, invalid("price", "is no object of rates such as {\"input\": 0.2, \"output\": 0.8}")
	}
	if said.Input == nil || said.Output == nil {
		return price, invalid("price", "must have input and output, such as {\"input\": 0.2, \"output\": 0.8}")
	}
	if err := shape.ReadKnown([]byte(text), &price); err != nil {
		e, _ := errors.AsType[*shape.Error](err) // of no other type
		return price, invalid(strings.TrimSuffix("price."+e.Field, "."), e.Reason)
	}
	return price, nil
}

// bookReprice books. The audit log has who does, before anything is booked.
func (s *Server) bookReprice(ctx context.Context, in *bookInput) (*repriceOutput, error) {
	names := url.Values{}
	maps.Copy(names, in.Body.Filter)
	by := callerOf(ctx)
	q := reprice.Question{Price: in.Body.Price, Apply: true, By: by.Who.Actor()}
	if err := q.Validate(); err != nil {
		return nil, s.problem(err)
	}
	if err := s.noteReprice(ctx, by, &in.Body); err != nil {
		return nil, s.problem(err)
	}
	return s.reprice(ctx, spend.RowParams{From: in.Body.From, To: in.Body.To, Names: names, Limit: 1}, q)
}

func (s *Server) noteReprice(ctx context.Context, by records.Caller, b *repriceBody) error {
	ctx, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	return s.cfg.Auditor.Record(ctx, event(by, repriced, "ledger", b.From+".."+b.To))
}

func (s *Server) reprice(ctx context.Context, p spend.RowParams, q reprice.Question) (*repriceOutput, error) {
	if s.cfg.Repricer == nil {
		return nil, s.problem(noRequests{}.err())
	}
	rows, err := s.spend.Rows(callerOf(ctx), p)
	if err != nil {
		return nil, s.problem(err)
	}
	q.Filter = rows.Filter
	out, err := s.cfg.Repricer.Reprice(ctx, q)
	if err != nil {
		return nil, s.problem(err)
	}
	return &repriceOutput{out}, nil
}
