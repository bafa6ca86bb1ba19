package client

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/conclave-llm/conclave/resource"
)

// Account is one window of one budget of a record.
type Account struct {
	Budget   string        `json:"budget"` // name of the terms: "day"
	Unit     resource.Unit `json:"unit,omitempty"`
	StartsAt resource.Time `json:"starts_at,omitempty"`
	ResetsAt resource.Time `json:"resets_at,omitempty"` // null: never
	Limit    Amount        `json:"limit"`
	Settled  Amount        `json:"settled"`  // spent and reported
	Presumed Amount        `json:"presumed"` // held by processes that ended; counted as spent
	Granted  Amount        `json:"granted"`  // leased to nodes and not yet reported spent
}

// Amount is a decimal number of a budget's unit: dollars, tokens, requests or GPU-seconds.
type Amount string

// AmountOf writes an amount of a unit's smallest part (resource.Terms).
func AmountOf(m resource.Money, u resource.Unit) Amount {
	if u == resource.UnitTokens || u == resource.UnitRequests {
		return Amount(strconv.FormatInt(int64(m), 10))
	}
	return Amount(m.String())
}

// MarshalJSON writes a number; no amount is 0.
func (a Amount) MarshalJSON() ([]byte, error) {
	if a == "" {
		a = "0"
	}
	return []byte(a), nil
}

// UnmarshalJSON reads a number, digit for digit.
func (a *Amount) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("read amount: %w", err)
	}
	*a = Amount(n)
	return nil
}

// Key is a virtual key. Secret is written on create, if it is not to be made, and shown
// in the answers to create and rotate only.
type Key struct {
	resource.Key
	Secret   string         `json:"secret,omitempty"`
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one key
	// RotationKey is written as text, and shown as its fingerprint.
	RotationKey *Secret `json:"rotation_key,omitempty"`
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

// AvailableTeam is a team as those see it who may join it by themselves: what they would be and have there.
type AvailableTeam struct {
	ID                string                   `json:"id"`
	Name              string                   `json:"name,omitempty"`
	OrganizationID    string                   `json:"organization_id,omitempty"`
	Models            []string                 `json:"models,omitempty"`
	MemberPermissions []string                 `json:"member_permissions,omitempty"`
	MemberDefaults    *resource.MemberDefaults `json:"member_defaults,omitempty"`
}

// TeamMember is a user's place in a team.
type TeamMember struct {
	resource.TeamMember
	Spend    resource.Money `json:"spend"`
	Accounts []Account      `json:"accounts,omitempty"` // in answers for one
}
