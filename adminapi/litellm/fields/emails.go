package fields

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/channel"
)

// emailsField is where LiteLLM's clients say who is written to when a soft budget is passed: in metadata,
// or beside it.
const emailsField = "soft_budget_alerting_emails"

// alertEmails gives the budget that max_budget and soft_budget write the addresses that a body names, so that
// its alerts go to them too. now is the policy that an update finds, whose metadata stay where the body has
// none. given says that the terms have changed.
func alertEmails(in records.Document, now *resource.Policy, terms []resource.Terms) (given bool, err error) {
	old, had, err := emailsIn(now.Metadata)
	if err != nil {
		old, had = nil, false // what stood there before it had a meaning
	}
	emails, named := old, had
	if raw, ok := in["metadata"]; ok {
		if emails, named, err = emailsIn(raw); err != nil {
			return false, err
		}
	}
	if raw, ok := in[emailsField]; ok {
		if emails, err = addresses(emailsField, raw); err != nil {
			return false, err
		}
		named = true
	}
	i := slices.IndexFunc(terms, func(t resource.Terms) bool { return isMain(&t) })
	if i < 0 || !named && !had {
		return false, nil
	}
	t, a := &terms[i], channel.BudgetAlerts{}
	if t.Alerts != nil {
		a = *t.Alerts
	}
	if slices.Equal(a.Emails, emails) {
		return false, nil
	}
	a.Emails = emails
	t.Alerts = &a
	if len(a.At)+len(a.Channels)+len(a.Emails) == 0 {
		t.Alerts = nil
	}
	return true, nil
}

// emailsIn reads the addresses in metadata; false: there are none.
func emailsIn(metadata json.RawMessage) (emails []string, named bool, err error) {
	var m map[string]json.RawMessage
	if len(metadata) == 0 || json.Unmarshal(metadata, &m) != nil {
		return nil, false, nil // what is no object is refused elsewhere
	}
	raw, ok := m[emailsField]
	if !ok {
		return nil, false, nil
	}
	emails, err = addresses("metadata."+emailsField, raw)
	return emails, true, err
}

// addresses reads a list of addresses, or one text with commas in it.
func addresses(field string, raw json.RawMessage) (list []string, err error) {
	if records.IsNull(raw) {
		return nil, nil
	}
	var text string
	if json.Unmarshal(raw, &list) != nil {
		if json.Unmarshal(raw, &text) != nil {
			return nil, invalid(field, "is not a list of addresses")
		}
		for a := range strings.SplitSeq(text, ",") {
			if a = strings.TrimSpace(a); a != "" {
				list = append(list, a)
			}
		}
	}
	var bad *channel.Error
	if err := channel.Addresses(field, list); errors.As(err, &bad) {
		return nil, invalid(bad.Field, bad.Reason)
	}
	return list, nil
}
