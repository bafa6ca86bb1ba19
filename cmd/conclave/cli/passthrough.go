package cli

import "github.com/conclave-llm/conclave/cmd/conclave/cli/console"

// passThroughEndpoint is the kind of records of paths that lead to URLs which an administrator chose.
var passThroughEndpoint = noun{
	name: "pass-through-endpoint", path: "pass-through-endpoints", short: "Paths that lead to URLs outside",
	columns: []console.Column{
		{"ID", "id"},
		{"NAME", "name"},
		{"PATH", "path"},
		{"TARGET", "target"},
		{"SUBPATHS", "include_subpath"},
		{"METHODS", "methods"},
		{"COST", "cost_per_request"},
		{"DISABLED", "disabled"},
	},
	fields: []field{
		{"description", "description", asText, "for people"},
		{"path", "path", asText, "of the gateway: /tools/search"},
		{"target", "target", asText, "the URL, without a query"},
		{"include-subpath", "include_subpath", asBool, "what is below the path is served too"},
		{"method", "methods", asList, "that it takes (default: GET, POST, PUT, PATCH and DELETE)"},
		{"header", "headers", asPairs, "NAME=VALUE of every request; NAME= removes it"},
		{"secret", "secrets", asSecretPairs, "header.NAME=SECRET of every request: env:VAR, file:PATH or -; header.NAME= removes it"},
		{"forward-headers", "forward_headers", asBool, "the client's headers go on, but for its credentials"},
		{"query", "query", asPairs, "NAME=VALUE where the client's query has not the name; NAME= removes it"},
		{"no-auth", "no_auth", asBool, "anybody may call it, without a key"},
		{"cost-per-request", "cost_per_request", asNumber, "US dollars"},
		{"guardrail", "guardrails", asList, "a guardrail that judges its requests"},
		{"timeout-ms", "timeout_ms", asNumber, "of a request"},
		{"disabled", "disabled", asBool, "serves nothing"},
	},
}
