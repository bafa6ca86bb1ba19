// Package fields is LiteLLM's fields of what can be limited, and their counterparts in the
// documents of package records. A field that would bound somebody and that Conclave does not
// enforce is refused, never ignored.
package fields

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// unsupportedFields bound or widen what anybody may do in LiteLLM, and do nothing here.
var unsupportedFields = []string{
	"agent_id", "allowed_cache_controls", "allowed_vector_store_indexes",
	"enable_prompt_caching", "end_user_budget_id",
	"permissions", "policies", "router_settings", "send_invite_email", "throttle_on_budget_exceeded", "tpd_limit",
}

// bestEffort is the kind of a limit that there is: one that is counted as requests come.
const bestEffort = "best_effort_throughput"

// refuseLimitTypes refuses limits that a model's capacity would have to be kept for, or that would hold only while it
// fails.
func refuseLimitTypes(in records.Document) error {
	for _, name := range []string{"tpm_limit_type", "rpm_limit_type"} {
		kind, err := Text(in, name)
		if err != nil {
			return err
		}
		if kind != "" && kind != bestEffort {
			return invalid(name, fmt.Sprintf("%.60q is not possible; limits are %s: counted as requests come, whatever the model can take", kind, bestEffort))
		}
	}
	return nil
}

// renamedFields are fields of every policy that only have another name.
var renamedFields = map[string]string{ //nolint:gosec // names of fields
	"budget_id": "budget_id", "metadata": "metadata", "tags": "tags", "models": "models", "access_group_ids": "access_group_ids", "blocked": "blocked",
	"allowed_routes": "routes", "guardrails": "guardrails", guardSwitch: guardSwitch, "enforced_params": "enforced_params",
	"aliases": "aliases", "model_aliases": "aliases", "object_permission": "objects",
	"default_estimated_output_tokens": "default_output_hold", "allowed_passthrough_routes": "passthrough_routes",
	"denied_passthrough_routes": "denied_passthrough_routes",
}

// mapFields are fields that only have another name, and whose object an update replaces as a whole.
var mapFields = map[string]struct {
	ours string
	now  func(*resource.Policy) []string // the members that there are
}{
	"budget_fallbacks":                          {"budget_fallbacks", func(p *resource.Policy) []string { return sorted(p.BudgetFallbacks) }},
	"default_estimated_output_tokens_per_model": {"model_output_holds", func(p *resource.Policy) []string { return sorted(p.ModelOutputHolds) }},
}

// partLimitFields are the fields that limit requests of single tags and calls of single MCP servers.
var partLimitFields = map[string]struct {
	ours string
	now  func(*resource.Policy) map[string]resource.Limits
}{
	"mcp_rpm_limit": {"mcp_limits", func(p *resource.Policy) map[string]resource.Limits { return p.MCPLimits }},
	"tag_rpm_limit": {"tag_limits", func(p *resource.Policy) map[string]resource.Limits { return p.TagLimits }},
}

// modelLimitFields are the fields that limit single models.
var modelLimitFields = map[string]func(*resource.Limits) **int64{
	"model_rpm_limit":  rpmOf,
	"model_tpm_limit":  func(l *resource.Limits) **int64 { return &l.TPM },
	"model_itpm_limit": func(l *resource.Limits) **int64 { return &l.InputTPM },
	"model_otpm_limit": func(l *resource.Limits) **int64 { return &l.OutputTPM },
}

// PolicyDoc turns LiteLLM's fields that every policy has into those of a document, or, if now
// is given, of a merge patch of a record with that policy. A field that is not given stays.
func PolicyDoc(in records.Document, now *resource.Policy) (records.Document, error) {
	if err := Refuse(in, unsupportedFields); err != nil {
		return nil, err
	}
	if err := refuseLimitTypes(in); err != nil {
		return nil, err
	}
	if err := ToModels(in, now); err != nil {
		return nil, err
	}
	if err := refuseObjectModels(in["object_permission"]); err != nil {
		return nil, err
	}
	out := rename(in, now)
	if err := liftSwitch(out); err != nil {
		return nil, err
	}
	if now == nil {
		now = &resource.Policy{}
	}
	if err := sessionsDoc(in, out, now.Sessions); err != nil {
		return nil, err
	}
	for theirs, f := range mapFields {
		if raw, ok := in[theirs]; ok {
			out[f.ours] = replaceMap(raw, f.now(now))
		}
	}
	if err := partLimitsDoc(in, out, now); err != nil {
		return nil, err
	}
	return out, allowanceDoc(in, out, now)
}

