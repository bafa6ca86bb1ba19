package fields

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// keyFields are fields of keys alone that only have another name.
var keyFields = map[string]string{
	"permissions": "permissions", "prompts": "prompts", "allowed_cache_controls": "cache_controls", "end_user_budget_id": "customer_budget",
}

// DropKeys takes out the fields that only keys have.
func DropKeys(in records.Document) {
	for name := range keyFields {
		delete(in, name)
	}
}

// raised are LiteLLM's names of the fields of an increase.
var raised = map[string]string{"amount": "temp_budget_increase", "until": "temp_budget_expiry", "reason": "temp_budget_reason"}

// rotationNames are LiteLLM's names, and those in their manner, of the fields of a rotation.
var rotationNames = map[string]string{
	"rotation.every": "rotation_interval", "rotation.grace": "rotation_grace_period",
	"rotation.deliver": "rotation_delivery", "rotation.url": "rotation_url", "rotation.email": "rotation_email",
}

// KeyDoc takes LiteLLM's fields that only keys have out of in, and gives those of a document;
// now is the key that an update is of, nil for a new one.
func KeyDoc(in records.Document, now *resource.Key, at time.Time) (records.Document, error) {
	out := records.Document{}
	Own(in, out, keyFields, now != nil)
	if err := typeDoc(in, out); err != nil {
		return nil, err
	}
	if err := CheckIncrease(in, at); err != nil {
		return nil, err
	}
	if now == nil {
		now = &resource.Key{}
	}
	return out, rotationDoc(in, out, now)
}

// Own moves fields that only some holders have from in to out, renamed. In a new record an empty one says nothing.
func Own(in, out records.Document, names map[string]string, update bool) {
	for theirs, ours := range names {
		if raw, ok := in[theirs]; ok && (update || !IsEmpty(raw)) {
			out[ours] = raw
		}
		delete(in, theirs)
	}
}

func typeDoc(in, out records.Document) error {
	text, err := Text(in, "key_type")
	if err != nil || text == "" {
		return err
	}
	switch text {
	case "default":
		text = ""
	case string(resource.TypeInference), string(resource.TypeManagement), string(resource.TypeReadOnly):
	default:
		return invalid("key_type", text+" is not one of default, llm_api, management, read_only")
	}
	return out.Set("type", text)
}

// refuseObjectModels refuses what of object_permission has a place of its own, or none.
func refuseObjectModels(raw json.RawMessage) error {
	if IsEmpty(raw) {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return invalid("object_permission", "is not an object")
	}
	if !IsEmpty(members["models"]) {
		return invalid("object_permission.models", "is not possible; models says which ones the key may use")
	}
	return nil
}

// rotationFields are the fields of a schedule of rotations.
var rotationFields = []string{"auto_rotate", "rotation_interval", "rotation_grace_period", "rotation_delivery", "rotation_url", "rotation_email", "rotation_key"}

// rotationDoc reads the schedule of rotations.
func rotationDoc(in, out records.Document, now *resource.Key) error {
	given := func(name string) bool { raw, ok := in[name]; return ok && !records.IsNull(raw) }
	if !slices.ContainsFunc(rotationFields, given) {
		return nil
	}
	auto := now.Rotation != nil
	if err := in.Take("auto_rotate", &auto); err != nil {
		return err
	}
	if !auto && !IsEmpty(in["rotation_key"]) {
		return invalid("rotation_key", "signs what a rotation delivers; give auto_rotate, too")
	}
	if !auto {
		out["rotation"], out["rotation_key"] = json.RawMessage("null"), json.RawMessage("null")
		return nil
	}
	r, key, err := scheduleOf(in, now)
	if err != nil {
		return err
	}
	switch {
	case key != "":
		if err := out.Set("rotation_key", key); err != nil {
			return err
		}
	case r.Deliver != resource.DeliverWebhook && now.RotationKey != nil:
		out["rotation_key"] = json.RawMessage("null")
	}
	return out.Set("rotation", map[string]any{"every": r.Every, "grace": r.Grace, "deliver": r.Deliver, "url": r.URL, "email": r.Email})
}

// scheduleOf reads a schedule, of which an update need not say all, and what signs its
// deliveries.
func scheduleOf(in records.Document, now *resource.Key) (r resource.Rotation, key string, err error) {
	if now.Rotation != nil {
		r = *now.Rotation
	}
	deliver := string(r.Deliver)
	for name, v := range map[string]*string{
		"rotation_interval": &r.Every, "rotation_grace_period": &r.Grace, "rotation_delivery": &deliver, "rotation_url": &r.URL, "rotation_email": &r.Email, "rotation_key": &key,
	} {
		if err := in.Take(name, v); err != nil {
			return r, "", err
		}
	}
	before := r.Deliver
	if r.Deliver = resource.Deliver(deliver); r.Deliver != before { // what the other destination needed goes with it
		if _, given := in["rotation_url"]; !given || r.Deliver != resource.DeliverWebhook {
			r.URL = ""
		}
		if r.Deliver != resource.DeliverEmail {
			r.Email = ""
		}
	}
	err = r.Check(key != "" || now.RotationKey != nil && r.Deliver == resource.DeliverWebhook)
	if e, ok := errors.AsType[*resource.Invalid](err); ok && rotationNames[e.Field] != "" {
		err = invalid(rotationNames[e.Field], e.Reason)
	}
	return r, key, err
}

