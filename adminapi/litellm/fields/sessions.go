package fields

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// sessionFields are LiteLLM's limits of an agent's session, and what each is in a policy's sessions.
var sessionFields = map[string]string{
	"max_budget_per_session": "budget", "max_iterations": "iterations", "session_tpm_limit": "tpm", "session_rpm_limit": "rpm",
	"require_trace_id": "require_trace_id",
}

// sessionsDoc moves the limits of sessions to where a record has them: out of the body, or of the metadata, where
// LiteLLM looks for them. The field beside metadata, where it is given, counts. now is what an update finds.
func sessionsDoc(in, out records.Document, now *resource.SessionLimits) error {
	limits, err := liftSessions(in, out)
	if err != nil {
		return err
	}
	for theirs, raw := range limits {
		if records.IsNull(raw) && now == nil {
			delete(limits, theirs) // it takes away what is not there
			continue
		}
		if err := checkSession(theirs, raw); err != nil {
			return err
		}
	}
	if len(limits) == 0 {
		return nil
	}
	doc := records.Document{}
	Copy(limits, doc, sessionFields)
	return out.Set("sessions", doc)
}

// liftSessions takes the limits out of a body and its metadata.
func liftSessions(in, out records.Document) (records.Document, error) {
	limits := records.Document{}
	var metadata records.Document
	if raw, ok := out["metadata"]; ok && json.Unmarshal(raw, &metadata) == nil { // the decoder says what is wrong with it
		all := len(metadata)
		for name := range sessionFields {
			if raw, ok := metadata[name]; ok {
				limits[name] = raw
				delete(metadata, name)
			}
		}
		if len(metadata) < all {
			if err := out.Set("metadata", metadata); err != nil {
				return nil, err
			}
		}
	}
	for name := range sessionFields {
		if raw, ok := in[name]; ok {
			limits[name] = raw
		}
	}
	return limits, nil
}

// checkSession refuses a limit of no money or no requests: with LiteLLM it lets nothing pass, and in a policy it is
// none.
func checkSession(field string, raw json.RawMessage) error {
	switch field {
	case "max_budget_per_session":
		var usd resource.Money
		if err := peek(records.Document{field: raw}, field, &usd); err != nil {
			return err
		}
		if usd <= 0 && !records.IsNull(raw) {
			return invalid(field, "is not above 0; null takes it away")
		}
	case "max_iterations":
		var n int64
		if err := peek(records.Document{field: raw}, field, &n); err != nil {
			return err
		}
		if n <= 0 && !records.IsNull(raw) {
			return invalid(field, "is not above 0; null takes it away")
		}
	}
	return nil
}

// SessionRow writes the limits of sessions as LiteLLM's fields.
func SessionRow(row map[string]any, s *resource.SessionLimits) {
	for name := range sessionFields {
		row[name] = nil
	}
	row["require_trace_id"] = false
	if s == nil {
		return
	}
	if s.Budget > 0 {
		row["max_budget_per_session"] = s.Budget
	}
	if s.Iterations > 0 {
		row["max_iterations"] = s.Iterations
	}
	row["session_tpm_limit"], row["session_rpm_limit"], row["require_trace_id"] = s.TPM, s.RPM, s.RequireTraceID
}