// partLimitsDoc reads the limits of single tags and MCP servers.
func partLimitsDoc(in, out records.Document, now *resource.Policy) error {
	for theirs, f := range partLimitFields {
		next, given, err := replaceLimits(in, map[string]func(*resource.Limits) **int64{theirs: rpmOf}, f.now(now))
		if err != nil {
			return err
		}
		if !given {
			continue
		}
		if err := setLimits(out, f.ours, next); err != nil {
			return err
		}
	}
	return nil
}

func rpmOf(l *resource.Limits) **int64 { return &l.RPM }

// rename gives the fields that only have another name.
func rename(in records.Document, now *resource.Policy) records.Document {
	out := records.Document{}
	for theirs, ours := range renamedFields {
		v, ok := in[theirs]
		if !ok || (theirs == "aliases" || theirs == "model_aliases") && IsEmpty(v) && len(out[ours]) > 0 {
			continue
		}
		if ours == "aliases" && now != nil && !records.IsNull(v) {
			v = replaceMap(v, sorted(now.Aliases))
		}
		out[ours] = v
	}
	return out
}

// guardSwitch turns off the guardrails that always apply.
const guardSwitch = "disable_global_guardrails"

// liftSwitch moves the switch of guardrails out of the metadata, where LiteLLM has it too, into the field of
// that name, which not everybody may write who may write metadata. The field, where it is given, counts.
func liftSwitch(out records.Document) error {
	var metadata map[string]json.RawMessage
	if raw, ok := out["metadata"]; !ok || records.IsNull(raw) || json.Unmarshal(raw, &metadata) != nil {
		return nil // the decoder says what is wrong with it
	}
	raw, ok := metadata[guardSwitch]
	if !ok {
		return nil
	}
	delete(metadata, guardSwitch)
	if err := out.Set("metadata", metadata); err != nil {
		return err
	}
	if _, given := out[guardSwitch]; given || records.IsNull(raw) {
		return nil
	}
	var off bool
	if err := json.Unmarshal(raw, &off); err != nil {
		return invalid("metadata."+guardSwitch, "is not true or false")
	}
	return out.Set(guardSwitch, off)
}

// replaceMap makes a merge patch that leaves nothing of the old map: LiteLLM's updates
// replace maps as a whole.
func replaceMap(raw json.RawMessage, old []string) json.RawMessage {
	var next map[string]json.RawMessage
	if records.IsNull(raw) || json.Unmarshal(raw, &next) != nil {
		return raw // the decoder will say what is wrong
	}
	for _, name := range old {
		if _, ok := next[name]; !ok {
			next[name] = json.RawMessage("null")
		}
	}
	b, err := json.Marshal(next)
	if err != nil {
		return raw
	}
	return b
}

// allowanceDoc moves LiteLLM's limits and budgets to where a record has them.
func allowanceDoc(in, out records.Document, now *resource.Policy) error {
	if err := limitsDoc(in, out, now.ModelLimits); err != nil {
		return err
	}
	terms, given, err := termsOf(in, now.Budgets)
	if err != nil {
		return err
	}
	mailed, err := alertEmails(in, now, terms)
	if err != nil || !given && !mailed {
		return err
	}
	return out.Set("budgets", terms)
}

// limitsDoc moves LiteLLM's limits to where a record has them; now are the limits of models that it has.
func limitsDoc(in, out records.Document, now map[string]resource.Limits) error {
	limits := records.Document{}
	for theirs, ours := range map[string]string{"rpm_limit": "rpm", "tpm_limit": "tpm", "max_parallel_requests": "parallel"} {
		if v, ok := in[theirs]; ok {
			limits[ours] = v
		}
	}
	if len(limits) > 0 {
		if err := out.Set("limits", limits); err != nil {
			return err
		}
	}
	return modelLimitsDoc(in, out, now)
}

// modelLimitsDoc reads the limits of single models, each field of which an update replaces
// as a whole, with those inside model_max_budget.
func modelLimitsDoc(in, out records.Document, now map[string]resource.Limits) error {
	next, given, err := replaceLimits(in, modelLimitFields, now)
	if err != nil {
		return err
	}
	budgets, err := modelBudgets(in["model_max_budget"])
	if err != nil {
		return err
	}
	for model, b := range budgets {
		if b.TPM != nil || b.RPM != nil {
			l := next[model]
			l.TPM, l.RPM, given = b.TPM, b.RPM, true
			next[model] = l
		}
	}
	if !given {
		return nil
	}
	return setLimits(out, "model_limits", next)
}

