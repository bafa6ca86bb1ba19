package delegate

import (
	"reflect"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// fields is the table of who may change each field of each kind of record, by how near it is
// to him. A field that is not here is nobody's; the tests hold the table to the records. What
// is given in a field is bounded besides: by resource.Grant, Bounds and checkKey.
var fields = map[string]map[string]reach{
	"key": table(owns, policyFields, accessFields, []string{
		"name", "expires_at", "team_id", "project_id", "user_id", accessGroups,
		"rotation", "rotation_key", "hash", "old_hashes", "hint", "rotate_at", "rotated_at", "next", "turns", "stored_in", // who has no right to rotate it is refused by the verb
	}).with(never, "role", switchOff, "customer_budget").with(never, outputHolds...),
	"team": table(leads, policyFields, []string{"name", "member_permissions", "member_defaults"}).
		with(rules, "expires_at", "prompts", "file_expires_after", "batch_output_expires_after").with(never, "organization_id", accessGroups, switchOff, "customer_budget").with(never, outputHolds...),
	"project": table(leads, policyFields, []string{"name", "description", "team_id", "expires_at"}).with(never, accessGroups, switchOff).with(never, outputHolds...),
	"member":  table(leads, policyFields, []string{"admin", "team_id", "user_id", "expires_at"}).with(never, accessGroups, switchOff).with(never, outputHolds...),
	"user": table(rules, policyFields, []string{"organization_admin", "service_account", "expires_at"}).
		with(owns, "name", "metadata").with(leads, "email", "role").with(never, "organization_id", accessGroups, switchOff).with(never, outputHolds...),
}

// outputHolds are the fields that say how much is held of a request without a maximum. Too little lets spend run
// over budgets, so that they are the admins'; but a key may have what the one that makes it has.
var outputHolds = []string{"default_output_hold", "model_output_holds"}

// switchOff is the field that takes guardrails away from requests.
const switchOff = "disable_global_guardrails"

// accessGroups is the field that gives more than it says in so many words. A key may get those of its team
// (checkGroups).
const accessGroups = "access_group_ids"

// placed are the fields that say where a record belongs: May asks whether the person may put
// it there. Those of placedOnce do not change any more.
var placed = map[string][]string{
	"team": {"organization_id"}, "user": {"organization_id"},
}

var placedOnce = map[string][]string{
	"project": {"team_id"}, "member": {"team_id", "user_id"},
}

// serverFields are written by the server, whoever asks.
var serverFields = []string{"id", "owner", "created_at", "created_by", "updated_at", "updated_by", "version", "blocked"}

// secretFields are what a new secret changes.
var secretFields = []string{"hash", "old_hashes", "hint", "rotate_at", "rotated_at", "next", "turns", "stored_in"}

var policyFields = []string{
	"budget_id", "budgets", "limits", "model_limits", "mcp_limits", "tag_limits", "budget_fallbacks", "models", "aliases", "routes", "passthrough_routes", "denied_passthrough_routes", "allowed_ips", "denied_ips", "enforced_params",
	"guardrails", "callbacks", "tags", "sessions", "log_content", "log_content_days", "max_request_mb", "max_response_mb", "metadata", "objects",
}

var accessFields = []string{
	"type", "permissions", "prompts", "cache_controls", "increase_cap",
}

type fieldTable map[string]reach

func table(least reach, lists ...[]string) fieldTable {
	t := fieldTable{}
	for _, list := range lists {
		for _, name := range list {
			t[name] = least
		}
	}
	return t
}

func (t fieldTable) with(least reach, names ...string) fieldTable {
	for _, name := range names {
		t[name] = least
	}
	return t
}

// checkFields refuses the first field that the person may not change.
func (d *Delegate) checkFields(kind string, has reach, before, after resource.Record) error {
	for _, name := range changed(before, after) {
		if slices.Contains(serverFields, name) {
			continue
		}
		least, listed := fields[kind][name]
		switch {
		case !listed:
			return forbidden("%s: nobody decided who may change it", name)
		case before == nil && slices.Contains(placed[kind], name):
			continue // reachOf looked at where it is
		case before != nil && slices.Contains(placedOnce[kind], name):
			return forbidden("%s: it cannot be changed", name)
		case slices.Contains(outputHolds, name) && d.handsOn(after):
			continue
		case has < least:
			return forbidden("%s: %s may not change it", name, d.standing)
		}
	}
	return nil
}

// handsOn says that a key has the holds of the one that makes it.
func (d *Delegate) handsOn(after resource.Record) bool {
	k, ok := after.(*resource.Key)
	return ok && reflect.DeepEqual(k.OutputHold, d.key.OutputHold) && reflect.DeepEqual(k.ModelOutputHolds, d.key.ModelOutputHolds)
}

// changed lists the fields in which two records of one type differ, by their names in JSON;
// before may be nil.
func changed(before, after resource.Record) []string {
	b := reflect.ValueOf(after).Elem()
	a := reflect.Zero(b.Type())
	if before != nil {
		a = reflect.ValueOf(before).Elem()
	}
	var names []string
	differ(a, b, &names)
	return names
}

func differ(a, b reflect.Value, names *[]string) {
	for i := range b.NumField() {
		f := b.Type().Field(i)
		if f.Anonymous {
			differ(a.Field(i), b.Field(i), names)
			continue
		}
		if !same(a.Field(i), b.Field(i)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			*names = append(*names, name)
		}
	}
}

// same says that two values are equal; an empty list or map is none.
func same(a, b reflect.Value) bool {
	if k := b.Kind(); (k == reflect.Slice || k == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
