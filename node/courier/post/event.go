package post

import (
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// Event is the body of a webhook: the alert, and beside it the fields that receivers of LiteLLM's
// webhooks read, where they have a meaning.
type Event struct {
	ID        string        `json:"id"` // the same for each try: drop what came already
	DedupeKey string        `json:"dedupe_key,omitempty"`
	Kind      string        `json:"kind"`
	At        resource.Time `json:"at"`
	Cluster   string        `json:"cluster"`
	Subject   string        `json:"subject"`
	Name      string        `json:"name,omitempty"`
	Text      string        `json:"text"`
	Budget    *alert.Shown  `json:"budget,omitempty"`
	EndedAt   resource.Time `json:"ended_at,omitzero"`

	Event          string          `json:"event"`       // LiteLLM's name, else the kind
	EventGroup     string          `json:"event_group"` // kind of the subject
	EventMessage   string          `json:"event_message"`
	Spend          *resource.Money `json:"spend,omitempty"` // of a budget of money, in dollars
	MaxBudget      *resource.Money `json:"max_budget,omitempty"`
	SoftBudget     *resource.Money `json:"soft_budget,omitempty"`
	KeyAlias       string          `json:"key_alias,omitempty"`
	UserID         string          `json:"user_id,omitempty"`
	TeamID         string          `json:"team_id,omitempty"`
	TeamAlias      string          `json:"team_alias,omitempty"`
	CustomerID     string          `json:"customer_id,omitempty"`
	OrganizationID string          `json:"organization_id,omitempty"`
	AlertEmails    []string        `json:"alert_emails,omitempty"`
}

// theirs are LiteLLM's names of events.
var theirs = map[string]string{
	channel.BudgetThreshold: "threshold_crossed", channel.BudgetSoftLimit: "soft_budget_crossed", channel.BudgetExhausted: "budget_crossed",
}

func eventOf(cluster string, a *alert.Alert) *Event {
	kind, id := a.Holder()
	e := &Event{
		ID: a.ID, DedupeKey: a.Key, Kind: a.Kind, At: a.At, Cluster: cluster, Subject: a.Subject, Name: a.Name, Text: a.Sentence(), Budget: a.Budget.Show(),
		EndedAt: a.EndedAt, Event: a.Kind, EventGroup: kind, EventMessage: a.Sentence(), AlertEmails: a.Emails,
	}
	if name, ok := theirs[a.Kind]; ok {
		e.Event = name
	}
	if b := a.Budget; b != nil && b.Unit == resource.UnitUSD {
		e.Spend, e.MaxBudget = &b.Settled, &b.Limit
		if b.Soft > 0 {
			e.SoftBudget = &b.Soft
		}
	}
	switch kind {
	case resource.HolderKey:
		e.KeyAlias = a.Name
	case resource.HolderUser:
		e.UserID = id
	case resource.HolderTeam:
		e.TeamID, e.TeamAlias = id, a.Name
	case resource.HolderCustomer:
		e.CustomerID = id
	case resource.HolderOrganization:
		e.EventGroup, e.OrganizationID = "organization", id
	}
	return e
}