// replaceLimits gives the limits by what they are of (a model, a tag, …) after the fields, each of which replaces one
// kind of limit as a whole, were read.
func replaceLimits(in records.Document, fields map[string]func(*resource.Limits) **int64, now map[string]resource.Limits) (next map[string]resource.Limits, given bool, err error) {
	next = map[string]resource.Limits{}
	maps.Copy(next, now)
	for field, of := range fields {
		raw, ok := in[field]
		if !ok {
			continue
		}
		given = true
		var values map[string]int64
		if !IsEmpty(raw) {
			if err := json.Unmarshal(raw, &values); err != nil {
				return nil, false, invalid(field, "is not an object of numbers by name")
			}
		}
		for name, l := range next {
			*of(&l) = nil
			next[name] = l
		}
		for name, v := range values {
			l := next[name]
			*of(&l) = &v
			next[name] = l
		}
	}
	return next, given, nil
}

// setLimits puts limits into a document, or into a merge patch: those that limit nothing any more go.
func setLimits(out records.Document, field string, limits map[string]resource.Limits) error {
	doc := map[string]any{}
	for name, l := range limits {
		doc[name] = map[string]any{"rpm": l.RPM, "tpm": l.TPM, "input_tpm": l.InputTPM, "output_tpm": l.OutputTPM, "parallel": l.Parallel}
		if l.IsZero() {
			doc[name] = nil
		}
	}
	return out.Set(field, doc)
}

// PolicyRow writes as LiteLLM's fields what only a policy has, beside its allowance.
func PolicyRow(row map[string]any, p *resource.Policy) {
	for theirs, f := range partLimitFields {
		row[theirs] = valuesOf(f.now(p), rpmOf)
	}
	row["allowed_passthrough_routes"], row["denied_passthrough_routes"] = orEmpty(p.PassThrough), orEmpty(p.DeniedPassThrough)
	row["budget_fallbacks"], row["default_estimated_output_tokens"], row["default_estimated_output_tokens_per_model"] = orMap(p.BudgetFallbacks), p.OutputHold, orMap(p.ModelOutputHolds)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// IsEmpty says that a field is absent or says nothing.
func IsEmpty(raw json.RawMessage) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "{}", "[]", `""`:
		return true
	}
	return false
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// parseTime reads a time as LiteLLM's clients write it: RFC 3339, or a date.
func parseTime(field, text string) (resource.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return resource.At(t), nil
		}
	}
	return 0, invalid(field, "is not a time such as 2030-01-31T00:00:00Z")
}

// Text reads one field that is a text; "" if it is absent.
func Text(in records.Document, field string) (string, error) {
	var s string
	raw, ok := in[field]
	if !ok || records.IsNull(raw) {
		return "", nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", invalid(field, "is not a string")
	}
	return s, nil
}

// Refs reads a list of references, or a single one, which must not be empty.
func Refs(in records.Document, field string) ([]string, error) {
	var refs []string
	raw := bytes.TrimSpace(in[field])
	if len(raw) > 0 && raw[0] == '"' {
		one, err := Text(in, field)
		refs = []string{one}
		if err != nil {
			return nil, err
		}
	} else if err := in.Take(field, &refs); err != nil {
		return nil, err
	}
	if len(refs) == 0 {
		return nil, invalid(field, "is missing")
	}
	return refs, nil
}

// Copy moves fields of the same name or another.
func Copy(in, out records.Document, names map[string]string) {
	for theirs, ours := range names {
		if v, ok := in[theirs]; ok {
			out[ours] = v
		}
	}
}

// ToModels reads LiteLLM's list of models. Its words for all models are the empty list, unless there are access
// groups, beside which that would be none; its word for none stays (resource.NoModels). now is the policy that is
// changed, nil for none.
func ToModels(doc records.Document, now *resource.Policy) error {
	var models []string
	if raw, ok := doc["models"]; !ok || records.IsNull(raw) {
		return nil
	}
	if err := doc.Take("models", &models); err != nil {
		return err
	}
	grouped := now != nil && len(now.AccessGroupIDs) > 0
	if raw, ok := doc["access_group_ids"]; ok {
		grouped = !IsEmpty(raw)
	}
	for _, word := range []string{resource.ProxyModels, resource.TeamModels} {
		if slices.Contains(models, word) {
			models = []string{word}
		}
	}
	if !grouped && (&resource.Policy{Models: models}).AnyModel() {
		models = []string{}
	}
	return doc.Set("models", models)
}

// invalid makes an *resource.Invalid.
func invalid(field, reason string) error { return &resource.Invalid{Field: field, Reason: reason} }
