package litellm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// GeneralKey is a key of LiteLLM's general_settings that a setting stands for.
type GeneralKey struct {
	Name    string // LiteLLM's
	Setting string
	// take makes the setting's value of the key's, and show the key's of the setting's; nil: they are the same.
	take, show func(json.RawMessage) (json.RawMessage, error)
}

// retentionKey is LiteLLM's key of how long requests are listed.
const retentionKey = "maximum_spend_logs_retention_period"

// otherwhere are keys of general_settings that more than one setting, or another record, stands for.
var otherwhere = map[string]string{ //nolint:gosec // names of fields, no secrets
	"alert_to_webhook_url":   "is a part of the setting alerts (/api/v1/settings/alerts)",
	"alert_types":            "is a part of the setting alerts (/api/v1/settings/alerts)",
	"alerting":               "is a part of the setting alerts (/api/v1/settings/alerts)",
	"pass_through_endpoints": "has paths of its own (/config/pass_through_endpoint)",
}

// GeneralKeys lists the keys of general_settings that a setting stands for, by name.
func GeneralKeys() []GeneralKey {
	all := []GeneralKey{
		{Name: retentionKey, Setting: "request_log_days", take: takeRetention, show: showRetention},
		{Name: "service_account_settings", Setting: "service_account_enforced_params", take: takeServiceAccount, show: showServiceAccount},
	}
	for _, name := range sameSettings["general_settings"] {
		all = append(all, GeneralKey{Name: name, Setting: name})
	}
	for _, name := range slices.Sorted(maps.Keys(renamedSettings)) {
		all = append(all, GeneralKey{Name: name, Setting: renamedSettings[name]})
	}
	slices.SortFunc(all, func(a, b GeneralKey) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// LookupGeneral finds a key of general_settings. Its error says what stands in its place, if something does.
func LookupGeneral(name string) (GeneralKey, error) {
	for _, k := range GeneralKeys() {
		if k.Name == name {
			return k, nil
		}
	}
	path := "general_settings." + name
	switch {
	case needless[path] != "":
		return GeneralKey{}, fmt.Errorf("%.60q %s", name, needless[path])
	case inPython[path] != "":
		return GeneralKey{}, fmt.Errorf("%.60q names a function in Python, which does not run here: make it %s", name, inPython[path])
	case otherwhere[name] != "":
		return GeneralKey{}, fmt.Errorf("%.60q %s", name, otherwhere[name])
	}
	return GeneralKey{}, fmt.Errorf("%.60q has no meaning here; /config/list?config_type=general_settings lists those that have one", name)
}

// Take makes the setting's value of the key's.
func (k *GeneralKey) Take(v json.RawMessage) (json.RawMessage, error) {
	if k.take == nil {
		return v, nil
	}
	return k.take(v)
}

// Show makes the key's value of the setting's.
func (k *GeneralKey) Show(v json.RawMessage) (json.RawMessage, error) {
	if k.show == nil {
		return v, nil
	}
	return k.show(v)
}

// retentionDays reads how many days a duration such as 30d is, at least one.
func retentionDays(text string) (int, error) {
	age, err := resource.ParseDuration(text)
	if err != nil || age.Hours() < 24 {
		return 0, fmt.Errorf("%.60q is not a duration of at least a day such as 30d", text)
	}
	return int(age.Hours() / 24), nil
}

func takeRetention(v json.RawMessage) (json.RawMessage, error) {
	var text string
	if err := json.Unmarshal(v, &text); err != nil {
		return nil, fmt.Errorf("%.60s is not a duration such as \"30d\"", v)
	}
	days, err := retentionDays(text)
	return json.RawMessage(strconv.Itoa(days)), err
}

func showRetention(v json.RawMessage) (json.RawMessage, error) {
	var days int
	if err := json.Unmarshal(v, &days); err != nil {
		return nil, fmt.Errorf("read request_log_days: %w", err)
	}
	return json.Marshal(strconv.Itoa(days) + "d")
}

// takeServiceAccount reads what LiteLLM says of keys of teams that belong to no user.
func takeServiceAccount(v json.RawMessage) (json.RawMessage, error) {
	var in map[string]json.RawMessage
	if err := json.Unmarshal(v, &in); err != nil || len(in) != 1 || in["enforced_params"] == nil {
		return nil, fmt.Errorf("%.60s is not {\"enforced_params\": […]}", v)
	}
	return in["enforced_params"], nil
}

func showServiceAccount(v json.RawMessage) (json.RawMessage, error) {
	return json.Marshal(map[string]json.RawMessage{"enforced_params": v})
}
