package fields

import (
	"reflect"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// inWords are the fields of records that LiteLLM has by no other name alone, and what its clients say in their place.
var inWords = map[string]string{
	"admin":              "role",
	"budgets":            "max_budget, budget_limits or model_max_budget",
	"limits":             "rpm_limit, tpm_limit or max_parallel_requests",
	"mcp_limits":         "mcp_rpm_limit",
	"model_limits":       "model_rpm_limit, model_tpm_limit, model_itpm_limit or model_otpm_limit",
	"model_output_holds": "default_estimated_output_tokens_per_model",
	"member_defaults":    "team_member_budget and its like",
	"rotation":           "auto_rotate and rotation_interval",
	"sessions":           "max_budget_per_session and its like",
	"tag_limits":         "tag_rpm_limit",
	"type":               "key_type",
}

// Ours takes out of in the fields of the record R that LiteLLM has none for, under their own names, and refuses
// those that it has by other names: none of a record's fields is ignored, but for those that only the server writes. own
// are the fields, LiteLLM's to the record's, that the record has beside those of every policy; out is what was read of
// them all.
func Ours[R any](in, out records.Document, own ...map[string]string) error {
	theirs, same := map[string]string{}, map[string]bool{"version": true}
	for _, names := range append(own, renamedFields, otherNames) {
		for theirName, name := range names {
			theirs[name] = theirName
			same[name] = same[name] || theirName == name
		}
	}
	for theirName, f := range mapFields {
		same[f.ours] = theirName == f.ours
	}
	for _, name := range namesOf(reflect.TypeFor[R]()) {
		raw, given := in[name]
		if !given || same[name] || slices.Contains(records.ServerFields, name) {
			continue
		}
		there := inWords[name]
		if there == "" {
			there = theirs[name]
		}
		if there == "" {
			if _, twice := out[name]; twice {
				return invalid(name, "is said by another field of the request already")
			}
			out[name] = raw
			continue
		}
		if !IsEmpty(raw) {
			return invalid(name, "is "+there+" here; the request was refused because ignoring it would change what it asks for")
		}
	}
	return nil
}

// OursOfKey is Ours of a key, of which own are the fields that are not in this package.
func OursOfKey(in, out records.Document, own map[string]string) error {
	if !IsEmpty(in["secret"]) {
		return invalid("secret", "is key here")
	}
	return Ours[resource.Key](in, out, own, keyFields, map[string]string{"rotation_key": "rotation_key"})
}

// namesOf are the names of a record's fields in JSON, in order.
func namesOf(t reflect.Type) (names []string) {
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
