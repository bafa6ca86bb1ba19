package client

import "github.com/conclave-llm/conclave/resource"

// Account is one window of one budget of a record.
type Account struct {
	Budget   string         `json:"budget"` // name of the terms: "day"
	Unit     resource.Unit  `json:"unit,omitempty"`
	StartsAt resource.Time  `json:"starts_at,omitempty"`
	ResetsAt resource.Time  `json:"resets_at,omitempty"` // null: never
	Limit    resource.Money `json:"limit"`
	Settled  resource.Money `json:"settled"`  // spent and reported
	Presumed resource.Money `json:"presumed"` // held by processes that ended; counted as spent
	Granted  resource.Money `json:"granted"`  // leased to nodes and not yet reported spent
}

// Key is a virtual key. Secret is written on create, if it is not to be made, and shown
// in the answers to create and rotate only.
type Key struct {
	resource.Key
	Secret   string         `json:"secret,omitempty"`
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one key
}

// Team is a group of keys.
type Team struct {
	resource.Team
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one team
}

// Organization is a group of teams.
type Organization struct {
	resource.Organization
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one
}

// Project is a part of a team's work.
type Project struct {
	resource.Project
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one
}

// User is a person.
type User struct {
	resource.User
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one
}

// Customer is an end user of an application.
type Customer struct {
	resource.Customer
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one
}

// Tag is a label of requests.
type Tag struct {
	resource.Tag
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one
}

// TeamMember is a user's place in a team.
type TeamMember struct {
	resource.TeamMember
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one
}
