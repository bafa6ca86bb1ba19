package fields

import (
	"bytes"

	"github.com/conclave-llm/conclave/adminapi/records"
)

// instead says of fields that are refused what there is in their place, or why there is nothing.
var instead = map[string]string{
	"agent_id":                     "agents have no records here; a tag or metadata can name one",
	"allowed_vector_store_indexes": "object_permission.vector_stores names the vector stores that may be used",
	"config":                       "keys have no configuration of their own; models have timeouts, retries and fallbacks",
	"enable_prompt_caching":        "requests say themselves where a cached prompt ends",
	"end_user_budget_id":           "keys, teams and organizations have it, and for the whole cluster the setting customer_budget",
	"password":                     "people have no passwords here",
	"permissions":                  "keys have permissions, none else; guardrails of others are in guardrails and disable_global_guardrails",
	"policies":                     "guardrails names what is to check the requests",
	"router_settings":              "models have strategies, retries, timeouts and fallbacks, which hold for whoever asks",
	"send_invite_email":            "nobody is invited by mail",
	"spend":                        "it is what the ledger says; it cannot be set",
	"sso_user_id":                  "the id of a user is user_id",
	"throttle_on_budget_exceeded":  "a budget is never overspent, not by a part of the requests either",
	"tpd_limit":                    "a budget of tokens by the day (/api/v1) counts those of all requests, not of batches alone",
}

// Refuse refuses fields that would bound what a key may do and that Conclave
// does not enforce: to ignore one would be to promise a limit that is not there. Null and
// empty values promise nothing.
func Refuse(doc records.Document, names []string) error {
	for _, name := range names {
		switch string(bytes.TrimSpace(doc[name])) {
		case "", "null", "{}", "[]", `""`, "false":
			continue
		}
		reason := "is not supported; the request was refused because ignoring it would change what it asks for"
		if there := instead[name]; there != "" {
			reason = "is not supported: " + there + ". The request was refused because ignoring it would change what it asks for"
		}
		return invalid(name, reason)
	}
	return nil
}
