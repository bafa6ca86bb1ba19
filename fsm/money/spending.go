package money

import "github.com/conclave-llm/conclave/resource"

// SpendDelta is the sum of some journal records that agree in all its names. It is folded
// into the totals of each of them and of the day.
type SpendDelta struct {
	KeyID        string         `json:"key,omitempty"`  // "" for the master key
	TeamID       string         `json:"team,omitempty"` // ""
	Model        string         `json:"model,omitempty"`
	Day          int32          `json:"day"` // days since 1970-01-01 UTC
	Cost         resource.Money `json:"cost,omitempty"`
	Requests     int64          `json:"requests,omitempty"`
	Failures     int64          `json:"failures,omitempty"`
	Prompt       int64          `json:"prompt,omitempty"`     // tokens
	Completion   int64          `json:"completion,omitempty"` // tokens
	Organization string         `json:"organization,omitempty"`
	Project      string         `json:"project,omitempty"`
	User         string         `json:"user,omitempty"`
	Customer     string         `json:"customer,omitempty"`
	Tags         []string       `json:"tags,omitempty"`
	Provider     string         `json:"provider,omitempty"`
	Deployment   string         `json:"deployment,omitempty"`
}

// Spending is the sums of one command by the key of their totals, so that each row is
// written once.
type Spending map[string]Totals

// Fold adds a delta to the sums of all its names, and to their day's.
func (s Spending) Fold(d *SpendDelta) {
	t := Totals{Cost: d.Cost, Requests: d.Requests, Failures: d.Failures, Prompt: d.Prompt, Completion: d.Completion}
	s.add(TotalKind, "", d.Day, t)
	for _, of := range [...]struct{ kind, id string }{
		{resource.HolderKey, d.KeyID},
		{resource.HolderTeam, d.TeamID},
		{resource.HolderModel, d.Model},
		{resource.HolderOrganization, d.Organization},
		{resource.HolderProject, d.Project},
		{resource.HolderUser, d.User},
		{resource.HolderCustomer, d.Customer},
		{resource.HolderDeployment, d.Deployment},
		{ProviderKind, d.Provider},
	} {
		if of.id != "" {
			s.add(of.kind, of.id, d.Day, t)
		}
	}
	if d.TeamID != "" && d.User != "" {
		s.add(resource.HolderMember, d.TeamID+"/"+d.User, d.Day, t)
	}
	for _, tag := range d.Tags {
		if tag != "" {
			s.add(resource.HolderTag, tag, d.Day, t)
		}
	}
}

func (s Spending) add(kind, id string, day int32, t Totals) {
	for _, key := range [...]string{string(TotalsKey(kind, id)), string(DayKey(kind, id, day))} {
		s[key] = s[key].Plus(t)
	}
}