// CheckIncrease checks a temporary increase of a budget: an amount with an end to come.
func CheckIncrease(in records.Document, at time.Time) error {
	amount, until := in["temp_budget_increase"], in["temp_budget_expiry"]
	if IsEmpty(amount) && IsEmpty(until) {
		return nil
	}
	if IsEmpty(amount) {
		return invalid("temp_budget_increase", "is missing; an expiry is that of an increase")
	}
	var usd resource.Money
	if err := peek(in, "temp_budget_increase", &usd); err != nil {
		return err
	}
	if usd < 0 {
		return invalid("temp_budget_increase", "is negative")
	}
	if IsEmpty(until) {
		return invalid("temp_budget_expiry", "is missing; an increase ends")
	}
	var text string
	if err := peek(in, "temp_budget_expiry", &text); err != nil {
		return err
	}
	end, err := parseTime("temp_budget_expiry", text)
	if err != nil {
		return err
	}
	if end <= resource.At(at) {
		return invalid("temp_budget_expiry", "is past")
	}
	return nil
}

// peek reads a field and leaves it.
func peek(in records.Document, name string, v any) error {
	return records.Document{name: in[name]}.Take(name, v)
}

// KeyRow writes what only keys have as LiteLLM's fields.
func KeyRow(row map[string]any, k *resource.Key) {
	kind := string(k.Type)
	if kind == "" {
		kind = "default"
	}
	row["key_type"], row["permissions"] = kind, k.Permissions
	if k.Permissions == nil {
		row["permissions"] = map[string]bool{}
	}
	for name, list := range map[string][]string{
		"prompts": k.Prompts, "allowed_cache_controls": k.CacheControls,
	} {
		if list == nil {
			list = []string{}
		}
		row[name] = list
	}
	row["auto_rotate"], row["rotation_interval"] = k.Rotation != nil, nil
	row["last_rotation_at"], row["key_rotation_at"] = k.RotatedAt, k.RotateAt
	if r := k.Rotation; r != nil {
		row["rotation_interval"], row["rotation_grace_period"], row["rotation_delivery"] = r.Every, r.Grace, r.Deliver
	}
}

// Regenerate takes what a rotation of a secret asks for out of a body and its headers.
func Regenerate(in records.Document, h http.Header) (client.Rotate, error) {
	req := client.Rotate{IdempotencyKey: strings.TrimSpace(h.Get("Idempotency-Key"))}
	if err := in.Take("new_key", &req.Secret); err != nil {
		return req, err
	}
	if err := in.Take("grace_period", &req.Grace); err != nil {
		return req, err
	}
	return req, Refuse(in, []string{"new_master_key"})
}

// otherNames are LiteLLM's names of fields of records that it calls otherwise, for errors about them.
var otherNames = map[string]string{ //nolint:gosec // names of fields
	"object_permission": "objects", "key_type": "type", "grace_period": "grace", "allowed_model_region": "region",
	"mcp_rpm_limit": "mcp_limits", "tag_rpm_limit": "tag_limits", "allowed_passthrough_routes": "passthrough_routes",
	"default_estimated_output_tokens": "default_output_hold", "default_estimated_output_tokens_per_model": "model_output_holds",
	"enforced_file_expires_after": "file_expires_after", "enforced_batch_output_expires_after": "batch_output_expires_after",
}

// Renamed gives an error about a record's field the name that LiteLLM's clients know it by.
func Renamed(err error) error {
	e, ok := errors.AsType[*resource.Invalid](err)
	if !ok {
		return err
	}
	if _, field, ok := strings.Cut(e.Field, ".increase."); ok && raised[field] != "" {
		return invalid(raised[field], e.Reason)
	}
	if name := rotationNames[e.Field]; name != "" {
		return invalid(name, e.Reason)
	}
	if rest, ok := strings.CutPrefix(e.Field, "sessions."); ok {
		for theirs, ours := range sessionFields {
			if rest == ours {
				return invalid(theirs, e.Reason)
			}
		}
	}
	head := strings.IndexAny(e.Field+".", ".[")
	for _, names := range []map[string]string{otherNames, keyFields} {
		for theirs, ours := range names {
			if e.Field[:head] == ours {
				return invalid(theirs+e.Field[head:], e.Reason)
			}
		}
	}
	return err
}
