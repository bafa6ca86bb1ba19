package adminapi

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// maxDays bounds the days of one question about usage.
const maxDays = 366

type (
	usageInput struct {
		FilterInput
		Granularity string `query:"granularity" enum:"total,minute,hour,day,month" doc:"one item for each; then, and with group_by or a filter, the nodes' own records are asked"`
		GroupBy     string `query:"group_by" doc:"key, team, organization, project, user, customer, tag, model, deployment, provider or endpoint, with commas"`
		Kind        string `query:"kind" enum:"total,key,team,model" default:"total" doc:"whose usage"`
		ID          string `query:"id" doc:"id or name of the key, team or model"`
		From        string `query:"from" doc:"first day, 2026-01-31, UTC; with to, one item for each day. With group_by, granularity or a filter also a time, or 24h or 7d"`
		To          string `query:"to" doc:"last day"`
	}
	usageOutput struct {
		Body struct {
			Items        []client.Usage `json:"items"`
			From         resource.Time  `json:"from,omitzero" doc:"what is covered: the range that was asked for, rounded outwards to what is kept"`
			To           resource.Time  `json:"to,omitzero"`
			MissingNodes []string       `json:"missing_nodes,omitempty" doc:"nodes that gave no answer: their spend is not in it"`
		}
	}
)

func (s *Server) registerReports() {
	register(s, "list-usage", http.MethodGet, "/usage", "What was spent", s.usage)
}

func (s *Server) usage(ctx context.Context, in *usageInput) (*usageOutput, error) {
	if in.Granularity != "" || in.GroupBy != "" || len(in.values()) > 0 || callerOf(ctx).OwnOnly {
		return s.spendUsage(ctx, in)
	}
	id, err := s.usageID(in.Kind, in.ID)
	if err != nil {
		return nil, s.problem(err)
	}
	out := &usageOutput{}
	if in.From == "" && in.To == "" {
		out.Body.Items = []client.Usage{usageOf(in.Kind, id, "", s.cfg.State.Totals(in.Kind, id))}
		return out, nil
	}
	from, to, err := s.days(in.From, in.To)
	if err != nil {
		return nil, s.problem(err)
	}
	out.Body.Items = []client.Usage{}
	days := s.cfg.State.DailyTotals(in.Kind, id, from, to)
	for _, day := range slices.Sorted(maps.Keys(days)) {
		date := time.Unix(int64(day)*24*3600, 0).UTC().Format(time.DateOnly)
		out.Body.Items = append(out.Body.Items, usageOf(in.Kind, id, date, days[day]))
	}
	return out, nil
}

// usageID resolves whose totals are asked for. What was spent under a record that has been
// deleted since stays readable by its id; a model's totals stand under its name.
func (s *Server) usageID(kind, ref string) (string, error) {
	switch kind {
	case "total":
		return "", nil
	case "key":
		if k, ok := s.rs.Keys.Find(ref); ok {
			return k.ID, nil
		}
	case "team":
		if t, ok := s.rs.Teams.Find(ref); ok {
			return t.ID, nil
		}
	case "model":
		if m, ok := s.rs.Models.Find(ref); ok {
			return m.Name, nil
		}
	}
	if ref == "" {
		return "", invalid("id", "usage of a "+kind+" needs its id or name")
	}
	return ref, nil
}

func (s *Server) days(from, to string) (first, last int32, err error) {
	today := int32(s.cfg.Now().Unix() / (24 * 3600))
	if first, err = parseDay("from", from, today-29); err != nil {
		return 0, 0, err
	}
	if last, err = parseDay("to", to, today); err != nil {
		return 0, 0, err
	}
	if last < first || last-first >= maxDays {
		return 0, 0, invalid("to", "is before from, or more than a year after it")
	}
	return first, last, nil
}

// parseDay reads a date as days since 1970-01-01.
func parseDay(field, text string, missing int32) (int32, error) {
	if text == "" {
		return missing, nil
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, invalid(field, "is not a day such as 2026-01-31")
	}
	return int32(at.Unix() / (24 * 3600)), nil
}

func usageOf(kind, id, day string, t fsm.Totals) client.Usage {
	return client.Usage{
		Kind: kind, ID: id, Day: day, Cost: t.Cost, Requests: t.Requests, Failures: t.Failures,
		PromptTokens: t.Prompt, CompletionTokens: t.Completion,
	}
}
