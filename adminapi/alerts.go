package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// Alerts reads the alerts of the cluster.
type Alerts interface {
	Alert(id string) (*alert.Alert, bool)
	Alerts(q fsm.AlertQuery) []*alert.Alert
}

// maxRetry bounds the dead alerts that are sent again at once.
const maxRetry = 10_000

type (
	alertsInput struct {
		Limit   int    `query:"limit" default:"50" minimum:"1" maximum:"500" doc:"alerts a page"`
		Cursor  string `query:"cursor" doc:"next_cursor of the page before"`
		Kind    string `query:"kind" doc:"a kind of alerts, or the beginning of one with * behind it"`
		State   string `query:"state" enum:"pending,delivered,dead,open" doc:"open: about a state that lasts; dead: a channel did not get it"`
		Subject string `query:"subject" doc:"kind and id of what it is about: key/key_1"`
	}
	alertRef struct {
		ID string `path:"id" doc:"of the alert"`
	}
	alertTestInput struct {
		Body client.AlertTest
	}
	alertRetryOutput struct {
		Written
		Body client.AlertRetry
	}
)

// registerAlerts registers the list of alerts, and what is done about those that were not delivered.
func (s *Server) registerAlerts() {
	register(s, "list-alerts", http.MethodGet, "/alerts", "List alerts, the newest first", s.listAlerts)
	register(s, "list-alert-kinds", http.MethodGet, "/alerts/kinds", "List the kinds of alerts",
		func(context.Context, *struct{}) (*listOutput[client.AlertKind], error) {
			all := channel.Kinds()
			return &listOutput[client.AlertKind]{Body: client.Page[client.AlertKind]{Items: all, Total: len(all)}}, nil
		})
	register(s, "get-alert", http.MethodGet, "/alerts/{id}", "Read one alert, and what became of it on each channel",
		func(_ context.Context, in *alertRef) (*bodyOutput[client.Alert], error) {
			a, ok := s.cfg.State.Alert(in.ID)
			if !ok {
				return nil, s.problem(fmt.Errorf("alert %q: %w", in.ID, resource.ErrNotFound))
			}
			return &bodyOutput[client.Alert]{alertView(a)}, nil
		})
	register(s, "retry-alert", http.MethodPost, "/alerts/{id}/retry", "Send an alert again to the channels that did not get it",
		func(ctx context.Context, in *alertRef) (*alertRetryOutput, error) {
			return s.retryAlerts(ctx, callerOf(ctx), []string{in.ID})
		})
	register(s, "retry-alerts", http.MethodPost, "/alerts/retry", "Send all alerts again to the channels that did not get them",
		func(ctx context.Context, _ *struct{}) (*alertRetryOutput, error) {
			var ids []string
			for _, a := range s.cfg.State.Alerts(fsm.AlertQuery{Limit: maxRetry, Match: (*alert.Alert).IsDead}) {
				ids = append(ids, a.ID)
			}
			return s.retryAlerts(ctx, callerOf(ctx), ids)
		})
	register(s, "test-alert", http.MethodPost, "/alerts/test", "Send a test through a channel, at once and from this node",
		func(ctx context.Context, in *alertTestInput) (*bodyOutput[client.AlertTested], error) {
			err := s.tryChannel(ctx, in.Body.Channel)
			if errors.Is(err, resource.ErrNotFound) {
				return nil, s.problem(err)
			}
			out := client.AlertTested{Channel: in.Body.Channel, Delivered: err == nil}
			if err != nil {
				out.Error = err.Error()
			}
			return &bodyOutput[client.AlertTested]{out}, nil
		})
}

// tryChannel sends a test through a channel.
func (s *Server) tryChannel(ctx context.Context, name string) error {
	if s.cfg.TryAlert == nil {
		return &llm.Error{Kind: llm.Unavailable, Message: "This node sends no alerts."}
	}
	return s.cfg.TryAlert(ctx, name)
}

func (s *Server) listAlerts(_ context.Context, in *alertsInput) (*listOutput[client.Alert], error) {
	found := s.cfg.State.Alerts(fsm.AlertQuery{Before: in.Cursor, Limit: in.Limit + 1, Match: func(a *alert.Alert) bool {
		return (in.Kind == "" || channel.Matches(in.Kind, a.Kind)) && (in.Subject == "" || a.Subject == in.Subject) &&
			(in.State == "" || in.State == alertState(a) || in.State == "open" && a.Lasting && a.EndedAt == 0)
	}})
	out := &listOutput[client.Alert]{Body: client.Page[client.Alert]{Items: []client.Alert{}}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.NextCursor = found[in.Limit-1].ID
	}
	for _, a := range found {
		out.Body.Items = append(out.Body.Items, alertView(a))
	}
	out.Body.Total = len(out.Body.Items)
	return out, nil
}

func (s *Server) retryAlerts(ctx context.Context, by records.Caller, ids []string) (*alertRetryOutput, error) {
	out := &alertRetryOutput{}
	for part := range slices.Chunk(ids, fsm.MaxAlerts) {
		res, err := s.cfg.Store.Propose(ctx, by.Actor(), by.RequestID, fsm.RetryAlerts{IDs: part})
		if err != nil {
			return nil, s.problem(err)
		}
		out.Body.Retried += len(part)
		w := records.WrittenAt(res)
		w.Version = 0
		out.Written = headersOf(w)
	}
	return out, nil
}

func alertState(a *alert.Alert) string {
	switch {
	case !a.Done:
		return string(alert.Pending)
	case a.IsDead():
		return string(alert.Dead)
	}
	return string(alert.Delivered)
}

func alertView(a *alert.Alert) client.Alert {
	return client.Alert{
		ID: a.ID, Kind: a.Kind, At: a.At, State: alertState(a), Subject: a.Subject, Name: a.Name, Text: a.Sentence(), Budget: a.Budget.Show(),
		Lasting: a.Lasting, EndedAt: a.EndedAt, Deliveries: append([]alert.Delivery{}, a.Deliveries...),
	}
}
